# Serves an index: docker run --read-only -p 8080:8080 -v $PWD/my.index:/index:ro IMAGE
FROM python:3.11-slim AS built
COPY . /source
RUN python -m venv /peephole \
    && /peephole/bin/pip install --no-cache-dir -c /source/constraints.txt '/source[serve]' \
    && /peephole/bin/pip uninstall --yes pip setuptools

FROM python:3.11-slim
COPY --from=built /peephole /peephole
RUN useradd --system --uid 10001 peephole
USER 10001
# Nothing is written but the index, if writes are on: the file system may be read-only.
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s CMD ["/peephole/bin/python", "-c", \
    "import urllib.request as u; u.urlopen('http://127.0.0.1:8080/readyz', timeout=2)"]
ENTRYPOINT ["/peephole/bin/peephole", "serve", "/index", "--host", "0.0.0.0"]
