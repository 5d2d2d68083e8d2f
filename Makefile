# Everything sets itself up: `make demo` and `make test` need Python 3.11 or newer, git and make, nothing else.
SHELL := /bin/bash
PYTHON ?= $(shell for p in python3 python3.11 python3.12 python3.13 python3.14; do \
	$$p -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
STAMP := .venv/.installed
export UV_HTTP_TIMEOUT ?= 600

.PHONY: setup demo test torture check bench lock docs

setup: $(STAMP)

$(STAMP): requirements.lock pyproject.toml
	@test -x $(BIN)/python || test -n "$(PYTHON)" || { echo "selfsup needs Python 3.11 or newer with venv and pip."; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "$$(grep -o '^uv==[^ ;]*' requirements.lock)"
	$(BIN)/uv pip install --compile-bytecode --python $(BIN)/python -r requirements.lock
	$(BIN)/uv pip install --compile-bytecode --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@

demo: setup
	$(BIN)/selfsup demo

# One thread per worker: two workers with two threads each would fight for two cores.
test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadgroup

torture: setup
	OMP_NUM_THREADS=1 $(BIN)/python tests/torture.py

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q -p no:cacheprovider tests/test_imports.py
	$(BIN)/python docs/generate_cli.py --check
	$(BIN)/mkdocs build --strict --site-dir build/site

bench: setup
	set -e; for name in views decoding throughput; do echo "== $$name"; $(BIN)/python benchmarks/$$name.py; done

docs: setup
	$(BIN)/python docs/generate_cli.py
	$(BIN)/mkdocs build --strict --site-dir build/site

lock:
	$(BIN)/uv pip compile --universal --python-version 3.11 --no-emit-index-url --no-header --no-annotate \
		--extra dev pyproject.toml --output-file requirements.lock
