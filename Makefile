# Every target sets up what it needs in .venv, once; nothing has to be installed by hand but Python >= 3.11 and make.
#   make demo    simulate a noisy scan, map it, compare with the truth, draw the figures
#   make test    the whole check: lint, types, layers, tests (what CI runs)
#   make test-app     the explorer in a real browser, which is installed for it where it can be (part of make test)
#   make audit   known vulnerabilities of the pinned packages, and a bill of materials in build/
#   make docs    the documentation site in build/docs: every tutorial is run, a warning is an error
#   make test-wheel    the tests on the wheel as it is released, without the repository

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check
TORCH  := $(shell grep '^torch==' constraints.txt)
WORKERS ?= 2
EPOCH   := SOURCE_DATE_EPOCH=$(shell git log -1 --format=%ct 2>/dev/null || echo 1700000000)

.PHONY: demo test lint types layers pytest test-app slow format audit docs docs-figures dist test-wheel size clean
.DELETE_ON_ERROR:

demo: $(VENV)/.installed
	$(BIN)/cyclestrain demo --force

test: lint types layers pytest test-app

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed-dev
	$(BIN)/mypy

layers: $(VENV)/.installed-dev
	$(BIN)/lint-imports

pytest: $(VENV)/.installed-dev
	$(BIN)/pytest -n $(WORKERS)

# Skipped, with the reason, where no Chromium can be had: no apt-get, no rights, no network.
test-app: $(VENV)/.installed-app
	$(BIN)/pytest -m browser tests/explorer

slow: $(VENV)/.installed-dev
	$(BIN)/pytest -m slow

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Tools of their own environment: they must not change the one that they look at.
audit: $(VENV)/.installed
	$(PYTHON) -m venv build/audit
	build/audit/bin/python -m pip --disable-pip-version-check install -q pip-audit cyclonedx-bom
	build/audit/bin/cyclonedx-py environment $(BIN)/python -o build/sbom.json
	build/audit/bin/pip-audit -r constraints.txt --no-deps --disable-pip

docs: $(VENV)/.installed-docs
	$(BIN)/sphinx-build -W --keep-going -j 2 -b html docs build/docs

docs-figures: $(VENV)/.installed-app docs
	$(BIN)/cyclestrain demo build/docs-figures --force
	mkdir -p docs/images
	cp build/docs-figures/strain.png docs/images/demo.png
	$(BIN)/python docs/dev/screenshots.py build/docs-figures docs/images build/docs

# Wheel and source distribution, with the date of the last commit: built twice, the same bytes.
dist: $(VENV)/.installed-dev
	rm -rf dist build/again
	$(EPOCH) $(BIN)/python -m build -q
	$(EPOCH) $(BIN)/python -m build -q -o build/again
	for file in dist/*; do cmp $$file build/again/$$(basename $$file); done

# The wheel alone, with the tests of the source distribution and no other file of this repository.
test-wheel: dist
	rm -rf build/wheel && mkdir -p build/wheel
	$(PYTHON) -m venv build/wheel/venv
	build/wheel/venv/bin/python -m pip install -q "$(TORCH)"
	build/wheel/venv/bin/python -m pip install -q -c constraints.txt "$$(echo dist/*.whl)[dev]"
	tar -xzf dist/*.tar.gz -C build/wheel && rm -r build/wheel/cyclestrain-*/src
	cd build/wheel/cyclestrain-* && ../venv/bin/pytest -n $(WORKERS) $(or $(ARGS),tests)

# Megabytes of files that the default install brings, without byte code.
size: dist
	rm -rf build/size && $(PYTHON) -m venv build/size
	build/size/bin/python -m pip install -q --no-compile -c constraints.txt dist/*.whl
	build/size/bin/python -m pip uninstall -q -y pip setuptools
	du -sm build/size/lib

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

BROWSERS := chromium chromium-browser google-chrome
$(VENV)/.installed-app: $(VENV)/.installed-dev
	$(PIP) install -q -c constraints.txt "playwright>=1.50" || echo "no Playwright: the tests in a browser are skipped"
	for name in $(BROWSERS); do command -v $$name && exit 0; done; \
	  { apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core; } \
	  > $(VENV)/chromium.log 2>&1 || echo "no Chromium ($(VENV)/chromium.log): the tests in a browser are skipped"
	touch $@

$(VENV)/.installed-docs: $(VENV)/.installed
	$(PIP) install -q "$(TORCH)"
	$(PIP) install -q -c constraints.txt -e ".[docs]"
	touch $@
