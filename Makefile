# Every target sets up what it needs in .venv, once; nothing has to be installed by hand but Python >= 3.11 and make.
#   make demo    simulate a noisy scan, map it, compare with the truth, draw the figures
#   make test    the whole check: lint, types, layers, tests (what CI runs)
#   make docs    the documentation site in build/docs: every tutorial is run, a warning is an error

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check
TORCH  := $(shell grep '^torch==' constraints.txt)
WORKERS ?= 2

.PHONY: demo test lint types layers pytest slow format docs docs-figures clean
.DELETE_ON_ERROR:

demo: $(VENV)/.installed
	$(BIN)/cyclestrain demo --force

test: lint types layers pytest

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed-dev
	$(BIN)/mypy

layers: $(VENV)/.installed-dev
	$(BIN)/lint-imports

pytest: $(VENV)/.installed-dev
	$(BIN)/pytest -n $(WORKERS)

slow: $(VENV)/.installed-dev
	$(BIN)/pytest -m slow

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.installed-docs
	$(BIN)/sphinx-build -W --keep-going -j 2 -b html docs build/docs

docs-figures: $(VENV)/.installed
	$(BIN)/cyclestrain demo build/docs-figures --force
	mkdir -p docs/images
	cp build/docs-figures/strain.png docs/images/demo.png

clean:
	rm -rf $(VENV) build dist cyclestrain-demo .mypy_cache .pytest_cache .ruff_cache .import_linter_cache

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "cyclestrain needs Python 3.11 or newer, $(PYTHON) is " + sys.version)'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) install -q -c constraints.txt -e .
	touch $@

# torch first and alone: pip then takes the CPU build where the machine offers one (a local index or wheel folder).
$(VENV)/.installed-dev: $(VENV)/.installed
	$(PIP) install -q "$(TORCH)"
	$(PIP) install -q -c constraints.txt -e ".[dev]"
	touch $@

$(VENV)/.installed-docs: $(VENV)/.installed
	$(PIP) install -q -c constraints.txt -e ".[docs]"
	touch $@
