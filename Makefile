# `make demo` and `make test` need Python 3.11 or later and nothing else. An environment keeps the Python that made it:
# `make test PYTHON=python3.14 VENV=.venv-3.14` tests with another one, in another.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed
ADAPTERS := $(VENV)-adapters
BOUNDS := $(VENV)-bounds

.PHONY: demo test coverage test-adapters test-lowest test-newest audit advisories fuzz fuzz-http lint format bench house serving-environment clean

$(INSTALLED): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt torch
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@

# The main job on real text: the docstrings of the Python packages installed right here.
demo: $(INSTALLED)
	rm -rf demo
	$(BIN)/peephole corpus pydoc --limit 8000 -o demo/data
	$(BIN)/peephole train demo/data -o demo/model
	$(BIN)/peephole build demo/data -m demo/model -o demo/index
	$(BIN)/peephole evaluate demo/index demo/data
	@for query in "copy a whole directory tree" "read a csv file line by line" "wait until all threads are done" \
		"turn a string into a date" "multiply two matrices"; do \
		$(BIN)/peephole search demo/index -k 3 "$$query"; done
	@echo "Try your own:    $(BIN)/peephole search demo/index your question"
	@echo "On your data:    peephole train faq.csv -o my.model; see README.md"

test: $(INSTALLED)
	$(BIN)/python -m pytest -n 2 --dist worksteal

# The same in twice the time, for it looks at each line that runs.
coverage: $(INSTALLED)
	$(BIN)/python -m pytest -n 2 --dist worksteal --cov --cov-report=term --cov-fail-under=90

# The libraries that the adapters are for, in an environment of their own over that of the tests.
$(ADAPTERS)/installed: $(INSTALLED)
	test -x $(ADAPTERS)/bin/python || $(BIN)/python -m venv $(ADAPTERS)
	purelib='import sysconfig; print(sysconfig.get_path("purelib"))'; \
		$(BIN)/python -c "$$purelib" > "$$($(ADAPTERS)/bin/python -c "$$purelib")/tests.pth"
	$(ADAPTERS)/bin/python -m pip install --quiet -c constraints.txt -e '.[dev-adapters]'
	touch $@

# The suites that the makers of those libraries publish, the examples in docs/adapters.md, types that know them; and Ray.
test-adapters: $(ADAPTERS)/installed
	$(ADAPTERS)/bin/python -m mypy --cache-dir $(ADAPTERS)/mypy \
		-m retrieval.adapters.haystack -m retrieval.adapters.langchain -m retrieval.adapters.llama_index \
		-m retrieval.adapters.ir_datasets -m retrieval.adapters.mcp -m retrieval.adapters.mteb \
		-m retrieval.adapters.onnx -m retrieval.adapters.sentence_transformers -m retrieval.indexing.distributed
	$(ADAPTERS)/bin/python -m pytest -o asyncio_mode=auto -o asyncio_default_fixture_loop_scope=function \
		tests/retrieval/adapters tests/retrieval/indexing/test_distributed.py \
		tests/index/remote tests/index/test_protocol.py tests/retrieval/commands/test_milvus.py

# The tests with the lowest versions that pyproject.toml allows, and with the newest that the package index has.
test-lowest test-newest: test-%:
	rm -rf $(BOUNDS)
	$(PYTHON) -m venv $(BOUNDS)
	sed '1,/^\[project\]/d' pyproject.toml | grep -oE '"[A-Za-z0-9-]+(\[[a-z]+\])?>=[0-9.]+' \
		| sed -E 's/"|\[.*\]//g; s/>=/==/' > $(BOUNDS)/lowest.txt
	: > $(BOUNDS)/newest.txt
	$(BOUNDS)/bin/python -m pip install --quiet -c $(BOUNDS)/$*.txt -e '.[dev]'
	$(BOUNDS)/bin/python -m pytest -n 2 --dist worksteal

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Nothing loads pickles, and the security rules of ruff hold; part of .ci/run.
audit: $(INSTALLED)
	$(BIN)/ruff check --select S --ignore S603 index retrieval cli.py
	$(BIN)/python -m pytest tests/test_imports.py -k pickles

# Known vulnerabilities of the pinned packages; needs the advisory service of the package index.
advisories: $(INSTALLED)
	$(BIN)/python -m pip install --quiet pip-audit
	$(BIN)/python -m pip_audit --strict --no-deps --disable-pip -r constraints.txt

# A minute of random and mutated input against everything that reads what strangers wrote.
fuzz: $(INSTALLED)
	$(BIN)/python tests/fuzz.py --seconds 60

# 10,000 random and hostile requests against the HTTP application.
fuzz-http: $(INSTALLED)
	PYTHONPATH=. $(BIN)/python tests/fuzz_http.py --requests 10000

# What a machine that serves installs: no torch, at most 200 MB, and a search that works.
serving-environment: $(INSTALLED)
	rm -rf build/serving
	$(BIN)/python -m venv build/serving
	build/serving/bin/python -m pip install --quiet -c constraints.txt .
	build/serving/bin/python -c 'import importlib.util as u; assert u.find_spec("torch") is None'
	cp -r tests/golden/index-2 build/serving/index
	cd build/serving && bin/peephole search index how to copy a directory | grep -q faq/1
	cd build/serving && bin/peephole verify index
	du -sm build/serving | tee /dev/stderr | awk '$$1 > 200 { exit 1 }'
	rm -rf build

# Minutes: fails if speed or quality fell against benchmarks/results/guard.json.
bench: $(INSTALLED)
	$(BIN)/python -m benchmarks.guard

# The packages, the arrows between them, and how long functions are.
house: $(INSTALLED)
	$(BIN)/python tests/house.py

clean:
	rm -rf $(VENV) $(ADAPTERS) $(BOUNDS) demo build *.egg-info
