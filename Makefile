# `make help` lists what can be made. Everything runs from .venv, which is made when it is missing or older than pyproject.toml.
# Arguments go through ARGS: make test ARGS="tests/unit -x", make demo ARGS="--serve".
# Tests mostly wait for Kafka, so WORKERS of them run side by side, each with a broker of its own, the slow ones first.

PYTHON ?= python3
ARGS ?=
MINUTES ?= 5
WORKERS ?= 3
VENV := .venv
BIN := $(VENV)/bin

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help demo test check bench soak reproduce kafka schema

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.installed ## watch traffic move to the best model, on an embedded broker, in about a minute
	@$(BIN)/allocator demo $(ARGS)

test: $(VENV)/.installed-dev ## run the tests; those on real Kafka need Java 17 and Maven
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadscope --no-loadscope-reorder $(ARGS)

check: $(VENV)/.installed-dev ## lint, format, types, the import rule, checked-in schemas
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m pytest -q tests/unit/test_schema.py

bench: $(VENV)/.installed-dev ## measure the worker beside its peers; ARGS=restart, latency, cost, bounded, experiments, decide, quadrature, simulate
	@$(BIN)/python -m tests.bench $(ARGS)

soak: $(VENV)/.installed-dev ## load, kills, outages and exact checks for MINUTES (5), then a report
	@$(BIN)/python -m tests.soak --minutes $(MINUTES) $(ARGS)

reproduce: $(VENV)/.installed-dev ## published numbers beside ours, into docs/reproduction.md, in a quarter of an hour
	@$(BIN)/python -m tests.reproduce $(ARGS)

kafka: $(VENV)/.installed ## run a local Kafka broker on localhost:9092 until ctrl-C
	@exec $(BIN)/python deploy/kafka/broker.py $(ARGS)

schema: $(VENV)/.installed ## write the checked-in JSON Schema and AsyncAPI documents anew
	@$(BIN)/allocator schema --write deploy/schema

# The demo needs no test tools, so there are two stamps. The second install includes the first.
$(VENV)/.installed: pyproject.toml | $(BIN)/python
	@echo "installing the allocator into $(VENV)"
	@$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml | $(BIN)/python
	@echo "installing the allocator and the test tools into $(VENV)"
	@$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $(VENV)/.installed $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "$(PYTHON) is $$($(PYTHON) --version 2>&1), needs Python 3.11 or newer. Name another: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { \
	    rm -rf $(VENV); echo "$(PYTHON) cannot make a virtual environment. On Debian: apt-get install python3-venv" >&2; exit 1; }
