# Two commands for everybody: `make run` and `make test`. They need Python 3.11 or
# newer, pip and make, and do the rest themselves.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Debian's Python can make an environment without pip only; then its own pip is used.
PIP = $(if $(wildcard $(BIN)/pip),$(BIN)/python -m pip,$(PYTHON) -m pip --python $(BIN)/python) \
  --disable-pip-version-check --quiet
COMPILE := $(BIN)/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras \
  --no-emit-index-url --no-emit-trusted-host --no-emit-find-links --no-header

.DEFAULT_GOAL := help

help: ## say what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-9s %s\n", $$1, $$2}'

install: $(VENV)/installed ## the environment in .venv, from the lock file with hashes

run: install ## a demo: the service at https://localhost:8443 and a PBX living a day
	@$(BIN)/python deploy/demo.py

test: $(VENV)/tests-installed ## format, lint, types, arrows, and all tests
	@$(BIN)/python tests/programs.py --install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/pytest --quiet --numprocesses 2 --dist loadfile

bench: $(VENV)/tests-installed ## measure speed as ratios, and write deploy/benchmarks.md
	@$(BIN)/python -m deploy.bench

lock: $(VENV)/tests-installed ## choose versions anew, and write both lock files
	$(PIP) install pip-tools
	$(COMPILE) --upgrade --all-build-deps --output-file requirements.lock pyproject.toml
	$(COMPILE) --upgrade --extra test --constraint requirements.lock --output-file tests/requirements.lock pyproject.toml

clean: ## remove the environment and what tools left behind; ./var stays
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache callhome.egg-info

$(VENV)/installed: requirements.lock pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) >/dev/null 2>&1 \
	  || $(PYTHON) -m venv --clear --without-pip $(VENV)
	@echo "installing into $(VENV)"
	@$(PIP) install --require-hashes -r requirements.lock
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/tests-installed: $(VENV)/installed tests/requirements.lock
	@echo "installing what the tests need"
	@$(PIP) install --require-hashes -r tests/requirements.lock
	@touch $@

.PHONY: help install run test bench lock clean
