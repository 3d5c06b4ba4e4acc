"""The driver of commands, with Python programs in the place of engines: no WebAssembly needed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import pytest

from pytest_wasmedge.drivers import command
from pytest_wasmedge.drivers.command import CommandHost, CommandLaunch, CommandRuntime, Ended
from pytest_wasmedge.drivers.process import spawn
from pytest_wasmedge.errors import HostStartError, UnsupportedError
from pytest_wasmedge.model import (
    Artifact,
    Availability,
    Ending,
    Invocation,
    Limits,
    Outcome,
    exited,
    host_failed,
    timed_out,
)
from tests.descriptors import open_now, opened_since
from tests.waiting import DEADLINE_S, until, until_gone, with_enough_time

ARTIFACT = Artifact(Path("none.wasm"), "0" * 64, 0, "none")


class Script(CommandRuntime):
    """A command that runs this Python program."""

    name = "script"
    engine = "none"

    def __init__(self, program: str, prepare: Callable[[CommandLaunch], None] = lambda launch: None) -> None:
        self.program = program
        self._prepare = prepare

    def probe(self) -> Availability:
        return Availability(True)

    def executable(self) -> Path:
        return Path(sys.executable)

    def prepare(self, launch: CommandLaunch) -> None:
        self._prepare(launch)

    def argv(self, launch: CommandLaunch, invocation: Invocation) -> Sequence[str]:
        return [str(launch.executable), "-I", "-c", self.program, *invocation.args]

    def outcome(self, launch: CommandLaunch, ended: Ended) -> tuple[bytes, bytes, Ending]:
        ending = exited(ended.status) if ended.status >= 0 else host_failed(f"signal {-ended.status}")
        return ended.stdout, ended.stderr, ending


def start(program: str, **limits: float) -> CommandHost:
    """Return a host that runs this program per invocation."""
    return CommandHost(Script(program), ARTIFACT, Limits(**limits))  # type: ignore[arg-type]


def has_told(file: Path) -> bool:
    """True once a program has written something to this file."""
    return file.exists() and file.stat().st_size > 0


def test_streams_and_status_arrive() -> None:
    """Stdin reaches the program, its two outputs come back apart, its status is the guest's."""
    program = (
        "import sys; data = sys.stdin.buffer.read(); sys.stdout.buffer.write(data[::-1]);"
        "sys.stderr.buffer.write(data); sys.exit(3)"
    )
    with start(program) as host:
        outcome = host.run(b"\x00\xff\r\n")

    assert outcome.stdout == b"\n\r\xff\x00"
    assert outcome.stderr == b"\x00\xff\r\n"
    assert outcome.ending == exited(3)
    assert (outcome.runtime, outcome.artifact_sha256) == ("script", ARTIFACT.sha256)


def test_all_pipes_at_once() -> None:
    """A program that reads and writes more than a pipe holds, on all streams at once, is not blocked."""
    program = (
        "import sys\n"
        "while data := sys.stdin.buffer.read1(1 << 16):\n"
        "    sys.stdout.buffer.write(data); sys.stderr.buffer.write(data)"
    )
    data = bytes(range(256)) * (1 << 14)
    with start(program) as host:
        outcome = host.run(data)

    assert outcome.stdout == outcome.stderr == data


@pytest.mark.parametrize(
    "program",
    [
        "while True: pass",
        "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); signal.pause()",
        "import os, signal; os.close(1); os.close(2); signal.pause()",
        "import signal, os; os.close(0); signal.pause()",
    ],
    ids=["spins", "ignores_sigterm", "closes_its_outputs", "closes_its_input"],
)
def test_time_limit(program: str) -> None:
    """A program is ended at its time limit, whatever it does with signals and streams."""
    with start(program, timeout_s=0.3) as host:
        assert host.run(b"x" * (1 << 20)).ending == timed_out()


def test_time_limit_takes_grandchildren(tmp_path: Path) -> None:
    """What a program started is ended with it."""
    told = tmp_path / "pid"
    program = (
        "import subprocess, sys\n"
        "inner = subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()'])\n"
        "open(sys.argv[1], 'w').write(str(inner.pid)); inner.wait()"
    )
    with start(program) as host:
        outcome = with_enough_time(
            lambda timeout_s: host.run(args=[str(told)], timeout_s=timeout_s), lambda _: has_told(told)
        )

    assert outcome.ending == timed_out()
    until_gone([int(told.read_text())], [])


def test_signal_is_the_host_s_failure() -> None:
    """A program killed by someone else has failed as a host."""
    with start("import os; os.kill(os.getpid(), 9)") as host:
        outcome = host.run()

    assert outcome.ending == host_failed()
    assert outcome.ending.detail == f"signal {signal.SIGKILL.value}"


def test_output_limit() -> None:
    """A program that writes without end is ended at the output limit of both streams together."""
    with start("while True: print('x' * 1000)", output_bytes=100_000) as host:
        outcome = host.run()

    assert outcome.ending == host_failed()
    assert outcome.ending.detail == "output limit of 100000 bytes reached"
    assert len(outcome.stdout) == 100_000


def test_cpu_time() -> None:
    """An invocation tells the CPU time of its process, also of one that was stopped; peak memory it cannot."""
    burn = "import time\nwhile time.process_time() < 0.2: pass\nprint('burnt', flush=True)\n"
    with start(burn) as ends, start(burn + "while True: pass", output_bytes=1) as stopped:
        outcomes = [ends.run(), stopped.run()]

    assert [outcome.ending for outcome in outcomes] == [exited(0), host_failed()]
    for outcome in outcomes:
        assert outcome.timings.cpu_ns is not None
        assert outcome.timings.cpu_ns >= 200_000_000
        assert outcome.timings.peak_memory_bytes is None


def test_closed_streams_are_not_the_end() -> None:
    """A program that closes its streams and runs on is stopped at its time limit; one that ends is waited for."""
    closes = "import os, signal, sys\nfor each in (0, 1, 2): os.close(each)\n"
    with start(closes + "signal.pause()") as stays, start(closes + "os._exit(4)") as ends:
        assert stays.run(timeout_s=0.5).ending == timed_out()
        assert ends.run().ending == exited(4)


@pytest.mark.skipif(sys.platform != "linux", reason="peaks are told by Linux alone")
def test_weighing() -> None:
    """Peak memory is the program's own, whatever we take ourselves, and the rest of the outcome as ever."""
    ours = bytearray(b"x") * (256 << 20)
    program = (
        "import sys; held = bytearray(b'x') * (64 << 20); del held\n"
        "sys.stdout.write(sys.stdin.read() + sys.argv[1]); sys.stderr.write('err'); sys.exit(3)"
    )
    with start(program) as host:
        outcome = host.weigh(Invocation(b"in ", ("arg",)))
        folder = list(host._workspace.path.iterdir())
    del ours

    assert outcome == Outcome(b"in arg", b"err", exited(3))
    assert outcome.timings.peak_memory_bytes is not None
    assert 64 << 20 <= outcome.timings.peak_memory_bytes < 128 << 20
    assert outcome.timings.cpu_ns is None
    assert folder == []


@pytest.mark.skipif(sys.platform != "linux", reason="peaks are told by Linux alone")
def test_weighing_what_is_cut_short(tmp_path: Path) -> None:
    """A program stopped at its limit ends though something stands between us, and its peak is not known."""
    told = tmp_path / "pid"
    program = "import os, signal, sys; open(sys.argv[1], 'w').write(str(os.getpid())); signal.pause()"
    with start(program) as host:
        outcome = with_enough_time(
            lambda timeout_s: host.weigh(Invocation(args=(str(told),), timeout_s=timeout_s)),
            lambda _: has_told(told),
        )

    assert outcome.ending == timed_out()
    assert outcome.timings.peak_memory_bytes is None
    until_gone([int(told.read_text())], [])


def test_counting() -> None:
    """Invocations are counted from 1, each once, also side by side."""
    with start("") as host, ThreadPoolExecutor(4) as threads:
        numbers = sorted(outcome.invocation for outcome in threads.map(lambda _: host.run(), range(8)))

    assert numbers == list(range(1, 9))


def test_invocations_do_not_wait_for_each_other(tmp_path: Path) -> None:
    """Two invocations run at once: each can wait for what the other one does."""
    program = (
        "import os, sys, time\n"
        "mine, other = sys.argv[1:]\n"
        "open(mine, 'w').close()\n"
        "while not os.path.exists(other): time.sleep(0.01)"
    )
    one, two = str(tmp_path / "one"), str(tmp_path / "two")
    with start(program) as host, ThreadPoolExecutor(2) as threads:
        ends = [threads.submit(host.run, args=pair).result for pair in ([one, two], [two, one])]
        assert [end().ending for end in ends] == [exited(0)] * 2


def test_ctrl_c_ends_the_program(tmp_path: Path) -> None:
    """Ctrl-C while a program runs ends it."""
    told = tmp_path / "pid"
    program = (
        "import os, signal, sys\n"
        "open(sys.argv[1], 'w').write(str(os.getpid()))\n"
        # Once we have given it its stdin, we wait for it.
        "sys.stdin.read(); os.kill(int(sys.argv[2]), signal.SIGINT); signal.pause()"
    )
    with start(program) as host, pytest.raises(KeyboardInterrupt):
        host.run(args=[str(told), str(os.getpid())])

    until_gone([int(told.read_text())], [])


def test_a_host_leaves_no_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A host's folder lives as long as the host; a host that cannot be prepared leaves none."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def fail(launch: CommandLaunch) -> None:
        assert launch.workspace.parent == tmp_path
        raise HostStartError("no")

    with start("") as host:
        assert len(list(tmp_path.iterdir())) == 1
    assert not list(tmp_path.iterdir())
    with pytest.raises(HostStartError, match="no"):
        CommandHost(Script("", fail), ARTIFACT, Limits())
    assert not list(tmp_path.iterdir())
    with pytest.raises(HostStartError, match="script: this host is closed; start another one"):
        host.run()


def test_no_descriptor_is_left() -> None:
    """Invocations close what they opened, also those that were cut short."""
    with start("import sys; sys.stdin.read()") as host:
        host.run()
        before = open_now()
        for timeout_s in (5, 0.0):
            host.run(b"x" * 100_000, timeout_s=timeout_s)

        until(lambda: not opened_since(before), "descriptors are closed")


def test_closing_ends_an_invocation_under_way(tmp_path: Path) -> None:
    """A host closed by another thread ends its programs, and their invocations say so."""
    told = tmp_path / "pid"
    program = "import os, signal, sys; open(sys.argv[1], 'w').write(str(os.getpid())); signal.pause()"
    with ThreadPoolExecutor() as threads, start(program) as host:
        under_way = threads.submit(host.run, args=[str(told)], timeout_s=2 * DEADLINE_S)
        until(lambda: has_told(told), "the program runs")
        host.close()

        with pytest.raises(HostStartError, match="script: this host was closed during an invocation"):
            under_way.result(DEADLINE_S)
    until_gone([int(told.read_text())], [])


def test_closing_just_before_a_program_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that started while its host was being closed ends as well."""
    with start("import signal; signal.pause()") as host:

        def spawn_late(*args: Any, **options: Any) -> subprocess.Popen[bytes]:
            process = spawn(*args, **options)
            host.close()
            return process

        monkeypatch.setattr(command, "spawn", spawn_late)
        with pytest.raises(HostStartError, match="closed during an invocation"):
            host.run(timeout_s=DEADLINE_S)


class Collecting(Script):
    """Puts its invocation's number, and what it was given, where the outcome is read."""

    def argv(self, launch: CommandLaunch, invocation: Invocation) -> Sequence[str]:
        launch.folder.mkdir()
        (launch.folder / "given").write_bytes(invocation.stdin)
        return super().argv(launch, invocation)

    def outcome(self, launch: CommandLaunch, ended: Ended) -> tuple[bytes, bytes, Ending]:
        return (launch.folder / "given").read_bytes(), str(launch.began.day_s).encode(), exited(0)


def test_each_invocation_has_its_own_launch() -> None:
    """What the command line was made of is at hand when the outcome is read, in whatever order they end, and goes."""
    program = "import sys, time; time.sleep(float(sys.stdin.read() or 60))"
    with Collecting(program).start(ARTIFACT, Limits()) as host, ThreadPoolExecutor(4) as threads:
        workspace = cast("CommandHost", host)._workspace.path
        outcomes = list(threads.map(host.run, (b"0.3", b"0.2", b"0.1", b"0")))
        began_s = [float(each.stderr) for each in outcomes]
        assert [each.stdout for each in outcomes] == [b"0.3", b"0.2", b"0.1", b"0"]
        assert max(abs(each_s - time.time()) for each_s in began_s) < DEADLINE_S
        assert host.run(timeout_s=0.2).ending == timed_out()
        assert list(workspace.iterdir()) == []


@pytest.mark.parametrize("args", [("x" * 200_000,), ("x" * 100_000,) * 40])
def test_more_than_a_program_can_be_given(args: tuple[str, ...]) -> None:
    """What the system lets no program have is no start that failed: it is told, and the host goes on."""
    with start("import sys; print(len(sys.argv))") as host:
        with pytest.raises(UnsupportedError, match=r"cannot be given \d+ bytes of arguments and variables"):
            host.run(args=args)
        outcome = host.run(args=("x" * 100_000,))

    assert outcome.stdout == b"2\n"


def test_folders_that_cannot_be_given(tmp_path: Path) -> None:
    """Who does not say that it grants folders is not run without them, as if none had been asked for."""
    with (
        start("print('ran')") as host,
        pytest.raises(UnsupportedError, match="script cannot give folders to a guest"),
    ):
        host.invoke(Invocation(preopens={"/data": tmp_path}))
