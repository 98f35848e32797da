# `make` alone lists the targets. Needs Python 3.11 to 3.13 and GNU make; the rest installs itself.

PYTHON ?= python3
ARGS   ?=

VENV := .venv
BIN  := $(VENV)/bin
PIP  := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt

# Stamps: what a search needs, and on top of it the developer's tools or the benchmarks' peers.
RUN_STAMP   := $(VENV)/.run.stamp
DEV_STAMP   := $(VENV)/.dev.stamp
BENCH_STAMP := $(VENV)/.bench.stamp
OLDEST       := .venv-oldest
OLDEST_STAMP := $(OLDEST)/.stamp
SOURCES     := pyproject.toml setup.py constraints.txt $(shell find autoquant -name '*.[ch]')

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help venv search test test-cluster test-oldest lint docs bench release clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

venv: $(DEV_STAMP) ## Create .venv with everything for development (PYTHON=python3.12 picks the interpreter)

search: $(RUN_STAMP) ## Search for a plan; ARGS="..." goes to `autoquant search`
	@$(BIN)/autoquant search $(ARGS)

test: lint ## Run the linters and the tests; ARGS="..." goes to pytest
	$(BIN)/python -m pytest -n auto $(ARGS)

test-cluster: $(DEV_STAMP) ## Run the tests that start Ray, Dask and submitit on this machine, one after the other
	$(BIN)/python -m pytest -n 0 -m cluster $(ARGS)

test-oldest: $(OLDEST_STAMP) ## Run the tests in .venv-oldest, with the oldest versions that pyproject.toml allows
	$(OLDEST)/bin/python -m pytest -n auto $(ARGS)

lint: $(DEV_STAMP) ## Run ruff, mypy and the import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(DEV_STAMP) ## Build the documentation site into docs/_build/html; warnings are errors
	$(BIN)/python -m sphinx -q -E -n -W --keep-going -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

bench: $(BENCH_STAMP) ## Measure everything side by side; ARGS="..." goes to the benchmarks
	$(BIN)/python -m benchmarks $(ARGS)

release: $(DEV_STAMP) ## Build dist/ (sdist, wheel), and try the wheel in new environments
	$(BIN)/python -m tests.release

clean: ## Remove build products and caches; keeps the environments, runs/ and studies/
	rm -rf build dist *.egg-info .coverage .coverage.* htmlcov docs/_build
	rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -path './.venv*' -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null \
	  || { echo "error: autoquant needs Python 3.11 to 3.13, which '$(PYTHON)' is not; name one, as in: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)

$(RUN_STAMP): $(SOURCES) | $(BIN)/pip
	@echo "Installing autoquant into $(VENV) ..." >&2
	@$(PIP) -e .
	@touch $@

$(DEV_STAMP): $(SOURCES) | $(BIN)/pip
	@echo "Installing autoquant and the developer's tools into $(VENV) ..." >&2
	@$(PIP) -e '.[dev,families]'
	@touch $(RUN_STAMP) $@

$(OLDEST_STAMP): $(SOURCES) constraints-oldest.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null \
	  || { echo "error: the oldest versions need Python 3.11, which '$(PYTHON)' is not; name one, as in: make PYTHON=python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	@echo "Installing autoquant and the oldest versions into $(OLDEST) ..." >&2
	@test -x $(OLDEST)/bin/pip || $(PYTHON) -m venv $(OLDEST)
	@$(OLDEST)/bin/python -m pip install --quiet --disable-pip-version-check --no-compile \
	  -c constraints-oldest.txt -e '.[dev,families]'
	@touch $@

$(BENCH_STAMP): $(SOURCES) | $(BIN)/pip
	@echo "Installing autoquant and the benchmarks' peers into $(VENV) ..." >&2
	@$(PIP) -e '.[bench]'
	@touch $(RUN_STAMP) $@
