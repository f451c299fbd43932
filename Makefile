# Everything runs from .venv, which `setup` makes from nothing. No system package is needed.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
DOCS   := $(VENV)/.docs

# Where an environment forbids bytecode, each of the hundred processes that tests start would compile the package anew.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: setup tools demo test test-fresh test-slow fuzz crash lint format schema gallery figures docs clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "epgraph needs Python 3.11 or newer: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

# What some tests need beside Python: a YAML language server, and a browser where root can install one. Tests that miss
# theirs are skipped, so nothing here may fail.
tools:
	-@timeout 300 npm install --silent --no-fund --no-audit --prefix .tools yaml-language-server@1 \
		|| echo "yaml-language-server is not installed: the tests of editors are skipped"
	-@command -v chromium >/dev/null || { test "$$(id -u)" = 0 && timeout 60 apt-get -qq update && DEBIAN_FRONTEND=noninteractive \
		timeout 600 apt-get -qq install --yes --no-install-recommends chromium >/dev/null; } \
		|| echo "chromium is not installed: the tests in a browser are skipped"

demo: setup
	$(BIN)/epgraph train examples/digits.yaml --data digits --out runs/demo --overwrite
	@echo "Look at runs/demo: network.svg, curves.png, metrics.jsonl, last.pt"

# A process a core. Each takes files in a row, which share what is slow to draw, and then what others have left.
test: setup
	$(BIN)/python -m pytest -n auto --dist worksteal

# Random networks that no run has drawn before; a failure prints how to draw it again.
test-fresh: setup
	$(BIN)/python -m pytest -n auto --dist worksteal --hypothesis-profile fresh

test-slow: setup
	$(BIN)/python -m pytest -m slow

# Files that are broken at random: clean diagnostics or a network, nothing else.
fuzz: setup
	$(BIN)/python -m tests.fuzz 10000

# Trainings that are killed at random instants and go on: equal to the bit to one that was never stopped.
crash: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.crash 50

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

schema: setup
	$(BIN)/epgraph schema -o epgraph/language/architecture.schema.json

gallery: setup
	$(BIN)/python docs/gallery.py

# Pictures of pages in a real browser (Chromium, see tools). Diagrams are drawn by gallery.
figures: setup
	$(BIN)/python -m docs.screenshots

$(DOCS): $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[docs]'
	@touch $@

# The site, in build/docs; no network is needed once .venv is there. A warning, such as a broken link, is an error.
docs: $(DOCS)
	rm -rf build/docs
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet --fresh-env -d build/doctrees docs build/docs
	@echo "Open build/docs/index.html"

clean:
	rm -rf $(VENV) .tools build runs .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
