# Everything works from a fresh clone with Python >= 3.11, make and a package registry.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup conformance test lint format pins bench-overhead bench-gate bench-clock bench-workers clean

# In CI a runtime that cannot run fails the run; elsewhere it is left out, loudly: not everybody can install a browser.
# Where none may be missing the interpreter, which takes longest, begins.
REQUIRE ?= $(if $(CI),all)
comma := ,
ALL := $(if $(filter all,$(REQUIRE)),wasmedge$(comma))all

# The environment, the pinned runtimes in the user's cache, the system's browsers. Idempotent: what is there stays.
setup: .venv/.installed
	scripts/system-packages
	$(BIN)/pytest-wasmedge install

.venv/.installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 …")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

# The main job: the built-in Ruby on every runtime. Tests run side by side; a measurement waits until it is alone. Our
# ceilings have so much room that a quarter of a minute decides them, but on a browser that takes three seconds to start.
conformance: setup
	$(BIN)/pytest --runtimes=$(ALL) --wasm-require=$(REQUIRE) --wasm-latency-budget=15 -n 2

# The plugin's own tests.
test: setup
	$(BIN)/pytest tests -n 2 --dist loadfile

lint: .venv/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# How the pins stand: newest versions, and whether the pinned ones can still be fetched. UPDATE=1 moves all of them,
# UPDATE="deno node" these.
pins: .venv/.installed
	$(BIN)/pytest-wasmedge pins $(if $(UPDATE),--update $(filter-out 1,$(UPDATE)))

# What host.run costs beyond the raw calls: ratios, taken in one run.
bench-overhead: setup
	$(BIN)/python benchmarks/overhead.py

# How often the gates are wrong: raw cold starts are recorded, gates drawn from them, others run for real. Takes
# hours on an idle machine; each part can be stopped and goes on where it was.
bench-gate: setup
	$(BIN)/python -m benchmarks.gate record --condition idle
	$(BIN)/python -m benchmarks.gate record --condition busy
	$(BIN)/python -m benchmarks.gate replay
	$(BIN)/python -m benchmarks.gate real --resume
	$(BIN)/python -m benchmarks.gate ceilings --resume
	$(BIN)/python -m benchmarks.gate report --into docs/latency.md

# Our cold starts against those of hyperfine (a Debian package) on the same command line.
bench-clock: setup
	$(BIN)/python -m benchmarks.clock

# Whether what is measured is the same beside other workers of pytest-xdist, as far as it repeats itself without.
bench-workers: setup
	$(BIN)/python -m benchmarks.workers

clean:
	rm -rf .venv build dist .benchmarks .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
