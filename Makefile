# Every job by one word; `make` alone prints them. ARGS goes to the command: make study ARGS="study.trials=60"
.DEFAULT_GOAL := help
SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LOCK := requirements/$(shell nvidia-smi -L >/dev/null 2>&1 && echo gpu || echo cpu).txt
INSTALLED := $(VENV)/.installed-$(notdir $(LOCK))
WHEELS ?=# a folder of wheels: nothing is then asked of the network (docs/gpu.md)
BENCH := $(VENV)/.installed-bench.txt

.PHONY: help setup graphviz study smoke reproduce compare report ui check doctor test test-slow torture bench bench-gpu lint format lock

help:  ## print these words
	@sed -n 's/^\([a-z-]*\):.*##  *\(.*\)/  make \1|\2/p' Makefile | column -t -s '|' 2>/dev/null || grep '##' Makefile

setup: $(INSTALLED) graphviz  ## make .venv with pinned dependencies, look for graphviz

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

study: setup  ## run the study `pooling`, or go on with it
	$(BIN)/poolstudy run pooling $(ARGS)

smoke: setup  ## its twin of a minute or two
	$(BIN)/poolstudy run smoke $(ARGS)

reproduce: setup  ## train a run again and prove that it comes out the same: make reproduce RUN=id
	$(BIN)/poolstudy reproduce $(or $(RUN),best) $(ARGS)

compare: setup  ## runs side by side on one page: make compare RUNS="id id"; no RUNS: the best five
	$(BIN)/poolstudy compare $(RUNS) $(ARGS)

report: setup  ## the latest study on one page: ranking, history, importance, times
	$(BIN)/poolstudy report $(ARGS)

ui: setup  ## open MLflow's pages at the latest study's charts
	$(BIN)/poolstudy ui $(ARGS)

check: $(INSTALLED)  ## what this machine has of what a study needs
	$(BIN)/poolstudy check $(ARGS)

doctor: $(INSTALLED)  ## whether the books and the files agree: make doctor ARGS=--fix
	$(BIN)/poolstudy doctor $(ARGS)

test: setup  ## the fast tests
	$(BIN)/python -m pytest -m "not slow" $(ARGS)

test-slow: setup  ## the slow tests: whole studies, the browser
	$(BIN)/python -m pytest -m slow $(ARGS)

bench: $(BENCH) graphviz  ## compare speed and memory with what people use; forty minutes on two cores (ARGS="--images 6000 --rounds 1")
	$(BIN)/python -m benchmarks $(ARGS)

$(BENCH): requirements/bench.txt $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bench.txt
	@touch $@

torture: setup  ## kill a study a hundred times and see that nothing is lost; a quarter of an hour (ARGS="--kills 10 --trials 8 --seed 1")
	$(BIN)/python tests/torture.py $(ARGS)

bench-gpu: $(INSTALLED)  ## what a GPU gives for these networks, in one table; WHEELS=folder: without a network
	$(BIN)/python -m benchmarks.gpu $(ARGS)

lint: setup  ## formatting, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: setup  ## put the formatting right
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

COMPILE := uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate -q
lock:  ## pin the dependencies anew (needs uv)
	$(COMPILE) --extra dev -o requirements/cpu.txt
	$(COMPILE) --extra dev --extra gpu -o requirements/gpu.txt
	$(COMPILE) --extra dev --extra bench -o requirements/bench.txt
