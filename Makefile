# Holdfast. Needs Python 3.11 or newer and make; everything else goes into $(VENV).
#
#   PYTHON   the interpreter that makes the environment            make demo PYTHON=python3.12
#   VENV     the environment's folder
#   ARGS     further arguments of the command that a target runs   make test ARGS="-k iql -x"

PYTHON ?= python3
VENV ?= .venv
ARGS ?=

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
INSTALL := $(PIP) install --constraint constraints.txt --editable

.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  make %-12s %s\n", $$1, $$2 }'
	@printf '\n  Variables: PYTHON=%s  VENV=%s  ARGS="..." (further arguments of the command)\n' '$(PYTHON)' '$(VENV)'

# ---- what people run ----

.PHONY: demo
demo: $(VENV)/.run ## train, score and ship a policy from the bundled log (sets everything up first)
	@$(BIN)/holdfast demo $(ARGS)

.PHONY: test
test: $(VENV)/.dev ## run the tests
	@$(BIN)/python -m pytest -n 2 --dist worksteal $(ARGS)

.PHONY: test-slow
test-slow: $(VENV)/.dev ## run the learning tests, which take minutes
	@$(BIN)/python -m pytest -m slow $(ARGS)

.PHONY: check
check: $(VENV)/.dev ## format, lint, types and floors, without changing a file
	$(BIN)/ruff format --check --output-format concise .
	$(BIN)/ruff check --quiet --output-format concise .
	$(BIN)/mypy
	$(BIN)/python -m pytest --quiet tests/test_floors.py

.PHONY: format
format: $(VENV)/.dev ## mend format and lint where that is safe
	$(BIN)/ruff check --fix --quiet .
	$(BIN)/ruff format .

.PHONY: bench
bench: $(VENV)/.dev ## print the speed of every algorithm on this machine
	@$(BIN)/python benchmarks/speed.py $(ARGS)

.PHONY: results
results: $(VENV)/.run ## train every algorithm on every set at hand and write docs/results.md (hours; goes on where it stopped)
	@$(BIN)/python benchmarks/results.py $(ARGS)

.PHONY: docs
docs: $(VENV)/.docs ## build the documentation into site/
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet $(ARGS)
	@echo "site/index.html"

# ---- the environment: a stamp for each set of packages, renewed when the packages wanted change ----

.PHONY: setup
setup: $(VENV)/.dev ## set up the environment for development and do nothing else

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Holdfast needs Python 3.11 or newer; name one: make PYTHON=python3.11" >&2; exit 1; }
	@echo "making $(VENV)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.run: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing Holdfast into $(VENV) (the first time: a few minutes)"
	@$(INSTALL) '.[mujoco,box2d,report]'
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing Holdfast and its tools into $(VENV) (the first time: a few minutes)"
	@$(INSTALL) '.[dev]'
	@touch $@ $(VENV)/.run

$(VENV)/.docs: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing Holdfast and its documentation tools into $(VENV)"
	@$(INSTALL) '.[docs]'
	@touch $@

.PHONY: constraints
constraints: ## pin the newest versions that fit pyproject.toml into constraints.txt
	@$(PYTHON) -m venv --clear build/constraints
	@build/constraints/bin/python -m pip --disable-pip-version-check --quiet install --editable '.[dev,docs]'
	@{ echo "# What the checks run on; written by: make constraints"; \
	   build/constraints/bin/python -m pip --disable-pip-version-check freeze --exclude-editable | LC_ALL=C sort -f; } > constraints.txt
	@rm -rf build/constraints

.PHONY: clean
clean: ## remove the environment, caches and what was built (runs/ stays)
	rm -rf $(VENV) build dist site .mypy_cache .ruff_cache .pytest_cache
	find src tests benchmarks examples docs -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
