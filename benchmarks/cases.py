"""How long many cases take: collected, run on six runtimes by two workers, with the memory of pytest's processes.

    python -m benchmarks.cases [--cases 2000] [--ruby] [--tx ssh=USER@MACHINE//python=… …]

The guest is our witness, which answers at once, so what is timed is ours and the hosts'; with --ruby it is the built-in
Ruby. With --tx also on workers of other machines, which get the cases by pytest-xdist's --rsyncdir.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from pytest_wasmedge.artifacts.witness import witness_artifact
from pytest_wasmedge.provision.cache import folder

RUNTIMES = "wasmtime,wasmtime-cli,node,deno,bun,workerd"


def timed(argv: list[str], place: Path) -> tuple[float, int, list[str]]:
    """Run a command; return its seconds, the most memory that one Python process had in MiB, and its output's lines."""
    began_s, peak = time.perf_counter(), 0
    with tempfile.TemporaryFile() as output:
        process = psutil.Popen(argv, cwd=place, stdout=output, stderr=subprocess.STDOUT)
        while process.poll() is None:
            for each in [process, *process.children(recursive=True)]:
                try:
                    if each.name().startswith(("python", "pytest")):
                        peak = max(peak, each.memory_info().rss >> 20)
                except psutil.Error:
                    continue
            time.sleep(0.25)
        took_s = time.perf_counter() - began_s
        output.seek(0)
        lines = output.read().decode().splitlines()
    if process.returncode:
        raise SystemExit("\n".join(lines[-40:]))
    return took_s, peak, lines


def main() -> None:
    """Make the cases in a temporary folder, run them, and print what they took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--ruby", action="store_true", help="run the built-in Ruby")
    parser.add_argument("--tx", action="append", default=[], help="a worker on another machine; repeatable")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pytest-wasmedge-") as scratch:
        place = Path(scratch)
        (place / "cases").mkdir()
        for number in range(options.cases):
            text = f"puts {number}\n" if options.ruby else f"echo\n{number}\n"
            (place / "cases" / f"case_{number:05}.txt").write_text(text)
        argv = [sys.executable, "-m", "pytest", "-q", f"--runtimes={RUNTIMES}", "--wasm-cases=cases"]
        if not options.ruby:
            argv.append(f"--wasm-artifact={witness_artifact(folder('artifacts')).path}")
        # Whatever is compiled once is compiled before.
        timed([*argv, "-k", "case_00000"], place)
        collected_s, _, lines = timed([*argv, "--collect-only"], place)
        sys.stdout.write(f"{lines[-1].strip()}: {collected_s:.1f} s with the start of Python\n")
        runs = {f"-n {workers}": ["-n", str(workers)] for workers in (0, 1, 2)}
        if options.tx:
            there = ["--dist=load", "--rsyncdir=cases", *(f"--tx={each}" for each in options.tx)]
            runs[f"{len(options.tx)} workers elsewhere"] = there
        for name, more in runs.items():
            took_s, peak, lines = timed([*argv, *more], place)
            told = f"{lines[-1]}; {took_s:.0f} s, at most {peak} MiB a process, {len(lines)} lines"
            sys.stdout.write(f"{name}: {told}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
