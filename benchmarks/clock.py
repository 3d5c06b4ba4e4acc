"""`make bench-clock`: do our cold starts agree with those that hyperfine measures, on the same command line?

hyperfine can only time whole commands, so one_start.sh beside this file is one: it starts the host as our driver
does, sends it the same invocation, reads the response and kills the host. The clocks take many short turns, so
that both meet whatever else the machine does. Ends with status 1 if their medians differ by more than 5 % and
more than 2 ms, with 2 if there is nothing to compare.
"""

from __future__ import annotations

import argparse
import json
import secrets
import shlex
import shutil
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pytest_wasmedge.artifacts.opening import BUILTIN_ARTIFACT, open_artifact
from pytest_wasmedge.drivers.http import request_body
from pytest_wasmedge.drivers.loopback import open_client
from pytest_wasmedge.drivers.process import Workspace, spawn, stop, tail
from pytest_wasmedge.drivers.server import ServerRuntime, ServingLaunch
from pytest_wasmedge.errors import HostStartError, RuntimeUnavailableError, WasmEdgeError
from pytest_wasmedge.latency.quiet import Quiet
from pytest_wasmedge.latency.sampling import cold_once
from pytest_wasmedge.model import Artifact, Invocation, Limits
from pytest_wasmedge.provision.cache import folder
from pytest_wasmedge.runtimes import builtin_runtimes, merge, select

ALLOWED_RATIO = 0.05
ALLOWED_NS = 2_000_000
INVOCATION = Invocation(b"puts 1+1\n")
LIMITS = Limits()
#: hyperfine gives up by itself when a start fails; this is for the case that it does not.
_START_TIMEOUT_S = 180
_BASH_STARTS = 50


@dataclass(frozen=True, slots=True)
class Clocks:
    """What both clocks told of one runtime's cold starts, in nanoseconds."""

    runtime: str
    ours_ns: list[int] = field(default_factory=list)
    hyperfine_ns: list[int] = field(default_factory=list)

    @property
    def difference_ns(self) -> float:
        """Our median less that of hyperfine."""
        return statistics.median(self.ours_ns) - statistics.median(self.hyperfine_ns)

    @property
    def allowed_ns(self) -> float:
        """How far apart the medians may be."""
        return max(ALLOWED_RATIO * statistics.median(self.hyperfine_ns), ALLOWED_NS)

    @property
    def agree(self) -> bool:
        """Whether they are no further apart than that."""
        return abs(self.difference_ns) <= self.allowed_ns

    def row(self) -> str:
        """Return the line of the table."""
        ours_ns, hyperfine_ns = statistics.median(self.ours_ns), statistics.median(self.hyperfine_ns)
        return (
            f"{self.runtime:9} {len(self.ours_ns):4} {_ms(ours_ns):8} {_ms(hyperfine_ns):13} "
            f"{_ms(self.difference_ns, '+'):13} {self.difference_ns / hyperfine_ns:+6.1%} "
            f"{_ms(self.allowed_ns):11}  {'yes' if self.agree else 'NO'}"
        )


HEADER = "runtime      n  ours ms  hyperfine ms  difference ms      %  allowed ms  ok"


class Outside:
    """hyperfine, and a folder for its results."""

    def __init__(self, path: Path) -> None:
        self.program, self.bash = _find("hyperfine"), _find("bash")
        self._folder = path

    def time(
        self, command: Sequence[str], runs: int, *, prepare: Sequence[str] = (), env: dict[str, str]
    ) -> list[int]:
        """Return what each run of the command took, in nanoseconds. Raises HostStartError if one fails."""
        result, log = self._folder / "result.json", self._folder / "hyperfine.log"
        argv = [
            str(self.program),
            "--shell=none",
            f"--runs={runs}",
            "--style=basic",
            f"--export-json={result}",
        ]
        if prepare:
            argv.append(f"--prepare={shlex.join(prepare)}")
        with log.open("wb") as said:
            process = spawn(
                [*argv, shlex.join(command)], env=env, cwd=self._folder, stdout=said, stderr=subprocess.STDOUT
            )
        try:
            status = process.wait(_START_TIMEOUT_S * runs)
        except subprocess.TimeoutExpired:
            status = None
        finally:
            # It, bash and the host are one process group.
            stop(process)
        if status != 0:
            how = "did not end and was killed" if status is None else f"ended with status {status}"
            raise HostStartError(f"hyperfine {how} for `{shlex.join(command)}`; it said:\n{tail(log)}")
        (told,) = json.loads(result.read_bytes())["results"]
        return [round(seconds * 1e9) for seconds in told["times"]]


class Stage:
    """One runtime's cold start, laid out in a folder for one_start.sh."""

    def __init__(self, runtime: ServerRuntime, artifact: Artifact, outside: Outside, path: Path) -> None:
        self.runtime, self.artifact, self._outside, self._folder = runtime, artifact, outside, path
        found = runtime.locate()
        assert found, "available, as its probe said"
        path.mkdir()
        workspace = path / "workspace"
        workspace.mkdir(mode=0o700)
        launch = ServingLaunch(found.path, artifact, LIMITS, workspace, secrets.token_urlsafe(24))
        launch.artifact_link.symlink_to(artifact.path.absolute())
        argv = runtime.argv(launch)  # this may write to the workspace
        workspace.rename(path / "pristine")
        (path / "argv").write_bytes(b"".join(word.encode() + b"\0" for word in argv))
        (path / "greeting").write_bytes(runtime.greeting(launch))
        (path / "request").write_text(_request(launch.secret) + "\n", encoding="ascii")
        self._environment = runtime.environment(workspace)
        self.clocks = Clocks(runtime.name)

    def ask_hyperfine(self, runs: int) -> list[int]:
        """Return so many cold starts by hyperfine's clock. Raises HostStartError."""
        start = [str(self._outside.bash), str(Path(__file__).with_name("one_start.sh")), str(self._folder)]
        try:
            return self._outside.time(start, runs, prepare=[*start, "prepare"], env=self._environment)
        except HostStartError as error:
            said = "\n".join(
                filter(None, (tail(self._folder / name) for name in ("problem", "workspace/host.log")))
            )
            raise HostStartError(
                f"{self.runtime.name}: {error}\nThe start said:\n{said or '(nothing)'}"
            ) from error

    def ask_ours(self, runs: int) -> list[int]:
        """Return so many cold starts by our own clock. Raises HostStartError."""
        return [cold_once(self.runtime, self.artifact, LIMITS, INVOCATION).elapsed_ns for _ in range(runs)]

    def go_round(self, runs: int, *, hyperfine_first: bool) -> None:
        """Let both clocks take as many cold starts, one clock after the other."""
        if hyperfine_first:
            self.clocks.hyperfine_ns.extend(self.ask_hyperfine(runs))
        self.clocks.ours_ns.extend(self.ask_ours(runs))
        if not hyperfine_first:
            self.clocks.hyperfine_ns.extend(self.ask_hyperfine(runs))


def _request(secret: str) -> str:
    r"""Return what our client sends, as ``\xHH`` for `printf`, with ``PORT`` where the port belongs.

    The one difference: the connection is to be closed after the response, since bash reads to its end.
    """
    with open_client(secret) as client:
        request = client.build_request(
            "POST",
            "http://127.0.0.1/",
            content=request_body("deno", INVOCATION, LIMITS.timeout_s),
            headers={"connection": "close"},
        )
    lines = [_escaped(b"POST / HTTP/1.1\r\n")]
    for name, value in request.headers.raw:
        port = _escaped(b":") + "PORT" if name.lower() == b"host" else ""
        lines.append(_escaped(name + b": " + value) + port + _escaped(b"\r\n"))
    return "".join(lines) + _escaped(b"\r\n" + request.read())


def _escaped(data: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in data)


def _find(program: str) -> Path:
    found = shutil.which(program)
    if not found:
        raise WasmEdgeError(
            f"{program} is not on the PATH: `apt-get install {program}` on Debian, or your system's package "
            f"of that name; then run `make bench-clock` again."
        )
    return Path(found).absolute()


def _runtimes(spec: str) -> list[ServerRuntime]:
    """Return the runtimes asked for. Raises UnknownRuntimeError, and RuntimeUnavailableError for a missing one."""
    chosen: list[ServerRuntime] = []
    for runtime in select(spec, merge(builtin_runtimes(), [])):
        if not isinstance(runtime, ServerRuntime):
            raise RuntimeUnavailableError(f"{runtime.name} is no HTTP server: one_start.sh cannot drive it.")
        availability = runtime.probe()
        if not availability.available:
            raise RuntimeUnavailableError(
                f"{runtime.name} cannot start here: {availability.reason}; get it with `{availability.install}`."
            )
        chosen.append(runtime)
    return chosen


def compare(runtimes: Sequence[ServerRuntime], rounds: int, runs: int) -> list[Clocks]:
    """Let both clocks time every runtime in every round, and print the table."""
    artifact = open_artifact(BUILTIN_ARTIFACT, Path.cwd())
    with Workspace() as workspace:
        outside = Outside(workspace.path)
        stages = [Stage(runtime, artifact, outside, workspace.path / runtime.name) for runtime in runtimes]
        for stage in stages:
            # The first ones read from disk, and ours imports and asks for versions.
            stage.go_round(1, hyperfine_first=True)
            stage.clocks.ours_ns.clear()
            stage.clocks.hyperfine_ns.clear()
        for number in range(rounds):
            for stage in stages:
                stage.go_round(runs, hyperfine_first=number % 2 == 0)
            _say(f"round {number + 1} of {rounds} done")
        bash_ns = statistics.median(outside.time([str(outside.bash), "-c", "true"], _BASH_STARTS, env={}))
    _say(HEADER)
    for stage in stages:
        _say(stage.clocks.row())
    _say(
        f"Medians of {rounds} × {runs} cold starts by each clock. The start of bash itself is in hyperfine's figures:"
    )
    _say(
        f"{_ms(bash_ns)} ms (`bash -c true`, median of {_BASH_STARTS}). Allowed: the larger of 5 % and 2 ms."
    )
    return [stage.clocks for stage in stages]


def _ms(value_ns: float, sign: str = "") -> str:
    return f"{value_ns / 1e6:{sign}.1f}"


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.clock", description=__doc__)
    parser.add_argument("--runtimes", default="node,deno,workerd", help="NAME,… (default: %(default)s)")
    parser.add_argument(
        "--rounds", type=int, default=20, help="times that the clocks take turns (default: %(default)s)"
    )
    parser.add_argument("--runs", type=int, default=2, help="cold starts in a turn (default: %(default)s)")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    parser = _parser()
    options = parser.parse_args(argv)
    if min(options.rounds, options.runs) < 1:
        parser.error("--rounds and --runs are at least 1")
    try:
        _find("hyperfine")
        runtimes = _runtimes(options.runtimes)
        _say("waiting until nobody else tests or measures on this machine")
        with Quiet(folder("locks")).measuring():
            clocks = compare(runtimes, options.rounds, options.runs)
    except WasmEdgeError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("stopped.\n")
        return 130
    return int(not all(each.agree for each in clocks))


if __name__ == "__main__":
    sys.exit(main())
