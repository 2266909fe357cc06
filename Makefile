# Every task is one word; `make` alone lists them. ARGS goes to the command: make study ARGS="study.trials=60"
.DEFAULT_GOAL := help
SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LOCK := requirements/$(shell nvidia-smi -L >/dev/null 2>&1 && echo gpu || echo cpu).txt
INSTALLED := $(VENV)/.installed-$(notdir $(LOCK))
WHEELS ?=# a folder of wheels, for a setup without a network (docs/gpu.md)
BENCH := $(VENV)/.installed-bench.txt

.PHONY: help setup graphviz study smoke reproduce compare report ui check doctor test test-slow torture bench bench-gpu lint format lock

help:  ## list the tasks
	@sed -n 's/^\([a-z-]*\):.*##  *\(.*\)/  make \1|\2/p' Makefile | column -t -s '|' 2>/dev/null || grep '##' Makefile

setup: $(INSTALLED) graphviz  ## create .venv with pinned dependencies; install Graphviz if missing

$(INSTALLED): $(LOCK) pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
	  { echo "found $$($(PYTHON) --version 2>&1); expected Python 3.11 to 3.13; name one: make setup PYTHON=python3.11"; exit 3; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes $(if $(WHEELS),--no-index --find-links $(WHEELS)) -r $(LOCK)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

graphviz:
	@command -v dot >/dev/null || \
	if command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then apt-get -qq update && apt-get -qq install -y graphviz >/dev/null; \
	elif command -v brew >/dev/null; then brew install --quiet graphviz; \
	else echo "found no program dot; expected Graphviz, which draws the diagrams; install it (Debian: sudo apt-get install graphviz)"; exit 3; fi

study: setup  ## run the study `pooling`, or continue it
	$(BIN)/poolstudy run pooling $(ARGS)

smoke: setup  ## run its small version `smoke`, a minute or two
	$(BIN)/poolstudy run smoke $(ARGS)

reproduce: setup  ## train a run again and compare the results: make reproduce RUN=id
	$(BIN)/poolstudy reproduce $(or $(RUN),best) $(ARGS)

compare: setup  ## compare runs side by side on one page: make compare RUNS="id id"; without RUNS the best five
	$(BIN)/poolstudy compare $(RUNS) $(ARGS)

report: setup  ## report on the latest study on one page: ranking, history, importance, times
	$(BIN)/poolstudy report $(ARGS)

ui: setup  ## open MLflow at the charts of the latest study
	$(BIN)/poolstudy ui $(ARGS)

check: $(INSTALLED)  ## check that this machine has what a study needs
	$(BIN)/poolstudy check $(ARGS)

doctor: $(INSTALLED)  ## check that Optuna, MLflow and the files agree: make doctor ARGS=--fix fixes what it can
	$(BIN)/poolstudy doctor $(ARGS)

test: setup  ## run the fast tests
	$(BIN)/python -m pytest -m "not slow" $(ARGS)

test-slow: setup  ## run the slow tests: whole studies, the browser
	$(BIN)/python -m pytest -m slow $(ARGS)

bench: $(BENCH) graphviz  ## compare speed and memory with other tools; forty minutes on two cores (ARGS="--images 6000 --rounds 1")
	$(BIN)/python -m benchmarks $(ARGS)

$(BENCH): requirements/bench.txt $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bench.txt
	@touch $@

torture: setup  ## kill a study a hundred times and check that nothing is lost; 15 minutes (ARGS="--kills 10 --trials 8 --seed 1")
	$(BIN)/python tests/torture.py $(ARGS)

bench-gpu: $(INSTALLED)  ## measure these networks on a GPU, in one table; WHEELS=folder: without a network
	$(BIN)/python -m benchmarks.gpu $(ARGS)

lint: setup  ## check formatting, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: setup  ## fix formatting and lint
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

COMPILE := uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate -q
lock:  ## pin the dependencies again (needs uv)
	$(COMPILE) --extra dev -o requirements/cpu.txt
	$(COMPILE) --extra dev --extra gpu -o requirements/gpu.txt
	$(COMPILE) --extra dev --extra bench -o requirements/bench.txt
