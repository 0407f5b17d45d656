# Each target works from a fresh clone on a machine with Python >= 3.11: what it needs is installed into .venv first.
# Another interpreter: make test PYTHON=python3.12

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
INSTALL := $(PIP) install --constraint constraints.txt --build-constraint constraints.txt --editable .

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test lint docs bench clean

help:  ## Show this list
	@sed -n 's/^\([a-z]*\):.*## /make \1\t/p' Makefile | expand -t 16

demo: .venv/.installed  ## Learn a bouncing ball from its pictures: train, evaluate, write report.html (minutes)
	$(BIN)/dynarium train kvae-demo --then evaluate report

test: export OMP_NUM_THREADS = 1
test: .venv/.test  ## Check style, imports and behaviour
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/lint-imports --no-logo
	$(BIN)/pytest --numprocesses 2 --dist worksteal

lint: .venv/.lint  ## Check style, types and imports
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/lint-imports --no-logo
	$(BIN)/pyright

docs: export NO_MKDOCS_2_WARNING = 1
docs: .venv/.docs  ## Build the documentation into site/
	$(BIN)/mkdocs build --strict

bench: .venv/.installed  ## Time what has to be fast
	@set -e; for file in benchmarks/*.py; do echo "$$file"; $(BIN)/python "$$file"; done

clean:  ## Remove .venv, caches and built files; runs/ and datasets/ stay
	rm -rf .venv build dist site .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/.pip: constraints.txt
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python >= 3.11 is needed: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv .venv
	$(PIP) install --upgrade --constraint constraints.txt pip
	@touch $@

.venv/.installed: .venv/.pip pyproject.toml
	$(INSTALL)
	@touch $@

.venv/.%: .venv/.pip pyproject.toml  # a dependency group of pyproject.toml
	$(INSTALL) --group $*
	@touch $@ .venv/.installed
