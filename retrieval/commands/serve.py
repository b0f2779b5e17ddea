"""The verb `serve`: the search of an index over HTTP."""

from __future__ import annotations

import os
from pathlib import Path

import click

from index.errors import needing
from retrieval.commands.options import PATH, index_argument


@click.command()
@index_argument
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="Port; 0 takes a free one."
)
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    help="Processes; one that dies is replaced.",
)
@click.option(
    "--token-file", type=PATH, help="File with the token that allows writes.  [default: $PEEPHOLE_TOKEN]"
)
@click.option("--tls-cert", type=PATH, help="Certificate (PEM); serves HTTPS, with --tls-key.")
@click.option("--tls-key", type=PATH, help="Private key (PEM).")
@click.option(
    "--cors-origin", multiple=True, help="Origin whose pages may call the API (repeatable); * for any."
)
@click.option(
    "--allowed-host",
    multiple=True,
    help="Name by which it may be called (repeatable), such as a proxy's.  [default: any; on a loopback "
    "address addresses and names without a dot]",
)
@click.option(
    "--queue", type=click.IntRange(min=1), help="Most searches that wait, a worker.  [default: 128]"
)
@click.option("--clicks", type=PATH, help="File in which to record searches and clicks.  [default: none]")
@click.option("--log-queries", is_flag=True, help="Write the text of queries into the log.")
@click.option("--no-access-log", is_flag=True, help="Log events and failures only, not every request.")
def serve(
    index: Path,
    host: str,
    port: int,
    workers: int,
    token_file: Path | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    cors_origin: tuple[str, ...],
    allowed_host: tuple[str, ...],
    queue: int | None,
    clicks: Path | None,
    log_queries: bool,
    no_access_log: bool,
) -> None:
    """Serve an index over HTTP: a search page, search, documents, explanations, embeddings, metrics.

    The page is at the address that the log names, http://127.0.0.1:8080/ by default; /openapi.json describes
    the API. A new generation is served as soon as it is published. SIGTERM lets requests finish. The log is
    JSON lines on standard error.

    With --clicks the queries, what was shown and what was clicked are appended to a file, from which a model
    can learn; nothing about who asked. `peephole clicks` counts and forgets them.

    \b
    Example: peephole serve my.index --port 8080 --workers 2
    Example: peephole serve my.index --clicks clicks.jsonl
    """  # noqa: D301
    if (tls_cert is None) != (tls_key is None):
        raise click.UsageError("--tls-cert and --tls-key go together")
    # A search is too short for several threads; they would wait for each other. Workers inherit this.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    with needing("serve"):
        from retrieval.serving.hosts import checked_names
        from retrieval.serving.process import Listen
        from retrieval.serving.process import serve as serve_index
        from retrieval.serving.settings import Limits, Settings, checked_origins, read_token
    settings = Settings(
        index,
        Limits() if queue is None else Limits(waiting=queue),
        read_token(token_file),
        checked_origins(cors_origin),
        checked_names(allowed_host),
        log_requests=not no_access_log,
        log_queries=log_queries,
        clicks=clicks,
    )
    serve_index(settings, Listen(host, port, workers, tls_cert, tls_key))
