# `make help` explains every target. Requires Python 3.11 or newer.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# One thread per process: the tests start worker processes.
export OMP_NUM_THREADS ?= 1

.DEFAULT_GOAL := help
.PHONY: help install dev tune test test-slow gpu chaos fuzz lint format type reference tune-check docker-check clean

help: ## show this help
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

install: $(VENV)/.installed ## create .venv with the tuner command

$(VENV)/.installed: pyproject.toml
	@echo "installing into $(VENV): PyTorch is large, this takes minutes" >&2
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python .ci/install.py --editable .
	@touch $@

dev: $(VENV)/.dev ## create .venv with tuner and everything that tests and linters need

$(VENV)/.dev: $(VENV)/.installed
	@echo "installing what the tests and linters need" >&2
	@$(BIN)/python .ci/install.py --editable '.[dev]'
	@touch $@

tune: install ## the main job: search a CNN for the digits, retrain the winner and test it
	$(BIN)/tuner tune
	$(BIN)/tuner final

test: dev ## run all tests except those marked slow, in minutes
	$(BIN)/python -m pytest -n 2 --dist loadgroup -m 'not slow' --durations 30

test-slow: dev ## run the tests marked slow: failures, servers, clusters, browsers, commands of the documentation
	$(BIN)/python -m pytest -n 2 --dist loadgroup -m slow --durations 30

gpu: dev ## on a GPU: run tests, a search and benchmarks in 8 minutes; results in OUT=DIR
	$(BIN)/python -m benchmarks.device --seconds 460 --out $(or $(OUT),runs/gpu)

chaos: dev ## inject faults into a search for minutes; SEED=… reproduces it, PRUNED=1 prunes, TURNS=1 gives way
	$(BIN)/python -m tests.chaos --seconds 240 $(if $(SEED),--seed $(SEED)) $(if $(PRUNED),--pruned) $(if $(TURNS),--turns)

fuzz: dev ## generated input for every reader of others' data, TIMES=20 times as much as in `make test`
	TUNER_FUZZ=$(or $(TIMES),20) $(BIN)/python -m pytest -n 2 --timeout 3600 tests/fuzz tests/test_masking.py

lint: dev ## ruff: style and common mistakes
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: dev ## format, and fix what ruff can fix
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

type: dev ## mypy --strict
	$(BIN)/mypy

reference: install ## generate docs/reference.md from conf/
	$(BIN)/python docs/reference.py

tune-check: install ## run the main job and check its output (CI)
	$(BIN)/python .ci/check_tune.py

docker-check: dev ## build the image without a container engine, and run a worker and the dashboard from it
	docker/check.sh

clean: ## remove the files of runs, tests and builds, but not .venv
	rm -rf runs build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
