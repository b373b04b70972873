# Every target works in a fresh clone: it first makes .venv, which needs Python 3.11 or later.
# To choose the Python: make setup PYTHON=python3.13

PYTHON ?= python3
JOBS ?= 2
TEXT ?=
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help setup test lint fmt demo bench fuzz thorough clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

setup: $(STAMP) ## make .venv and install attnc into it, editable

$(STAMP): pyproject.toml
	@command -v "$(PYTHON)" >/dev/null 2>&1 || \
		{ echo "attnc: no '$(PYTHON)' on PATH; name one with make $(MAKECMDGOALS) PYTHON=/path/to/python3.11" >&2; exit 1; }
	@if [ ! -x $(BIN)/pip ]; then "$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "attnc: needs Python 3.11 or later, but '$(PYTHON)' is $$("$(PYTHON)" -V 2>&1);" \
		"name another with make $(MAKECMDGOALS) PYTHON=/path/to/python3.11" >&2; exit 1; }; fi
	@[ -x $(BIN)/pip ] || "$(PYTHON)" -m venv $(VENV) || \
		{ echo "attnc: '$(PYTHON)' cannot make a virtual environment; on Debian and Ubuntu, install python3-venv" >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

test: lint ## lint, then every test
	$(BIN)/pytest -n $(JOBS) --dist loadfile

thorough: $(STAMP) ## the tests that make test leaves out: long lives and long inputs
	$(BIN)/pytest -n $(JOBS) --dist loadfile -m thorough

lint: $(STAMP) ## style, format, types and import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fmt: $(STAMP) ## format, and mend what can be mended
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

demo: $(STAMP) ## run the word count example; TEXT=file counts that file
	$(BIN)/python examples/wordcount.py $(if $(TEXT),"$(TEXT)")

bench: $(STAMP) ## run the benchmarks; ARGS is passed on
	$(BIN)/python benchmarks/run.py $(ARGS)

fuzz: $(STAMP) ## draw a million hard-max cases and check each; ARGS is passed on
	$(BIN)/python tests/exact_sweep.py $(ARGS)

clean: ## remove build products and caches; .venv stays
	rm -rf build dist .cache .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name $(VENV) -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +
