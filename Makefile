# Holdfast. Needs Python 3.11 or newer and make; installs everything else into $(VENV).
#
#   PYTHON   the interpreter of the environment                    make demo PYTHON=python3.12
#   VENV     the folder of the environment
#   ARGS     more arguments for the command of a target            make test ARGS="-k iql -x"

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
	@printf '\n  Variables: PYTHON=%s  VENV=%s  ARGS="..." (more arguments for the command)\n' '$(PYTHON)' '$(VENV)'

# ---- commands ----

.PHONY: demo
demo: $(VENV)/.run ## install Holdfast, then train, evaluate and export a policy from the bundled log
	@$(BIN)/holdfast demo $(ARGS)

.PHONY: test
test: export PYTHONDONTWRITEBYTECODE := # tests start many processes, which would compile every module again
test: $(VENV)/.dev ## run the quick tests
	@$(BIN)/python -m pytest -n 3 --dist worksteal $(ARGS)

.PHONY: test-slow
test-slow: $(VENV)/.dev ## run the learning tests, which take minutes
	@$(BIN)/python -m pytest -m slow $(ARGS)

.PHONY: fuzz
fuzz: $(VENV)/.dev ## open thousands of damaged and hostile files (minutes)
	@HOLDFAST_FUZZ=$${HOLDFAST_FUZZ:-1000} $(BIN)/python -m pytest tests/test_fuzz.py $(ARGS)

.PHONY: check
check: $(VENV)/.dev ## check format, lint, types and imports between rooms; changes no file
	$(BIN)/ruff format --check --output-format concise .
	$(BIN)/ruff check --quiet --output-format concise .
	$(BIN)/mypy
	$(BIN)/python -m pytest --quiet tests/test_floors.py

.PHONY: format
format: $(VENV)/.dev ## fix format and lint
	$(BIN)/ruff check --fix --quiet .
	$(BIN)/ruff format .

.PHONY: bench
bench: $(VENV)/.dev ## measure the speed of every algorithm on this machine
	@$(BIN)/python benchmarks/speed.py $(ARGS)

.PHONY: results
results: $(VENV)/.run ## train every algorithm on every available data set and write docs/results.md (hours; can be interrupted)
	@$(BIN)/python benchmarks/results.py $(ARGS)
	@$(BIN)/python benchmarks/published.py

.PHONY: docs
docs: $(VENV)/.docs ## build the documentation into site/; a broken link is an error
	@$(BIN)/python docs/reference.py
	@$(BIN)/zensical build --clean --strict $(ARGS)
	@echo "site/index.html"

# ---- the environment: a stamp file for each set of packages, renewed when pyproject.toml or constraints.txt changes ----

.PHONY: setup
setup: $(VENV)/.dev ## install everything that development needs

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Holdfast needs Python 3.11 or newer: make PYTHON=python3.11" >&2; exit 1; }
	@echo "creating $(VENV)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.run: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing Holdfast into $(VENV) (a few minutes the first time)"
	@$(INSTALL) '.[mujoco,box2d,report]'
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing Holdfast and its tools into $(VENV) (a few minutes the first time)"
	@$(INSTALL) '.[dev]'
	@touch $@ $(VENV)/.run

$(VENV)/.docs: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing Holdfast and its documentation tools into $(VENV)"
	@$(INSTALL) '.[docs]'
	@touch $@

.PHONY: dist
dist: $(VENV)/.dev ## build the wheel and the source distribution into dist/, and check them
	@rm -rf dist
	@$(PIP) install --constraint constraints.txt build twine
	$(BIN)/python -m build --outdir dist
	$(BIN)/python -m twine check --strict dist/*

.PHONY: constraints
constraints: ## write the newest versions that pyproject.toml allows into constraints.txt
	@$(PYTHON) -m venv --clear build/constraints
	@build/constraints/bin/python -m pip --disable-pip-version-check --quiet install --editable '.[dev,docs]'
	@{ echo "# Versions that the checks run on; written by: make constraints"; \
	   build/constraints/bin/python -m pip --disable-pip-version-check freeze --exclude-editable | LC_ALL=C sort -f; } > constraints.txt
	@rm -rf build/constraints

.PHONY: clean
clean: ## remove the environment, caches and build results (keeps runs/)
	rm -rf $(VENV) build dist site .cache docs/reference docs/tutorial.md docs/tutorial-*.png .mypy_cache .ruff_cache .pytest_cache
	find src tests benchmarks examples docs -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
