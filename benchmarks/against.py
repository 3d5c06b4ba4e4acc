"""How long `--wasm-against` takes on fifteen runtimes, and whether it sees a host that became slower.

    python -m benchmarks.against [--runs 10] [--slower 0.10] [--runtimes NAME,…]

Compares the built-in Ruby with itself: the other file has one more custom section. In each run the starts of another
runtime wait for so much longer with the new artifact; with --slower 0 in none. Ends with status 1 if anything else is
red, if fewer than 19 in 20 of the slower ones are, or if a run takes longer than three minutes (`make bench-against`).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.slower_host import ENV
from pytest_wasmedge.artifacts.loading import load_artifact
from pytest_wasmedge.artifacts.opening import BUILTIN_ARTIFACT, open_artifact

RUNTIMES = (
    "wasmtime,wasmtime-cli,wasmtime-serve,wasmedge,wasmer,node,deno,bun,workerd,cloudflare,edge-runtime,chromium,firefox,"
    "node-wasi,deno-wasi"
)
MOST_S = 180
#: A custom section without a name or content.
_SECTION = b"\x00\x01\x00"


def compared(
    argv: list[str], record: Path, environment: dict[str, str]
) -> tuple[float, dict[str, str], list[str]]:
    """Run pytest; return its seconds, the verdict on each runtime, and all sentences."""
    began_s = time.perf_counter()
    argv = [*argv, f"--wasm-report={record}"]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
    took_s = time.perf_counter() - began_s
    if done.returncode > 1:
        raise SystemExit(done.stdout + done.stderr)
    findings = json.loads((record / "record.json").read_text(encoding="utf-8"))["findings"]
    return (
        took_s,
        {each["runtime"]: each["verdict"] for each in findings},
        [each["sentence"] for each in findings],
    )


def main() -> int:
    """Run so often, each time with another slower runtime, and print what was found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=10, help="(default: %(default)s)")
    parser.add_argument("--slower", type=float, default=0.10, help="(default: %(default)s)")
    parser.add_argument("--runtimes", default=RUNTIMES)
    parser.add_argument("--from", dest="first", type=int, default=0, help="the first runtime that is slower")
    parser.add_argument("--verbose", action="store_true", help="print the evidence on each runtime")
    options = parser.parse_args()
    names = options.runtimes.split(",")
    wrong, seen, longest_s = 0, 0, 0.0
    with tempfile.TemporaryDirectory(prefix="bench-against-") as scratch:
        place = Path(scratch)
        baseline, artifact = place / "main.wasm", place / "new.wasm"
        module = open_artifact(BUILTIN_ARTIFACT, Path.cwd()).path.read_bytes()
        baseline.write_bytes(module)
        artifact.write_bytes(module + _SECTION)
        sha256 = load_artifact(artifact).sha256
        argv = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            f"--runtimes={options.runtimes}",
            "--wasm-conformance=only",
        ]
        argv += [f"--wasm-artifact={artifact}", f"--wasm-against={baseline}", "-k", "starts_no_slower"]
        argv += ["-p", "no:cacheprovider"]
        for number in range(options.runs):
            slower = names[(options.first + number) % len(names)] if options.slower else ""
            more = ["-p", "benchmarks.slower_host"] if slower else []
            told = {ENV: f"{slower} {options.slower} {sha256}"} if slower else {}
            took_s, found, said = compared(argv + more, place / f"record-{number}", {**os.environ, **told})
            longest_s = max(longest_s, took_s)
            others = [verdict for name, verdict in found.items() if name != slower]
            wrong += others.count("fail") + (len(found) != len(names))
            seen += found.get(slower) == "fail"
            line = f"{took_s:.0f} s: {others.count('pass')} passed, {others.count('undecided')} undecided, "
            line += f"{others.count('fail')} red" + (
                f"; {slower}, slower: {found.get(slower)}" if slower else ""
            )
            sys.stdout.write("\n".join([line, *(f"  {each}" for each in said if options.verbose), ""]))
            sys.stdout.flush()
    missed = options.slower and seen < 0.95 * options.runs
    return int(bool(wrong or missed or longest_s > MOST_S))


if __name__ == "__main__":
    sys.exit(main())
