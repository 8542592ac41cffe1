# Everything a person types. `make` alone lists it.

# Debian 12's own first: the oldest that is supported. One without the venv module cannot make an environment.
PYTHON ?= $(shell for each in /usr/bin/python3.11 python3.11 python3; do \
	$$each -c 'import ensurepip, sys, venv; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null \
	&& command -v $$each && exit; done; command -v python3.11 || echo python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
STATE := .clipfarm
LOCK := $(STATE)/lock
MUTMUT := $(STATE)/mutmut-3.8.1

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install demo up test mutants bench lint types format lock clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(STAMP) ## Create .venv with everything in requirements.txt

# The stamp is written last: an interrupted installation is repeated, a finished one only when the lock changes. It starts
# from an empty environment: one that another Python made would mix two, and keep what the lock no longer has.
$(STAMP): requirements.txt
	@command -v $(PYTHON) >/dev/null || { echo "error: expected Python 3.11, found none: apt-get install python3 python3-venv" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { \
		echo "error: expected Python 3.11, got $$($(PYTHON) -V 2>&1) from $(PYTHON): install it, or name it with make PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "error: expected the venv module, got none from $(PYTHON): apt-get install python3-venv" >&2; exit 1; }
	@echo "Installing requirements.txt into $(VENV) (minutes the first time)"
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install -qq --requirement requirements.txt
	@touch $@

demo: $(STAMP) ## Train the 24 default models and 6 ensembles on a synthetic bucket through Airflow, print the leaderboard
	@$(BIN)/python -m clipfarm_tasks.stack demo

up: $(STAMP) ## Start S3 and Airflow and keep them up until Ctrl-C
	@$(BIN)/python -m clipfarm_tasks.stack up

# Two files at a time: much of the suite waits for servers. Each process starts an S3 server of its own.
test: $(STAMP) ## Run the whole test suite
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

mutants: $(STAMP) $(MUTMUT) ## List changes of the code that tests miss (MODULE=clipfarm_tasks/...; of all modules: hours)
	@PYTHONPATH=$(CURDIR)/$(MUTMUT) $(BIN)/python tests/mutants.py $(MODULE)

# Beside .venv and not in it, which stays what the lock says; what both hold is of the lock's versions.
$(MUTMUT): $(STAMP)
	@rm -rf $@ $@.new
	@$(BIN)/python -m pip install -qq --target $@.new --constraint requirements.txt $(subst mutmut-,mutmut==,$(@F))
	@mv $@.new $@

bench: $(STAMP) ## Measure the data path (minutes), print the table, write bench/results/<date>.json
	@$(BIN)/python -m bench

lint: $(STAMP) ## Check code and formatting
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check

types: $(STAMP) ## Check the types of the package and the benchmark
	@$(BIN)/mypy

format: $(STAMP) ## Format, and fix what ruff can
	@$(BIN)/ruff check --fix-only
	@$(BIN)/ruff format

lock: ## Renew requirements.txt from requirements.in
	@rm -rf $(LOCK) && mkdir -p $(STATE)
	@$(PYTHON) -m venv $(LOCK)
	@$(LOCK)/bin/python -m pip install -qq --requirement requirements.in
	@{ echo "# Written by \`make lock\` from requirements.in. Do not edit."; \
		$(LOCK)/bin/python -m pip freeze --all | sed -E 's/\+[a-z0-9.]+$$//' \
		| grep -Eiv '^(pip|nvidia-[a-z0-9-]+|cuda-[a-z0-9-]+|triton)=='; } > requirements.txt.new
	@mv requirements.txt.new requirements.txt
	@rm -rf $(LOCK)

clean: ## Remove caches and the state of demo, up and mutants; .venv stays
	@rm -rf $(STATE) .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +
