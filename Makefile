# Two commands: `make cycle` runs one whole fill cycle on the simulated web, `make test` passes the tests.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# Without cached bytecode every process would compile its libraries anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help cycle up test check clean

help:
	@echo "make cycle   one whole fill cycle on the simulated web, report as JSON"
	@echo "make up      the system with Dagster UI and dashboard, until Ctrl-C"
	@echo "make test    install what the tests need, check style and types, pass everything"

cycle: $(VENV)/.installed
	@$(BIN)/fill cycle --demo

up: $(VENV)/.installed
	@$(BIN)/fill up

test: $(VENV)/.installed-dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy & types=$$!; $(BIN)/pytest -n 3 --dist loadgroup; tests=$$?; wait $$types && exit $$tests

$(VENV)/bin/uv: requirements-bootstrap.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; name one with PYTHON=…")'
	@echo "creating $(VENV) …"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --require-hashes -r requirements-bootstrap.txt
	@touch $@

$(VENV)/.installed: $(VENV)/bin/uv requirements.txt pyproject.toml
	@echo "installing …"
	@$(BIN)/uv pip install --quiet --require-hashes --python $(BIN)/python -r requirements.txt
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed requirements-dev.txt
	@echo "installing what the tests need …"
	@$(BIN)/uv pip install --quiet --require-hashes --python $(BIN)/python -r requirements-dev.txt
	@touch $@

clean:
	@if [ -x $(BIN)/fill ]; then $(BIN)/fill down; fi
	rm -rf $(VENV) .fill
