"""jco: how a guest ends as a component, why it gets no folders, and whose output that is that would be lost."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from pytest_wasmedge.drivers.command import CommandHost, CommandLaunch, Ended
from pytest_wasmedge.errors import HostStartError, UnsupportedError
from pytest_wasmedge.model import Host, Invocation, Limits, exited, host_failed, trapped
from pytest_wasmedge.provision.cache import ENV_CACHE, folder
from pytest_wasmedge.runtimes.jco import Jco
from tests import wat
from tests.actor import ACTOR, act
from tests.preview1 import OUT, Script

Start = Callable[[str], Host]

READ, DIRECTORY = 1 << 14, 2


@pytest.fixture(scope="module", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cache of these tests' own, with the tools of the user's, so that small programs push nothing out of it."""
    cache = tmp_path_factory.mktemp("cache")
    (cache / "tools").symlink_to(folder("tools"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(ENV_CACHE, str(cache))
        yield


@pytest.fixture(scope="module")
def host(_own_cache: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A host of the actor."""
    with Jco().start(wat.artifact(tmp_path_factory.mktemp("actor"), ACTOR), Limits()) as started:
        yield started


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a host of this program; it is closed when the test ends."""
    with ExitStack() as hosts:
        yield lambda program: hosts.enter_context(Jco().start(wat.artifact(tmp_path, program), Limits()))


@pytest.fixture
def launch(tmp_path: Path) -> CommandLaunch:
    """What an invocation is made of, without a host around it."""
    folder = tmp_path / "one"
    folder.mkdir()
    return CommandLaunch(Path("/jco"), wat.artifact(tmp_path, wat.ECHO), Limits(), tmp_path, folder)


class WithoutPermission(Jco):
    """Node without its permission model, as jco's own command runs it."""

    def argv(self, launch: CommandLaunch, invocation: Invocation) -> Sequence[str]:
        argv = super().argv(launch, invocation)
        return [each for each in argv if not each.startswith(("--permission", "--allow-"))]


def change_glue(host: Host, old: str, new: str) -> None:
    """Change our script in the folder of this host."""
    assert isinstance(host, CommandHost)
    script = host._workspace.path / "jco.mjs"
    text = script.read_text(encoding="utf-8")
    assert old in text
    script.write_text(text.replace(old, new), encoding="utf-8")


# -- endings


def test_a_status_is_success_or_failure(host: Host) -> None:
    """Known: its adapter calls an exit that has no numbers. When this fails, take `statuses` from the runtime."""
    assert [host.run(act("exits", status)).ending.status for status in (0, 1, 2, 255)] == [0, 1, 1, 1]


def test_a_guest_cannot_catch_its_exit(start: Start) -> None:
    """A guest that catches every exception goes on after no proc_exit."""
    program = wat.command(
        "(block $all (try_table (catch_all $all) (call $proc_exit (i32.const 0)))) (call $proc_exit (i32.const 1))"
    )
    assert start(program).run().ending == exited(0)


def test_a_process_that_tells_no_ending(launch: CommandLaunch) -> None:
    """The status of a process is the guest's only if our script has said that the guest exited."""
    runtime = Jco()
    assert runtime.outcome(launch, Ended(1, b"out", b"err")) == (b"out", b"err", host_failed())
    assert "status 1" in runtime.outcome(launch, Ended(1, b"", b""))[2].detail
    (launch.folder / "report").write_text(json.dumps({"kind": "exited"}))
    assert runtime.outcome(launch, Ended(1, b"out", b"err")) == (b"out", b"err", exited(1))
    assert runtime.outcome(launch, Ended(-9, b"", b""))[2] == host_failed()
    (launch.folder / "report").write_text(json.dumps({"kind": "trapped", "status": None, "detail": "why"}))
    assert runtime.outcome(launch, Ended(1, b"", b""))[2] == trapped()


def test_an_error_of_the_shim_is_its_own(host: Host, start: Start) -> None:
    """At an error that it does not know the shim ends the process with status 1: no status of the guest's."""
    broken = start(ACTOR)
    change_glue(broken, "run.run();", "process.exit(1);")

    assert broken.run(act("returns")).ending == host_failed()
    assert host.run(act("returns")).ending == exited(0)


def test_a_module_that_is_no_command(tmp_path: Path) -> None:
    """What jco makes no component of is told at the start, in its words."""
    text = (
        '(module (import "unknown.module" "f" (func)) (memory (export "memory") 1) (func (export "_start")))'
    )
    artifact = wat.unchecked(wat.write(tmp_path / "program.wasm", text))
    with pytest.raises(HostStartError, match=r"jco cannot make a component of program: .*unknown\.module"):
        Jco().start(artifact, Limits())


# -- streams


def test_output_that_would_be_lost(start: Start) -> None:
    """The shim does not wait for what it writes: our script has the pipes block, or else most of this is lost."""
    whole = start(ACTOR)
    assert len(whole.run(act("pours", 256)).stdout) == 16 << 20

    lossy = start(ACTOR)
    change_glue(lossy, "setBlocking(true)", "setBlocking(false)")
    assert len(lossy.run(act("pours", 256)).stdout) < 16 << 20


# -- folders


def test_no_folders(host: Host, tmp_path: Path) -> None:
    """None is granted, since a guest would not be kept in it; the refusal says so."""
    with pytest.raises(UnsupportedError, match="cannot give folders to a guest: a link that the guest puts"):
        host.invoke(Invocation(act("opens"), preopens={"/data": tmp_path}))


def test_why_there_are_no_folders(tmp_path: Path) -> None:
    """Known: the shim keeps the path of a folder that is open, so a link in its place leads a guest out of what it has.

    When this fails, look whether jco keeps a guest in its folders now.
    """
    (tmp_path / "granted" / "sub").mkdir(parents=True)
    (tmp_path / "outside").write_bytes(b"")
    script = Script()
    below = script.open(b"sub", DIRECTORY, READ)
    script.call("path_rename", 3, b"sub", 3, b"other").call("path_symlink", b"..", 3, b"sub")
    script.call("path_filestat_get", below, 0, b"outside", OUT)
    with WithoutPermission().start(script.artifact(tmp_path), Limits()) as host:
        change_glue(host, "preopens: {}", f"preopens: {json.dumps({'/data': str(tmp_path / 'granted')})}")
        assert script.run(host) == [0, 0, 0, 0]
