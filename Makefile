# `make help` explains every target. Python 3.11 or newer is all that must be there.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# One thread a process: the tests start worker processes of their own.
export OMP_NUM_THREADS ?= 1

.DEFAULT_GOAL := help
.PHONY: help install dev tune test test-slow gpu chaos lint format type reference tune-check docker-check clean

help: ## show this help
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

install: $(VENV)/.installed ## make .venv with the tuner command in it

$(VENV)/.installed: pyproject.toml
	@echo "installing into $(VENV): PyTorch is large, this takes minutes" >&2
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python .ci/install.py --editable .
	@touch $@

dev: $(VENV)/.dev ## … and with what the tests and linters need

$(VENV)/.dev: $(VENV)/.installed
	@echo "installing what the tests and linters need" >&2
	@$(BIN)/python .ci/install.py --editable '.[dev]'
	@touch $@

tune: install ## the main job: search a CNN for the digits, then train the winner and test it
	$(BIN)/tuner tune
	$(BIN)/tuner final

test: dev ## run all tests except those marked slow, in minutes
	$(BIN)/python -m pytest -n 2 --dist loadgroup -m 'not slow' --durations 30

test-slow: dev ## run those marked slow: failures, servers, clusters, browsers, the documentation's commands
	$(BIN)/python -m pytest -n 2 --dist loadgroup -m slow --durations 30

gpu: dev ## on a GPU: run its tests, a search and its benchmarks, in 8 minutes; OUT=DIR takes the results
	$(BIN)/python -m benchmarks.device --seconds 460 --out $(or $(OUT),runs/gpu)

chaos: dev ## workers killed, paused and cut off for minutes; SEED=… repeats it, PRUNED=1 prunes
	$(BIN)/python -m tests.chaos --seconds 240 $(if $(SEED),--seed $(SEED)) $(if $(PRUNED),--pruned)

lint: dev ## ruff: style and common mistakes
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: dev ## let ruff rewrite what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

type: dev ## mypy --strict
	$(BIN)/mypy

reference: install ## write docs/reference.md from conf/
	$(BIN)/python docs/reference.py

tune-check: install ## the main job, and a check of what it prints and leaves (CI)
	$(BIN)/python .ci/check_tune.py

docker-check: dev ## build the image without an engine, and run a worker and the dashboard from it
	docker/check.sh

clean: ## remove what runs, tests and builds left, but not .venv
	rm -rf runs build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
