"""WasmEdge: its log among the guest's stdout, code compiled ahead, its interpreter, and a command that is broken."""

from __future__ import annotations

import ctypes
import functools
import os
import re
import subprocess
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pytest_wasmedge.drivers.command import CommandHost
from pytest_wasmedge.drivers.compiled import run_compiler
from pytest_wasmedge.drivers.program import Versions
from pytest_wasmedge.errors import HostStartError, ProvisionError, RuntimeUnavailableError, UnsupportedError
from pytest_wasmedge.model import (
    Host,
    Invocation,
    Limits,
    exited,
    host_failed,
    out_of_memory,
    timed_out,
    trapped,
)
from pytest_wasmedge.provision import find
from pytest_wasmedge.runtimes import builtin_runtimes, select, wasmedge
from pytest_wasmedge.runtimes.wasmedge import WasmEdge
from tests import wat
from tests.runtimes.conftest import Start

WRITES_AND_TRAPS = wat.WRITES_AND_SPINS.replace("(loop $forever (br $forever))", "unreachable")
#: Writes "before", asks for 1 GiB, and writes "after" when it did not get it.
GROWS_BETWEEN = wat.command(
    """(call $write (i32.const 1) (i32.const 1024) (i32.const 6))
    (if (i32.ne (memory.grow (i32.const 16384)) (i32.const -1)) (then unreachable))
    (call $write (i32.const 1) (i32.const 1030) (i32.const 5))""",
    data="beforeafter",
)


def prints(text: str, then: str) -> str:
    """Writes this text to stdout, then does that."""
    program = wat.reports(text, 0).replace("(call $write (i32.const 2)", "(call $write (i32.const 1)")
    return program.replace("(call $proc_exit (i32.const 0))", then)


def imitation(at: datetime) -> str:
    """What the engine would print about a trap at this local time, with another guest text around it."""
    stamp = at.strftime("[%Y-%m-%d %H:%M:%S.000] [error]")
    return f"guest{stamp} execution failed: unreachable, Code: 0x40a\n{stamp}     When executing\nno newline"


@pytest.fixture(autouse=True)
def real_command(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The wasmedge of the user's cache, also where a test has a cache of its own."""
    found = find("wasmedge")
    if found is None:
        pytest.fail("no wasmedge command found; run `make setup`", pytrace=False)
    monkeypatch.setenv("PYTEST_WASMEDGE_WASMEDGE", str(found.path))
    return found.path


@pytest.fixture(params=["wasmedge", "wasmedge-interpreter"])
def either(request: pytest.FixtureRequest, start: Start) -> Callable[..., Host]:
    """Start a program in both ways."""
    return functools.partial(start, request.param)


@pytest.fixture
def another_version(real_command: Path, tmp_path: Path) -> Path:
    """The same program, which says that it is version 9.9.9."""
    command = tmp_path / "wasmedge"
    command.write_text(
        f'#!/bin/sh\n[ "$1" = --version ] && echo "$0 version 9.9.9" && exit\nexec {real_command} "$@"\n'
    )
    command.chmod(0o755)
    return command


# -- its log


def test_log_is_taken_off_stdout(either: Callable[..., Host]) -> None:
    """What the engine writes about a trap is the ending's detail; stdout is the guest's, to the last byte."""
    outcome = either(WRITES_AND_TRAPS).run()

    assert outcome.stdout == b"before"
    assert outcome.stderr == b""
    assert outcome.ending == trapped()
    assert outcome.ending.detail == "wasmedge: execution failed: unreachable, Code: 0x40a"


@pytest.mark.parametrize("hours", [0, 1, -8])
def test_imitated_log_is_the_guest_s_text(start: Start, hours: int) -> None:
    """A guest that prints what the engine prints at a trap, with the right time, and ends with 134, has exited."""
    text = imitation(datetime.now(UTC) + timedelta(hours=hours))
    outcome = start("wasmedge", prints(text, "(call $proc_exit (i32.const 134))")).run()

    assert outcome.stdout == text.encode()
    assert outcome.ending == exited(134)


def test_real_log_after_an_imitated_one(start: Start) -> None:
    """Where a guest imitates the log and then traps, its text is its own and the trap the engine's."""
    text = imitation(datetime.now(UTC))
    outcome = start("wasmedge", prints(text, "unreachable")).run()

    assert outcome.stdout == text.encode()
    assert outcome.ending == trapped()


def test_log_in_the_middle(either: Callable[..., Host]) -> None:
    """What the engine says while the guest runs on is taken out, and the guest's text joined again."""
    outcome = either(GROWS_BETWEEN, memory_bytes=16 << 20).run()

    assert outcome.stdout == b"beforeafter"
    assert outcome.ending == exited(0)


def test_no_run_sees_the_zone(start: Start) -> None:
    """The offset that the log is known by is no real zone's, differs from runtime to runtime, and is not granted."""
    zones = [WasmEdge().environment(Path())["TZ"] for _ in range(20)]
    offsets_s = []
    for zone in zones:
        hours, minutes, seconds = map(int, zone[4:].split(":"))
        offsets_s.append(hours * 3600 + minutes * 60 + seconds)

    assert len(set(zones)) > 10
    assert all(0 < offset_s < 86400 and offset_s % 900 for offset_s in offsets_s)
    assert start("wasmedge", wat.ENVIRONMENT).run().stdout == b""


def test_the_zone_is_what_the_log_is_read_by(start: Start) -> None:
    """A line that tells our time in the process's own zone is taken for the engine's: nothing else decides."""
    host = start("wasmedge", wat.ECHO)
    runtime = host.runtime
    assert isinstance(runtime, WasmEdge)
    local = datetime.fromtimestamp(time.time() + runtime._zone_s, UTC)
    line = local.strftime("[%Y-%m-%d %H:%M:%S.000] [info] told\n").encode()

    assert host.run(b"a" + line + b"b").stdout == b"ab"


# -- limits and endings


def test_too_much_memory_at_the_start(either: Callable[..., Host]) -> None:
    """The engine gives less memory than is asked for and runs on; here that guest is out of memory."""
    outcome = either(wat.GREEDY).run()

    assert outcome.ending == out_of_memory()
    assert outcome.stdout == b""
    assert "Limited 16384 page" in outcome.ending.detail


@pytest.mark.parametrize("program", [wat.SPIN, wat.sleeps(3600)], ids=["spins", "sleeps"])
def test_time_limit(either: Callable[..., Host], program: str) -> None:
    """A guest that does not end is stopped, interpreted or compiled, busy or asleep, and the host serves on."""
    host = either(program)

    assert [host.run(timeout_s=0.2).ending for _ in range(2)] == [timed_out()] * 2


def test_waiting_for_a_processor_is_no_time_of_the_guest(start: Start) -> None:
    """More guests than processors wait for each other, and none of them is stopped for it."""
    host = start("wasmedge-interpreter", wat.sleeps(0.4))
    with ThreadPoolExecutor(16) as threads:
        outcomes = list(threads.map(lambda _: host.run(timeout_s=3), range(8 * (os.cpu_count() or 2))))

    assert {outcome.stdout for outcome in outcomes} == {b"rested"}
    assert len({outcome.invocation for outcome in outcomes}) == len(outcomes)


def test_a_module_that_is_wrong(start: Start) -> None:
    """An unsound function is told by the compiler at the start, by the interpreter when it runs: never an exit."""
    body = wat.assemble(wat.command("(drop (i32.const 1))"))
    broken = body.replace(b"\x41\x01\x1a\x0b", b"\x41\x01\x6a\x0b")
    assert broken != body

    with pytest.raises(
        HostStartError, match=r"cannot compile program: .*failed: .*A validator takes the file"
    ):
        start("wasmedge", broken)
    outcome = start("wasmedge-interpreter", broken).run()
    assert outcome.ending == host_failed()
    assert "validation failed" in outcome.ending.detail
    assert outcome.stdout == b""


def test_colons_cannot_be_granted(start: Start, tmp_path: Path) -> None:
    """A guest path with a colon would be taken for another: that is said before the guest starts."""
    with pytest.raises(UnsupportedError, match=r"wasmedge: cannot grant .* as /a:b: .*without colons"):
        start("wasmedge", wat.ECHO).invoke(Invocation(preopens={"/a:b": tmp_path}))


def test_a_folder_with_a_colon(start: Start, tmp_path: Path) -> None:
    """A folder whose path has a colon is granted: the guest gets a copy of it, which lies elsewhere."""
    folder = tmp_path / "a:b"
    folder.mkdir()
    (folder / "hello.txt").write_bytes(b"from a file")

    outcome = start("wasmedge", wat.READS_A_FILE).invoke(Invocation(preopens={"/data": folder}))
    assert outcome.stdout == b"from a file"


# -- code compiled ahead


def test_compile_is_a_phase_of_the_first_start(start: Start) -> None:
    """The first start compiles and tells how long that took; the next one finds the code and tells no such phase."""
    first = start("wasmedge", wat.ECHO)
    kept = first.runtime.kept_code(first.artifact)
    second = start("wasmedge", wat.ECHO)

    assert first.start_phases_ns["compile"] > 0
    assert kept
    assert kept.exists()
    assert dict(second.start_phases_ns) == {}
    assert second.run(b"same").stdout == b"same"


def test_large_artifacts_are_compiled_without_optimisation(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Up to the bound an artifact is optimised; one byte more, and it is not. Its code has another name then."""
    size_bytes = len(wat.assemble(WRITES_AND_TRAPS))
    asked: list[Sequence[str]] = []

    def run(argv: Sequence[str], *others: Any) -> None:
        asked.append(argv)
        run_compiler(argv, *others)

    monkeypatch.setattr("pytest_wasmedge.runtimes.wasmedge.run_compiler", run)
    kept = []
    for limit_bytes in (size_bytes, size_bytes - 1):
        monkeypatch.setattr(wasmedge, "OPTIMISED_BYTES", limit_bytes)
        host = start("wasmedge", WRITES_AND_TRAPS)
        assert host.run().stdout == b"before"
        kept.append(host.runtime.kept_code(host.artifact))

    assert len(set(kept)) == 2
    assert ["--optimize" in argv for argv in asked] == [False, True]


def test_the_interpreter_compiles_nothing(start: Start) -> None:
    """It keeps no code, names no such phase, and has to be asked for by name."""
    host = start("wasmedge-interpreter", wat.ECHO)

    assert dict(host.start_phases_ns) == {}
    assert host.runtime.kept_code(host.artifact) is None
    assert host.runtime.cache_state == "no-cache"
    assert host.run(b"same").stdout == b"same"
    assert "wasmedge-interpreter" not in [
        each.name for each in select("all", {each.name: each for each in builtin_runtimes()})
    ]


def test_code_of_another_version_is_not_used(
    start: Start, another_version: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another version of the engine compiles for itself; what the first one kept stays as it is."""
    first = start("wasmedge", wat.ECHO)
    old = first.runtime.kept_code(first.artifact)
    assert old
    monkeypatch.setenv("PYTEST_WASMEDGE_WASMEDGE", str(another_version))
    second = start("wasmedge", wat.ECHO)
    new = second.runtime.kept_code(second.artifact)

    assert second.runtime.probe().version == "9.9.9"
    assert "compile" in second.start_phases_ns
    assert new
    assert new != old
    assert old.exists()


def _place_of(name: str, library: Path) -> int:
    """Return where in this file the constant is that the library exports under this name."""
    loaded = ctypes.addressof(ctypes.c_uint32.in_dll(ctypes.CDLL(str(library)), name))
    maps = Path("/proc/self/maps").read_text().splitlines()
    return loaded - min(int(line.partition("-")[0], 16) for line in maps if line.endswith(str(library)))


def test_code_of_another_build_is_compiled_anew(start: Start) -> None:
    """Kept code of another format is not run, and what the engine says of it is in no stream of the guest."""
    host = start("wasmedge", wat.ECHO)
    kept = host.runtime.kept_code(host.artifact)
    assert kept
    code = kept.read_bytes()
    at = _place_of("version", kept)
    # Another file: this one is mapped.
    kept.unlink()
    kept.write_bytes(code[:at] + bytes([code[at] + 1]) + code[at + 1 :])
    outcome = host.run(b"same")

    assert outcome.stdout == b"same"
    assert outcome.stderr == b""
    assert outcome.ending == exited(0)
    assert kept.read_bytes() == code


# -- the command


def test_versions_are_the_program_s_own(real_command: Path) -> None:
    """The probe reads the version from the program, and names its path and where that comes from."""
    availability = WasmEdge().probe()

    assert availability.available
    assert re.fullmatch(r"\d+\.\d+\.\d+", availability.version)
    assert availability.engine_version == availability.version
    assert availability.path == f"{real_command} (PYTEST_WASMEDGE_WASMEDGE)"


def test_missing_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without a wasmedge command the probe gives the command that installs one, and a start says the same."""
    monkeypatch.setattr("pytest_wasmedge.drivers.wasmedge.find", lambda name: None)
    availability = WasmEdge().probe()

    assert not availability.available
    assert availability.reason == "no wasmedge command found"
    assert availability.install == "pytest-wasmedge install wasmedge"
    with pytest.raises(RuntimeUnavailableError, match="get it with `pytest-wasmedge install wasmedge`"):
        WasmEdge().start(wat.artifact(tmp_path, wat.ECHO), Limits())


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("#!/bin/sh\nexit 3\n", "does not tell its version: it ended with status 3, saying: nothing"),
        ("#!/bin/sh\necho\n", r"names no version: it printed '\\n'"),
        (
            "#!/bin/sh\necho 'warning: your wasmedge version 1.2.3 is deprecated'\n",
            r"names no version: it printed 'warning: your wasmedge version 1.2.3 is deprecated\\n'",
        ),
        ("not a program", "does not tell its version: .*Exec format error"),
    ],
)
def test_broken_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str, reason: str) -> None:
    """A command that cannot tell its version is not available, and the reason names it."""
    command = tmp_path / "wasmedge"
    command.write_text(script)
    command.chmod(0o755)
    monkeypatch.setenv("PYTEST_WASMEDGE_WASMEDGE", str(command))
    availability = WasmEdge().probe()

    assert not availability.available
    assert re.match(re.escape(f"`{command} --version` ") + reason, availability.reason)


def test_warnings_before_the_version(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What a program says before its version, or after it of its plugins, is not taken for the version."""
    command = tmp_path / "wasmedge"
    command.write_text(
        "#!/bin/sh\necho 'warning: version 1.2.3 of something is deprecated'\n"
        'echo "$0 version 0.16.0-alpha.4"\necho " (plugin \\"wasi_logging\\") version 0.1.0.0"\n'
    )
    command.chmod(0o755)
    monkeypatch.setenv("PYTEST_WASMEDGE_WASMEDGE", str(command))
    availability = WasmEdge().probe()

    assert availability.available
    assert availability.version == "0.16.0-alpha.4"


def test_a_command_that_is_too_old(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A program without the subcommands that it is given is not available, which says what is needed."""
    command = tmp_path / "wasmedge"
    command.write_text('#!/bin/sh\necho "$0 version 0.12.1"\n')
    command.chmod(0o755)
    monkeypatch.setenv("PYTEST_WASMEDGE_WASMEDGE", str(command))
    availability = WasmEdge().probe()

    assert not availability.available
    assert availability.version == "0.12.1"
    assert availability.reason == f"{command} is wasmedge 0.12.1, at least 0.13 is needed"
    assert availability.install == "pytest-wasmedge install wasmedge"


def test_variable_that_names_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A variable that names no program is the reason, not an exception; a start raises it."""
    monkeypatch.setenv("PYTEST_WASMEDGE_WASMEDGE", str(tmp_path / "gone"))

    assert "PYTEST_WASMEDGE_WASMEDGE" in WasmEdge().probe().reason
    with pytest.raises(ProvisionError, match="that file does not exist"):
        WasmEdge().start(wat.artifact(tmp_path, wat.ECHO), Limits())


@pytest.mark.parametrize(("name", "interprets"), [("wasmedge", False), ("wasmedge-interpreter", True)])
def test_compiled_code_is_what_runs(start: Start, tmp_path: Path, name: str, interprets: bool) -> None:
    """A program runs compiled in every version: only the interpreter names the instruction that trapped."""
    host = start(name, WRITES_AND_TRAPS)
    lines: list[bytes] = []

    def wrap(argv: Sequence[str]) -> Sequence[str]:
        done = subprocess.run(argv, capture_output=True, check=False, cwd=tmp_path)
        lines.extend(done.stdout.splitlines())
        return argv

    assert isinstance(host, CommandHost)
    host._invoke(Invocation(), wrap)

    assert any(b"execution failed: unreachable" in line for line in lines)
    assert any(b"In instruction:" in line for line in lines) is interprets


@pytest.mark.parametrize(
    ("version", "asked"), [("0.14.1", False), ("0.16.4", False), ("0.17.0", True), ("1.0", True)]
)
def test_how_compiled_code_is_asked_for(
    start: Start, monkeypatch: pytest.MonkeyPatch, version: str, asked: bool
) -> None:
    """The option came with 0.17, which interprets without it; older versions do not know it."""
    host = start("wasmedge", WRITES_AND_TRAPS)
    assert isinstance(host, CommandHost)
    monkeypatch.setattr(WasmEdge, "versions", lambda self, executable: Versions(version))
    seen: list[Sequence[str]] = []

    def wrap(argv: Sequence[str]) -> Sequence[str]:
        seen.append(argv)
        return ["true"]

    host._invoke(Invocation(), wrap)

    assert ("--run-mode" in seen[0]) is asked
