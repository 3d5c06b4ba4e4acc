"""``pytest-wasmedge selfcheck``: plants faults into a runtime, and shows whether the bundled suite catches them."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import get_args

import tomlkit

from pytest_wasmedge.commands.console import Subparsers, open_console, progress_on, show
from pytest_wasmedge.drivers.process import Workspace, ends_within, how_it_ended, spawn, stop, tail
from pytest_wasmedge.errors import WasmEdgeError
from pytest_wasmedge.provision import Progress
from pytest_wasmedge.provision.files import whole
from pytest_wasmedge.runtimes import DEFAULT
from pytest_wasmedge.testing import FAULTS, Fault
from pytest_wasmedge.testing.catalogue import find_fault
from pytest_wasmedge.testing.matrix import Matrix, Tests, catching, read
from pytest_wasmedge.testing.page import lines, page

#: How often progress is shown.
_LOOK_S = 0.5
#: pytest's exit statuses of a run whose tests were run: all passed, some failed.
_RAN = (0, 1)
#: Of one without tests, and of a command line that it refuses, which is then about the runtime.
_NOTHING_RAN, _USAGE_ERROR = 5, 4
_CONTRACT = "portability.toml"


def selfcheck(
    runtime: str,
    faults: Sequence[Fault],
    *,
    tests: Tests = "known",
    stops: bool = True,
    workers: int,
    progress: Progress,
) -> Matrix:
    """Run the bundled suite on this runtime, without a fault and under each, in one pytest run.

    A fault ``stops`` at the first of its known tests that catches it. pytest starts in the working folder, so that a
    runtime of its conftest.py is found. Raises WasmEdgeError.
    """
    with Workspace() as workspace:
        plan, results, log = (workspace.path / name for name in ("plan.json", "results.jsonl", "log.txt"))
        # A few faults are a question about these, not about the whole suite.
        asked = {
            "runtime": runtime,
            "faults": {fault.name: fault.caught_by for fault in faults},
            "which": tests,
            "stops": stops and tests == "known",
            "all_clean": len(faults) == len(FAULTS),
        }
        plan.write_text(json.dumps({**asked, "results": str(results)}), "utf-8")
        argv = ["-p", "pytest_wasmedge.plugin.selfcheck", f"--wasm-selfcheck={plan}"]
        argv += [f"--runtimes={','.join([runtime, *(f'{runtime}+{fault}' for fault in faults)])}"]
        argv += ["--tb=no", *(["-n", str(workers)] if workers else [])]
        if any(fault.slows for fault in faults):
            argv.append(f"--wasm-contract={_ceilings(runtime, workspace.path, progress)}")
        process = _pytest(argv, log, lambda: progress(_state(read(results, faults), len(faults))))
        found = read(results, faults)
        if found is None or process.returncode not in (*_RAN, _NOTHING_RAN):
            raise WasmEdgeError(_why(process, log))
        return found


def _ceilings(runtime: str, folder: Path, progress: Progress) -> Path:
    """Measure how long the runtime takes without a fault, and return a contract that holds all others to that.

    Only a ceiling shows that a host is slow. The project's own contract is in it, but for its ceilings. Raises
    WasmEdgeError.
    """
    measured, log = folder / "measured.toml", folder / "measured.log"
    argv = [f"--runtimes={runtime}", f"--wasm-contract={measured}", "--wasm-update-contract"]
    argv += ["-k", "test_cold_start or test_warm_latency"]
    process = _pytest(argv, log, lambda: progress("measuring without a fault"))
    if process.returncode not in _RAN or not measured.exists():
        raise WasmEdgeError(_why(process, log))
    own = Path(_CONTRACT)
    contract = tomlkit.parse(own.read_text("utf-8")) if own.exists() else tomlkit.document()
    contract["ceilings"] = {"*": tomlkit.parse(measured.read_text("utf-8"))["ceilings"][runtime]}
    path = folder / _CONTRACT
    path.write_text(tomlkit.dumps(contract), "utf-8")
    return path


def _pytest(argv: Sequence[str], log: Path, look: Callable[[], None]) -> subprocess.Popen[bytes]:
    """Run the bundled suite with these arguments, looking at it twice a second, and return the ended process."""
    # What the project adds to every run may end this one early.
    common = ["--wasm-conformance=only", "-o", "addopts=", "-p", "no:cacheprovider", "-q"]
    env = {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"}
    with log.open("wb") as file:
        command = [sys.executable, "-m", "pytest", *common, *argv]
        process = spawn(command, env=env, cwd=Path.cwd(), stdout=file, stderr=subprocess.STDOUT)
        try:
            while not ends_within(process, _LOOK_S):
                look()
        finally:
            stop(process)
    return process


def _state(matrix: Matrix | None, count: int) -> str:
    if matrix is None or not matrix.results:
        return "collecting tests"
    under_way = len({each.fault for each in matrix.results} - {""})
    return f"fault {under_way} of {count}" if under_way else "without a fault"


def _why(process: subprocess.Popen[bytes], log: Path) -> str:
    """Return why pytest did not run to its end."""
    said = tail(log, 30)
    if process.returncode == _USAGE_ERROR:
        errors = said.rpartition("ERROR: ")[2].strip()
        return errors or said
    return f"the run under faults {how_it_ended(process)}; it said last:\n{said}"


def add_to(commands: Subparsers) -> None:
    """Add the parser of this command."""
    parser = commands.add_parser(
        "selfcheck",
        help="plant faults into a runtime, and show whether the suite catches them",
        description="Run the bundled suite on one runtime, first as it is and then with each fault of the catalogue "
        "planted into it, and show which test catches it. A runtime may also come from the conftest.py of this folder "
        "or from an installed plugin. The exit status is 0 if every fault is caught that can show there.",
    )
    parser.add_argument(
        "--runtime",
        default=DEFAULT,
        metavar="NAME",
        help=f"the runtime, or NAME@VERSION (default: {DEFAULT})",
    )
    parser.add_argument(
        "--fault",
        action="append",
        default=[],
        metavar="NAME",
        help="plant this one alone; repeatable (default: all)",
    )
    parser.add_argument(
        "--tests",
        choices=get_args(Tests),
        default="known",
        help="which run under a fault: those that are known to catch it, until one does (default); these and one case "
        "of each other test; or all, which takes hours",
    )
    parser.add_argument(
        "--write",
        type=Path,
        metavar="PATH",
        help="write the page on all faults, after all tests that are known to catch each",
    )
    parser.add_argument(
        "--write-tests",
        type=Path,
        metavar="PATH",
        help="write which tests catch each fault; not with known tests alone",
    )
    parser.add_argument("--list", action="store_true", help="list the faults, and run nothing")
    parser.add_argument(
        "-n", type=_count, default=0, metavar="N", help="run in so many processes (default: in one)"
    )
    parser.set_defaults(action=run, usage_error=parser.error)


def run(options: argparse.Namespace) -> int:
    """Check, and return the exit status. Raises WasmEdgeError."""
    faults = [find_fault(name) for name in dict.fromkeys(options.fault)] or [*FAULTS.values()]
    console = open_console()
    if options.list:
        width = max(len(fault.name) for fault in faults)
        show(((f"{each.kind:<10}  {each.name:<{width}}  {each.sentence}", "") for each in faults), console)
        return 0
    written = {"--write": options.write, "--write-tests": options.write_tests}
    for option, path in written.items():
        if path is not None and options.fault:
            options.usage_error(f"{option} tells of all faults: give no --fault")
        if option == "--write-tests" and path is not None and options.tests == "known":
            options.usage_error(f"{option} finds tests that are not known: it needs --tests=each or all")
        if path is not None and (path.is_dir() or not path.parent.is_dir()):
            raise WasmEdgeError(f"{option} {path} is no place for a file; name the file to write.")
    with progress_on(console) as progress:
        matrix = selfcheck(
            options.runtime,
            faults,
            tests=options.tests,
            stops=options.write is None,
            workers=options.n,
            progress=progress,
        )
    if options.write_tests:
        # What cannot show on this runtime is known from another one.
        elsewhere = {name: FAULTS[name].caught_by for name in matrix.not_on}
        catchers = {name: found for name, found in {**elsewhere, **catching(matrix)}.items() if found}
        _write(options.write_tests, json.dumps(catchers, indent=1, sort_keys=True) + "\n")
    if options.write:
        _write(options.write, page(matrix, options.tests))
    show(lines(matrix), console)
    return 0 if matrix.ok else 1


def _write(path: Path, text: str) -> None:
    with whole(path) as part:
        part.write_text(text, "utf-8")


def _count(text: str) -> int:
    count = int(text)
    if count < 1:
        raise argparse.ArgumentTypeError(f"{count} is too few")
    return count
