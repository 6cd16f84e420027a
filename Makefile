# make magicpoint: environment, five minutes of training, evaluation, detections on photographs.
# Needs Python 3.11 or later, nothing else. `make help` lists the targets; options follow as OPTIONS="key=value ...".

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/bash

PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3.14 python3; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
RUN ?= runs/magicpoint-quick
OPTIONS ?=
# One thread a worker: the workers share the cores.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest

.PHONY: help env magicpoint test slow coverage lint format types docs bench release clean

help: ## list the targets
	@sed -nE 's/^([a-z]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "error: found no python3.11 or later on PATH (python3 is: $$(python3 --version 2>&1)); install one, or say make PYTHON=/path/to/python3.11" >&2; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

env: $(STAMP) ## make .venv with everything the project needs

magicpoint: env ## train the quick MagicPoint (resuming it if need be), evaluate it, draw its keypoints on photographs
	$(BIN)/superpoint train-magicpoint --config magicpoint/quick --resume run=$(RUN) $(OPTIONS)
	$(BIN)/superpoint detect-samples --model $(RUN)

test: env ## the default test suite
	$(PYTEST) -n 2

slow: env ## the slow tests: whole stages, killed and resumed runs, the built wheel
	$(PYTEST) -m slow

coverage: env ## the default suite with a coverage report
	$(PYTEST) -n 2 --cov --cov-report=term-missing:skip-covered

lint: env ## ruff: rules and format; import-linter: which room imports which
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

format: env ## ruff: mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: env ## pyright
	$(BIN)/pyright

docs: env ## the documentation, into docs/_build/html; its tables from benchmarks/results/
	$(BIN)/python benchmarks/tables.py
	$(BIN)/sphinx-build -b html -W --keep-going -n docs docs/_build/html

release: env ## build sdist and wheel into dist/ and check them; uploads nothing
	$(BIN)/python .ci/release.py

bench: env ## every benchmark, one after the other
	@set -e; for file in benchmarks/*.py; do echo "== $$file"; $(BIN)/python $$file; done

clean: ## remove caches and builds; runs/ and .venv stay
	rm -rf build dist docs/_build *.egg-info .pytest_cache .ruff_cache .import_linter_cache .hypothesis .coverage htmlcov
	find superpoint scripts benchmarks tests -name __pycache__ -type d -prune -exec rm -rf {} +
