"""2,000 Ruby programs on six runtimes by pytest, beside the same by the raw hosts in a loop without it.

    python -m benchmarks.programs [--programs 2000] [--most 1.3]

Both compare what comes with what must. The raw hosts run one program at a time, as ``-n 0`` does. Ends with status 1 if
pytest with two workers takes more than so many times what the raw hosts take.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import httpx

from benchmarks.cases import RUNTIMES, timed
from benchmarks.overhead import Raw, raw_command, raw_http, raw_wasmtime
from pytest_wasmedge.artifacts.opening import BUILTIN_ARTIFACT, open_artifact
from pytest_wasmedge.drivers.command import CommandHost
from pytest_wasmedge.drivers.server import ServerHost
from pytest_wasmedge.model import Artifact, Host, Limits, Outcome, exited
from pytest_wasmedge.portability.golden import format_golden
from pytest_wasmedge.runtimes import builtin_runtimes, merge, select


def raw(host: Host, artifact: Artifact, client: httpx.Client) -> Raw:
    """Return the least that runs a program on this kind of host."""
    if isinstance(host, ServerHost):
        return raw_http(host, client)
    return raw_command(host) if isinstance(host, CommandHost) else raw_wasmtime(artifact)


def raw_s(artifact: Artifact, programs: dict[bytes, bytes]) -> float:
    """Return the seconds that all programs take on all hosts, with their starts and without what is compiled once."""
    taken_s = 0.0
    for runtime in select(RUNTIMES, merge(builtin_runtimes(), [])):
        began_s = time.perf_counter()
        with (
            runtime.start(artifact, Limits()) as host,
            httpx.Client(trust_env=False, timeout=60) as client,
        ):
            call = raw(host, artifact, client)
            call()
            if runtime.name == "wasmtime":
                # The bindings alone keep no code.
                began_s = time.perf_counter()
            for source, wanted in programs.items():
                if wanted not in call(source):
                    raise SystemExit(f"{runtime.name}: {source!r} is not answered with {wanted!r}")
        each_s = time.perf_counter() - began_s
        taken_s += each_s
        sys.stdout.write(f"raw {runtime.name}: {each_s:.1f} s\n")
        sys.stdout.flush()
    return taken_s


def main() -> int:
    """Run both and print what they took."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--programs", type=int, default=2000)
    parser.add_argument("--most", type=float, default=1.3, help="times the raw hosts (default: %(default)s)")
    options = parser.parse_args()
    programs = {b"puts %d + 1\n" % number: b"%d\n" % (number + 1) for number in range(options.programs)}
    artifact = open_artifact(BUILTIN_ARTIFACT, Path.cwd())
    with tempfile.TemporaryDirectory(prefix="pytest-wasmedge-") as scratch:
        place = Path(scratch)
        (place / "cases").mkdir()
        for at, (source, wanted) in enumerate(programs.items()):
            case = place / "cases" / f"case_{at:05}.rb"
            case.write_bytes(source)
            case.with_suffix(".golden").write_text(format_golden(Outcome(wanted, b"", exited(0))))
        argv = [sys.executable, "-m", "pytest", "-q", f"--runtimes={RUNTIMES}", "--wasm-cases=cases"]
        # Whatever is compiled once is compiled before.
        timed([*argv, "-k", "case_00000"], place)
        raw_took_s = raw_s(artifact, programs)
        sys.stdout.write(f"the raw hosts: {raw_took_s:.0f} s\n")
        for workers in (0, 2):
            took_s, _, lines = timed([*argv, "-n", str(workers)], place)
            ratio = took_s / raw_took_s
            sys.stdout.write(f"pytest -n {workers}: {took_s:.0f} s, {ratio:.2f} times that; {lines[-1]}\n")
            sys.stdout.flush()
    return int(ratio > options.most)


if __name__ == "__main__":
    sys.exit(main())
