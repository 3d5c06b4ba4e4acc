# Everything works from a fresh clone with Python >= 3.11, make and a package registry.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: help setup conformance faults faults-table hostile soak test test-unit test-lowest lock pins lint format bench-overhead bench-gate bench-against bench-clock bench-workers bench-languages bench-cases bench-programs bench-work depths examples wasi-table clean

## help: this list
help:
	@sed -n 's/^## \([a-z-]*\): \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "make %-16s %s\n", $$1, $$2 }'

# In CI a runtime that cannot run fails the run; elsewhere it is left out, loudly: not everybody can install a browser.
REQUIRE ?= $(if $(CI),all)
REQUIRED := $(if $(REQUIRE),--wasm-require=$(REQUIRE))

# The locked environment, the pinned runtimes in the user's cache, the system's browsers. What is there stays; a tool that
# cannot be had today is left out, and the run says so. In CI that is an error.
## setup: the locked Python environment, the pinned runtimes, the system's browsers (LATEST=1: the newest of everything)
setup: .venv/.installed
	scripts/system-packages
	$(if $(filter-out 0,$(LATEST)),-$(BIN)/pytest-wasmedge pins --update)
	$(BIN)/pytest-wasmedge install $(if $(CI),--strict)

# What is asked of the Python that we begin with, and what to do where it falls short. Debian has venv in a package.
define check-python
@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
  "Python 3.11 or newer is needed: make PYTHON=python3.12 …")'
@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
  echo "$(PYTHON) lacks venv or ensurepip, which make environments. On Debian: apt install python3-venv" >&2; exit 1; }
endef
PIP_QUIETLY := -m pip --quiet --disable-pip-version-check

ifeq ($(filter-out 0,$(LATEST)),)
# The locked environment, made from nothing, so that no package stays that the lock does not name.
.venv/.installed: pyproject.toml requirements/dev.txt
	$(check-python)
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python $(PIP_QUIETLY) install --require-hashes -r requirements/dev.txt
	$(BIN)/python $(PIP_QUIETLY) install --no-deps --no-build-isolation --editable .
	touch $@
else
# With LATEST=1 the newest of everything, anew in every run of make, until a make without it puts the lock back. Pins
# move too: what that changes in the checkout is there to be committed, or to be thrown away.
.PHONY: .venv/.installed
.venv/.installed:
	$(check-python)
	rm -f $@
	$(PYTHON) -m venv .venv
	$(BIN)/python $(PIP_QUIETLY) install --upgrade --upgrade-strategy eager --editable '.[dev]'
endif

# All locks anew: the newest of everything, the oldest that the wheel says it works with, and the plugins that ours is
# tested beside; by markers they hold for every Python from 3.11 on, and for every system.
COMPILE := $(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
  --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock"
## lock: write the locks of the Python environment anew
lock: .venv/.installed
	$(COMPILE) --extra dev --output-file requirements/dev.txt pyproject.toml
	$(COMPILE) --resolution lowest-direct --output-file requirements/lowest.txt pyproject.toml
	$(COMPILE) --constraint requirements/dev.txt --output-file requirements/neighbours.txt requirements/neighbours.in

# The main job: the built-in Ruby on every runtime. Tests run side by side; a measurement waits until it is alone. Our
# ceilings have so much room that a quarter of a minute decides them, but on a browser that takes three seconds to start.
## conformance: the built-in Ruby on every runtime (setup first)
conformance: setup
	$(BIN)/pytest --runtimes=all $(REQUIRED) --wasm-latency-budget=30 -n 2

## test-unit: those of our own tests that start no real runtime; needs the Python environment alone
test-unit: .venv/.installed
	$(BIN)/pytest tests --ignore=tests/hostile -m "not runtime and not network and not build" -n 2

## faults: the faults that are planted in the gate itself
faults: .venv/.installed
	$(BIN)/pytest tests/plugin/test_gate_faults.py -n 2

# Every test of the suite under every fault of the catalogue: half an hour on an idle machine. Afterwards a selfcheck knows
# which tests to run under each.
## faults-table: docs/faults.md, which test of the suite catches which fault (a quarter of an hour)
faults-table: .venv/.installed
	-$(BIN)/pytest-wasmedge selfcheck --tests=each -n 2 --write docs/faults.md \
	  --write-tests pytest_wasmedge/testing/caught_by.json

# The plugin's own tests.
## test: all of our own tests (setup first)
test: setup
	$(BIN)/pytest tests --ignore=tests/hostile -n 2 --dist loadfile

# Half an hour.
## hostile: artifacts that mean harm, on every runtime: each ends as it may, and nothing of it stays
hostile: setup
	$(BIN)/pytest tests/hostile -n 2

# Half an hour. It prints the seed by which a run is repeated: what is run, and what is done to whom.
## soak: 20,000 invocations on all runtimes whose hosts last, faults injected (INVOCATIONS=n SEED=n RUNTIMES=a,b)
soak: setup
	$(BIN)/python -m tests.soak $(if $(INVOCATIONS),--invocations $(INVOCATIONS)) $(if $(SEED),--seed $(SEED)) \
	  $(if $(RUNTIMES),--runtimes $(RUNTIMES))

# The wheel on the oldest versions that it says it works with: most cases of the built-in suite, then those of our own
# tests that use pytest-xdist, pytest-benchmark, tomlkit, httpx and psutil, and need no runtime.
LOWEST := .venv-lowest
## test-lowest: the wheel on the oldest versions that it says it works with
test-lowest: .venv/.installed $(LOWEST)/.installed
	rm -rf $(LOWEST)/dist
	$(BIN)/python $(PIP_QUIETLY) wheel --no-deps --no-build-isolation --wheel-dir $(LOWEST)/dist .
	$(LOWEST)/bin/python $(PIP_QUIETLY) install --no-deps --force-reinstall $(LOWEST)/dist/*.whl
	$(LOWEST)/bin/pytest --runtimes=wasmtime -n 2 -k "(test_stdout or test_exit_status) and not load"
	$(LOWEST)/bin/pytest tests/contract tests/drivers/test_server.py tests/reports tests/plugin/test_xdist.py -n 2

$(LOWEST)/.installed: requirements/lowest.txt
	$(check-python)
	$(PYTHON) -m venv --clear $(LOWEST)
	$(LOWEST)/bin/python $(PIP_QUIETLY) install --require-hashes -r requirements/lowest.txt
	touch $@

## lint: ruff, mypy, and zizmor for .github, as CI calls them
lint: .venv/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/zizmor --offline --quiet --no-progress .github

## format: mend what can be mended by machine
format: .venv/.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The toolchains come with it. Each example is a project of its own, with an artifact and cases. Two run side by side,
# which takes less than workers would: each asks every runtime for its version.
## examples: guests in C, Rust, AssemblyScript, WAT and a CPython, built and run on every runtime
examples: setup
	scripts/system-packages rust
	$(BIN)/python -m examples.build $(if $(CI),--strict)
	@basename -s .wasm examples/build/*.wasm | xargs -P 2 -I NAME sh -c 'cd examples/NAME && \
	  said=$$(../../$(BIN)/pytest -q --runtimes=all $(REQUIRED) 2>&1); red=$$?; echo "examples/NAME"; \
	  echo "$$said"; exit $$red'

# How the pins stand: newest versions, and whether the pinned ones can still be fetched. UPDATE=1 moves all of them,
# UPDATE="deno node" these.
## pins: hold the pins against the registries (UPDATE=1, or UPDATE="deno node": move them)
pins: .venv/.installed
	$(BIN)/pytest-wasmedge pins $(if $(UPDATE),--update $(filter-out 1,$(UPDATE)))

# Every runtime is started for every call: some minutes.
## wasi-table: docs/wasi.md, what each call of preview 1 answers on each runtime (setup first)
wasi-table: .venv/.installed
	$(BIN)/python -m tests.runtimes.wasi_table

# What host.run costs beyond the raw calls: ratios, taken in one run.
## bench-overhead: what host.run costs beyond the raw calls
bench-overhead: setup
	$(BIN)/python benchmarks/overhead.py

# How often the gates are wrong: raw cold starts are recorded, gates drawn from them, others run for real. Takes
# hours on an idle machine; each part can be stopped and goes on where it was.
## bench-gate: how often the latency gates are wrong (hours)
bench-gate: setup
	$(BIN)/python -m benchmarks.gate record --condition idle
	$(BIN)/python -m benchmarks.gate record --condition busy
	$(BIN)/python -m benchmarks.gate replay
	$(BIN)/python -m benchmarks.together
	$(BIN)/python -m benchmarks.gate real --resume
	$(BIN)/python -m benchmarks.gate ceilings --resume
	$(BIN)/python -m benchmarks.gate report --into docs/latency.md

# Two to three minutes each, on a quiet machine. RUNS=20 for a rate.
## bench-against: how long a comparison on fifteen runtimes takes, and whether it sees one that became 10 % slower (RUNS=n)
bench-against: setup
	$(BIN)/python -m benchmarks.against --slower 0 --runs 1 --verbose
	$(BIN)/python -m benchmarks.against $(if $(RUNS),--runs $(RUNS))

# Our cold starts against those of hyperfine (a Debian package) on the same command line.
## bench-clock: our clock against hyperfine's
bench-clock: setup
	$(BIN)/python -m benchmarks.clock

# Whether what is measured is the same beside other workers of pytest-xdist, as far as it repeats itself without.
## bench-workers: measurements with and without workers of pytest-xdist
bench-workers: setup
	$(BIN)/python -m benchmarks.workers

# A quarter of an hour; ends with status 1 above 1.3 times.
## bench-programs: 2,000 Ruby programs on six runtimes, and the same by the raw hosts without pytest
bench-programs: setup
	$(BIN)/python -m benchmarks.programs

## bench-cases: 2,000 cases on six runtimes: collected, run, memory, lines (TX="--tx=ssh=…": also on other machines)
bench-cases: setup
	$(BIN)/python -m benchmarks.cases $(TX)

# The same numbers in every run, however busy the machine is, and a gate that is never wrong: minutes.
## bench-work: exact counts in ten runs, and how often the gate on them is wrong (ARTIFACTS="a.wasm b.wasm")
bench-work: .venv/.installed
	$(BIN)/python -m benchmarks.work ruby-worker $(ARTIFACTS)

# A minute, and what the first one compiles; ROUNDS=200 for narrower intervals.
## bench-languages: docs/languages.md, Hello World and HTML, native and in WebAssembly
bench-languages: setup
	scripts/system-packages rust
	$(BIN)/python -m benchmarks.languages $(if $(ROUNDS),--rounds $(ROUNDS))

# The table of docs/artifacts.md: where the host's stack ends, or memory, or 20 seconds.
## depths: how deep programs of the built-in Ruby may go on each runtime
depths: setup
	$(BIN)/python -m benchmarks.depths

## clean: remove the environment and what tools left
clean:
	rm -rf .venv $(LOWEST) build examples/build dist .benchmarks .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
