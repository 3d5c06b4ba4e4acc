# Everything works from a fresh clone with Python >= 3.11, make and a package registry.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup conformance test lint format bench-overhead clean

# The environment, and the pinned runtimes in the user's cache. Idempotent: what is there is left alone.
setup: .venv/.installed
	$(BIN)/pytest-wasmedge install

.venv/.installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 …")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

# The main job: the built-in Ruby on every runtime; one that is missing fails the run. Tests run side by side;
# a measurement waits until it is alone.
conformance: setup
	$(BIN)/pytest --runtimes=all --wasm-require=all -n 2

# The plugin's own tests.
test: setup
	$(BIN)/pytest tests

lint: .venv/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# What host.run costs beyond the raw calls: ratios, taken in one run.
bench-overhead: setup
	$(BIN)/python benchmarks/overhead.py

clean:
	rm -rf .venv build dist .benchmarks .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
