"""Chromium, Firefox and WebKit as they really are: what no other kind of host has, and what can go wrong with them."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import cast

import psutil
import pytest

from pytest_wasmedge.drivers.browser import BrowserHost, BrowserRuntime
from pytest_wasmedge.errors import HostStartError
from pytest_wasmedge.latency.sampling import cold_once
from pytest_wasmedge.model import Invocation, Limits, exited, host_failed, out_of_memory, timed_out, trapped
from pytest_wasmedge.runtimes.chromium import Chromium
from pytest_wasmedge.runtimes.firefox import Firefox
from pytest_wasmedge.runtimes.webkit import WebKit
from tests import wat
from tests.waiting import DEADLINE_S, until, until_gone, until_it_spins

RUNTIMES: tuple[type[BrowserRuntime], ...] = (Chromium, Firefox, WebKit)

StartProgram = Callable[..., BrowserHost]


@pytest.fixture(scope="module", params=RUNTIMES, ids=lambda kind: kind.name)
def browser(request: pytest.FixtureRequest) -> BrowserRuntime:
    """Each of them; one that is missing is a failure, since CI installs all."""
    runtime = cast("BrowserRuntime", request.param())
    availability = runtime.probe()
    if not availability.available:
        pytest.fail(f"{runtime.name}: {availability.reason}; run `{availability.install}`", pytrace=False)
    return runtime


@pytest.fixture
def start_program(browser: BrowserRuntime, tmp_path: Path) -> Iterator[StartProgram]:
    """Start a host that holds a small program; it is closed when the test ends."""
    with ExitStack() as hosts:

        def start(program: str | bytes, **limits: float) -> BrowserHost:
            host = browser.start(wat.artifact(tmp_path, program), Limits(**limits))  # type: ignore[arg-type]
            return cast("BrowserHost", hosts.enter_context(host))

        yield start


def workspace(host: BrowserHost) -> Path:
    """Return the folder that the browser has for its own."""
    return Path(psutil.Process(host.pids()[0]).cwd())


def processes(host: BrowserHost) -> list[psutil.Process]:
    """Return the browser's first process, all that it started, and all that were started for its folder."""
    return processes_of(host.pids()[0])


def processes_of(pid: int) -> list[psutil.Process]:
    """Return a browser's processes, the given first one first."""
    first = psutil.Process(pid)
    folder = first.cwd()
    found = [first, *first.children(recursive=True)]
    # A crash handler may have left the family.
    found += [
        process
        for process in psutil.process_iter()
        if process not in found and folder in command_line(process)
    ]
    return found


def command_line(process: psutil.Process) -> str:
    """Return a process's command line; empty for one that has ended: browsers start and end them as they like."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def of_the_page(host: BrowserHost) -> list[psutil.Process]:
    """Return the processes that run pages."""
    return [
        process
        for process in processes(host)
        if re.search("--type=renderer|-isForBrowser|/WebKitWebProcess ", command_line(process))
    ]


def test_versions_are_told_by_the_browser(browser: BrowserRuntime) -> None:
    """Version and engine version are the browser's own words."""
    availability = browser.probe()

    assert re.fullmatch(r"\d+\.[\d.]+(esr)?", availability.version)
    assert re.fullmatch(r"\d+\.[\d.]+", availability.engine_version)
    assert re.search(r"/\S+ \((PATH|this system)\)$", availability.path)


def test_stdin_and_stdout_of_16_mb(start_program: StartProgram) -> None:
    """16 MiB of all byte values go to the page in the stream of jobs and come back unchanged."""
    stdin = bytes(range(256)) * (1 << 16)

    assert start_program(wat.ECHO).run(stdin).stdout == stdin


def test_native_stack_overflow(start_program: StartProgram) -> None:
    """Each engine has its own error for a guest that recursed too deep; all are the same trap."""
    ending = start_program(wat.OVERFLOWS_THE_STACK).run().ending

    assert (ending, ending.detail) == (trapped(), "stack overflow")


def test_memory_limit(start_program: StartProgram, browser: BrowserRuntime) -> None:
    """A guest that needs more than the limit to start is out of memory where there is one."""
    outcome = start_program(wat.command("", pages=600), memory_bytes=32 << 20).run()

    limited = "memory_limit" in browser.capabilities
    assert outcome.ending == (out_of_memory() if limited else exited(0))


def test_a_guest_sleeps(start_program: StartProgram) -> None:
    """Sleeping takes the time that it should, since the page is isolated so that its workers may wait."""
    host = start_program(wat.sleeps(1))

    assert set(host.start_phases_ns) == {"spawn", "load", "compile"}
    assert host.run().timings.phases_ns["run"] >= 1e9


def test_cold_start_is_sampled(browser: BrowserRuntime, tmp_path: Path) -> None:
    """A cold start is timed with its phases, and what all of the browser's processes took."""
    sample = cold_once(browser, wat.artifact(tmp_path, wat.ECHO), Limits(), Invocation(b"x"))

    assert {"spawn", "load", "compile"} <= set(sample.phases_ns)
    assert sum(sample.phases_ns.values()) <= sample.elapsed_ns
    assert sample.cpu_ns is not None


def test_unsound_module(start_program: StartProgram) -> None:
    """A module that the engine refuses is a start error that shows what the engine said."""
    sound = wat.assemble(wat.command("(drop (i32.const 1))"))

    with pytest.raises(HostStartError, match=r"could not start with program: .* CompileError: "):
        start_program(sound.replace(b"\x41\x01\x1a\x0b", b"\x41\x01\x6a\x0b"))


def test_runaway_guest_stops(start_program: StartProgram) -> None:
    """A guest stopped at its limit has stopped: soon, the browser is gone or uses next to no processor time."""
    host = start_program(wat.SPIN)
    before = processes(host)
    assert host.run(timeout_s=0.3).ending == timed_out()
    looks: list[tuple[float, float]] = []

    def rests() -> bool:
        cpu_s = 0.0
        for process in before:
            # Browsers end a process that has nothing to do, and we a browser that does not stop a guest.
            with suppress(psutil.NoSuchProcess):
                cpu_s += sum(process.cpu_times()[:2])
        looks.append((time.monotonic(), cpu_s))
        (from_s, cpu_from_s), (until_s, cpu_until_s) = looks[-min(50, len(looks))], looks[-1]
        # A guest in a loop takes all of a core, or half of it on a busy machine.
        return len(looks) > 50 and cpu_until_s - cpu_from_s < 0.2 * (until_s - from_s)

    until(rests, "the browser rests")


def test_host_killed_in_mid_run(start_program: StartProgram) -> None:
    """kill -9 of the browser is the host's failure, told with the signal; the next invocation has a new one."""
    host = start_program(wat.WRITES_AND_SPINS)
    before, folder = processes(host), workspace(host)
    with ThreadPoolExecutor() as pool:
        under_way = pool.submit(host.run, timeout_s=DEADLINE_S)
        until_it_spins(of_the_page(host))
        os.killpg(before[0].pid, signal.SIGKILL)
        outcome = under_way.result(DEADLINE_S)

    assert outcome.ending == host_failed()
    assert "was ended by signal 9 during the invocation" in outcome.ending.detail
    until_gone([process.pid for process in before], [folder])
    assert host.run(timeout_s=0.3).ending == timed_out()
    assert host.pids() != (before[0].pid,)


def test_first_process_killed(start_program: StartProgram) -> None:
    """When only the browser's first process is killed, the others are ended too, and the next run has a new one."""
    host = start_program(wat.ECHO)
    before, folder = processes(host), workspace(host)
    before[0].kill()
    until(lambda: host._server.jobs.lost, "the host knows of it")

    assert host.run(b"after").stdout == b"after"
    until_gone([process.pid for process in before], [folder])


def test_page_crashes_in_mid_run(start_program: StartProgram) -> None:
    """When the page's process dies and the browser lives on, that is told at once, not at the time limit."""
    host = start_program(wat.SPIN)
    before, pages = processes(host), of_the_page(host)
    with ThreadPoolExecutor() as pool:
        under_way = pool.submit(host.run, timeout_s=DEADLINE_S)
        until_it_spins(pages)
        for process in pages:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        outcome = under_way.result()

    assert outcome.ending == host_failed()
    assert "lost its page during the invocation" in outcome.ending.detail
    until_gone([process.pid for process in before], [])
    assert host.run(timeout_s=0.3).ending == timed_out()


def test_many_at_once(start_program: StartProgram) -> None:
    """32 invocations from 16 threads each get their own streams."""
    host = start_program(wat.ECHO)
    with ThreadPoolExecutor(16) as pool:
        outcomes = list(pool.map(lambda i: host.run(str(i).encode() * 1000), range(32)))

    assert [outcome.stdout for outcome in outcomes] == [str(i).encode() * 1000 for i in range(32)]


def test_strangers_learn_nothing(start_program: StartProgram) -> None:
    """No command line and no environment of the browser's processes tells the secret, or what we were given."""
    host = start_program(wat.ECHO)
    secret = host._server.jobs.secret
    for process in processes(host):
        assert secret not in command_line(process)
        # Processes in a sandbox show their environment to nobody.
        with suppress(psutil.Error):
            assert secret not in str(process.environ())
            assert "PYTEST_CURRENT_TEST" not in process.environ()


def test_loopback_only(start_program: StartProgram) -> None:
    """The browser listens on nothing, and is connected to nothing but our page server."""
    host = start_program(wat.ECHO)
    host.run(b"x")
    port = int(host._server.jobs.authority.partition(":")[2])
    connections = []
    for process in processes(host):
        # Processes in a sandbox have none, and tell nobody.
        with suppress(psutil.Error):
            connections += process.net_connections("inet")

    assert [each for each in connections if each.status == psutil.CONN_LISTEN] == []
    remote = {each.raddr for each in connections if each.raddr}
    assert remote == {("127.0.0.1", port)}


def test_closing_leaves_nothing(start_program: StartProgram) -> None:
    """A closed host has no process and no folder left, though it was closed in mid-run, and says that it is closed."""
    host = start_program(wat.SPIN)
    before, folder = processes(host), workspace(host)
    with ThreadPoolExecutor() as pool, closing(host):
        under_way = pool.submit(host.run, timeout_s=DEADLINE_S)
        until(lambda: host._server.in_flight, "the invocation is under way")
        host.close()
        with pytest.raises(HostStartError, match="closed"):
            under_way.result(DEADLINE_S)

    assert host.pids() == ()
    assert not folder.exists()
    until_gone([process.pid for process in before], [])
    with pytest.raises(HostStartError, match="this host is closed; start another one"):
        host.run()


def test_killed_with_us(browser: BrowserRuntime, tmp_path: Path) -> None:
    """After kill -9 of the process that started it, the browser and its folder go too."""
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from pytest_wasmedge.model import Limits\n"
        f"from {type(browser).__module__} import RUNTIME\n"
        "from pytest_wasmedge.artifacts.loading import load_artifact\n"
        "host = RUNTIME().start(load_artifact(Path(sys.argv[1])), Limits())\n"
        "print(host.pids()[0], flush=True)\n"
        "sys.stdin.read()\n"
    )
    path = wat.write(tmp_path / "echo.wasm", wat.ECHO)
    with subprocess.Popen(
        [sys.executable, "-c", program, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as ours:
        assert ours.stdout
        first, *others = processes_of(int(ours.stdout.readline()))
        folder = Path(first.cwd())
        ours.kill()

    until_gone([process.pid for process in (first, *others)], [folder])


def test_the_whole_browser_serves_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the headless shell the whole of Chromium serves, also where temporary folders have long paths."""
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    monkeypatch.setattr(Chromium, "commands", Chromium.commands[1:])
    runtime = Chromium()

    assert "/chromium (PATH)" in runtime.probe().path
    with runtime.start(wat.artifact(tmp_path, wat.ECHO), Limits()) as host:
        assert host.run(b"whole").stdout == b"whole"
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("program", "why"),
    [
        ("false", "does not tell its version: it ended with status 1, saying: nothing"),
        ("true", "names no version: it printed ''"),
    ],
)
def test_program_that_is_no_chromium(monkeypatch: pytest.MonkeyPatch, program: str, why: str) -> None:
    """One that cannot be asked is named with what it did, and not with all that it was asked."""
    path = shutil.which(program)
    monkeypatch.setenv("PYTEST_WASMEDGE_CHROMIUM", str(path))

    assert Chromium().probe().reason.startswith(f"`{path}` {why}")
