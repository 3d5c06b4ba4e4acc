"""Kept code that is damaged, of another version or build, and programs that say more than their version."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

import pytest

from pytest_wasmedge.drivers.compiled import digest_of
from pytest_wasmedge.errors import HostStartError
from pytest_wasmedge.model import Artifact, Limits, Runtime, exited
from pytest_wasmedge.provision import find
from pytest_wasmedge.provision.cache import ENV_CACHE, folder
from pytest_wasmedge.runtimes import builtin_runtimes
from pytest_wasmedge.runtimes.native_ruby import NativeRuby
from pytest_wasmedge.runtimes.wasmtime_cli import WasmtimeCli
from pytest_wasmedge.runtimes.wasmtime_serve import WasmtimeServe
from tests import wat

#: All that keep code.
KEEPERS = [each.name for each in builtin_runtimes() if type(each).kept_code is not Runtime.kept_code]
DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "foreign": lambda code: b"no code at all",
    "empty": lambda code: b"",
    "half": lambda code: code[: len(code) // 2],
    "one_byte_less": lambda code: code[:-1],
    "one_byte_more": lambda code: code + b"\0",
    "one_bit": lambda code: (
        code[: len(code) // 2] + bytes([code[len(code) // 2] ^ 1]) + code[len(code) // 2 + 1 :]
    ),
}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of the test's own, with the tools of the user's."""
    cache = tmp_path / "cache"
    cache.mkdir(0o700)
    (cache / "tools").symlink_to(folder("tools"))
    monkeypatch.setenv(ENV_CACHE, str(cache))


@pytest.fixture
def echo(tmp_path: Path) -> Artifact:
    """An artifact, small enough for every runtime to keep its code."""
    return wat.artifact(tmp_path, wat.ECHO)


def runtime_of(name: str) -> Runtime:
    """Return a runtime that can start here; `make setup` gets all of them."""
    found = next(each for each in builtin_runtimes() if each.name == name)
    availability = found.probe()
    if not availability.available:
        pytest.fail(f"{name}: {availability.reason}; run `make setup`", pytrace=False)
    return found


def keep(runtime: Runtime, artifact: Artifact, says: bytes = b"first") -> Path:
    """Have the artifact's code kept, and return its file."""
    with runtime.start(artifact, Limits()) as host:
        assert host.run(b"first").stdout == says
    kept = runtime.kept_code(artifact)
    assert kept
    return kept


def replace(kept: Path, code: bytes) -> None:
    """Put other bytes in the place of the kept code, which may still be mapped."""
    kept.unlink()
    kept.write_bytes(code)


def saying(folder: Path, version: str, otherwise: str) -> Path:
    """Return a wasmtime that tells this version, and does for the rest what the shell is told."""
    command = folder / f"wasmtime-{len(list(folder.iterdir()))}"
    command.write_text(f'#!/bin/sh\n[ "$1" = --version ] && echo "{version}" && exit\n{otherwise}\n')
    command.chmod(0o755)
    return command


def test_who_keeps_code() -> None:
    """Those that say so by their cache state are among those that are asked here, and so is WasmEdge."""
    says_so = {each.name for each in builtin_runtimes() if each.cache_state == "code-cache"}

    assert says_so | {"wasmedge"} == set(KEEPERS)


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", KEEPERS)
def test_damaged_code(name: str, damage: str, echo: Artifact) -> None:
    """Code that is damaged is compiled anew, and what the engine says of it is in no stream of the guest."""
    runtime = runtime_of(name)
    kept = keep(runtime, echo)
    code = kept.read_bytes()
    replace(kept, DAMAGE[damage](code))
    with runtime.start(echo, Limits()) as host:
        outcomes = [host.run(b"same") for _ in range(2)]

    assert [(each.stdout, each.stderr, each.ending) for each in outcomes] == [(b"same", b"", exited(0))] * 2
    assert len(kept.read_bytes()) == len(code)


#: Ends with a status that the tested artifact never has.
OTHER = wat.exits(7)


@pytest.mark.parametrize("digest_too", [False, True], ids=["code", "code and digest"])
@pytest.mark.parametrize("running", [False, True], ids=["before a start", "while a host is there"])
@pytest.mark.parametrize("name", KEEPERS)
def test_code_of_another_program(
    name: str, running: bool, digest_too: bool, echo: Artifact, tmp_path: Path
) -> None:
    """The valid code of another artifact, in the place of the tested one's, is never run under its digest."""
    runtime = runtime_of(name)
    (tmp_path / "other").mkdir()
    other = wat.artifact(tmp_path / "other", OTHER)
    kept, foreign = keep(runtime, echo), keep(runtime, other, b"")
    with runtime.start(echo, Limits()) if running else nullcontext() as former:
        replace(kept, foreign.read_bytes())
        kept.chmod(foreign.stat().st_mode)
        if digest_too:
            digest_of(kept).write_bytes(digest_of(foreign).read_bytes())
        with nullcontext(former) if former else runtime.start(echo, Limits()) as host:
            outcomes = [host.run(b"same") for _ in range(2)]

    assert [(each.stdout, each.stderr, each.ending) for each in outcomes] == [(b"same", b"", exited(0))] * 2


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give a file away")
@pytest.mark.parametrize("name", KEEPERS)
def test_code_of_another_user(name: str, echo: Artifact) -> None:
    """Code that another user owns, or could write, is compiled anew, however right its bytes are."""
    runtime = runtime_of(name)
    kept = keep(runtime, echo)
    for owner, mode in (54321, 0o600), (os.geteuid(), 0o666):
        os.chown(kept, owner, -1)
        kept.chmod(mode)
        spoilt = kept.stat()
        with runtime.start(echo, Limits()) as host:
            assert host.run(b"same").stdout == b"same"
        made = kept.stat()
        assert (made.st_ctime_ns > spoilt.st_ctime_ns, made.st_uid, made.st_mode & 0o022) == (
            True,
            os.geteuid(),
            0,
        )


@pytest.mark.parametrize(
    ("name", "donor"),
    [
        ("wasmtime", "wasmtime-cli"),
        ("wasmtime-cli", "wasmtime"),
        ("wasmtime-serve", "wasmtime"),
        ("wasmtime-winch", "wasmtime"),
        ("wasmtime-pulley", "wasmtime-cli"),
        ("lambda", "wasmtime"),
    ],
)
def test_code_of_another_version(name: str, donor: str, echo: Artifact) -> None:
    """Whole code that another version of the same engine compiled, with other settings, is compiled anew."""
    runtime = runtime_of(name)
    kept, foreign = keep(runtime, echo), keep(runtime_of(donor), echo).read_bytes()
    replace(kept, foreign)
    with runtime.start(echo, Limits()) as host:
        outcome = host.run(b"same")

    assert (outcome.stdout, outcome.stderr, outcome.ending) == (b"same", b"", exited(0))
    assert kept.read_bytes() != foreign


def test_wasmer_code_of_another_version(echo: Artifact) -> None:
    """Wasmer itself compiles anew what it kept in another version of its format."""
    runtime = runtime_of("wasmer")
    kept = keep(runtime, echo)
    code = kept.read_bytes()
    at = code.index(b"WASMER\0\0") + len(b"WASMER\0\0")  # behind it: the format's version
    foreign = code[:at] + bytes([code[at] - 1]) + code[at + 1 :]
    replace(kept, foreign)
    with runtime.start(echo, Limits()) as host:
        assert host.run(b"same").stdout == b"same"

    assert kept.read_bytes() != foreign


@pytest.mark.parametrize("name", ["wasmtime-cli", "wasmedge"])
def test_damaged_code_and_many_guests(name: str, echo: Artifact) -> None:
    """Of many guests that meet damaged code at once, each runs, and the code is compiled for all of them."""
    runtime = runtime_of(name)
    replace(keep(runtime, echo), b"no code at all")
    with runtime.start(echo, Limits()) as host, ThreadPoolExecutor(4) as threads:
        outcomes = list(threads.map(lambda number: host.run(b"%d" % number), range(8)))

    assert [outcome.stdout for outcome in outcomes] == [b"%d" % number for number in range(8)]
    assert {outcome.ending for outcome in outcomes} == {exited(0)}


def test_code_that_is_never_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, echo: Artifact) -> None:
    """An engine that refuses what it has just compiled is told as that, in its words, after one more try."""
    real = find("wasmtime")
    assert real
    refuses = f"""if [ "$1" = run ]; then
  for last; do :; done; echo "Error: failed to load $last" >&2; echo "again" >>"{tmp_path}/tries"; exit 1
fi
exec "{real.path}" "$@\""""
    monkeypatch.setenv("PYTEST_WASMEDGE_WASMTIME", str(saying(tmp_path, "wasmtime 49.0.3", refuses)))

    with (
        WasmtimeCli().start(echo, Limits()) as host,
        pytest.raises(
            HostStartError, match=r"cannot load what it has just compiled of program: Error: failed"
        ),
    ):
        host.run(b"x")
    assert (tmp_path / "tries").read_text() == "again\n" * 2


def test_an_engine_in_this_process_that_takes_no_code(
    monkeypatch: pytest.MonkeyPatch, echo: Artifact
) -> None:
    """What wasmtime has just compiled and cannot load is told as that: the artifact is not what is wrong."""
    monkeypatch.setattr("wasmtime.Module.serialize", lambda module: b"no code at all")

    with pytest.raises(
        HostStartError, match=r"cannot load what it has just compiled of program: failed"
    ) as told:
        runtime_of("wasmtime").start(echo, Limits())
    assert "wasm-tools" not in str(told.value)


# -- what a program says of itself


@pytest.mark.parametrize("kind", [WasmtimeCli, WasmtimeServe])
def test_builds_of_one_version_share_no_code(
    kind: type[WasmtimeCli | WasmtimeServe], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, echo: Artifact
) -> None:
    """Two programs that call themselves by one version have their own code; the same program finds its own."""
    places = []
    for version, otherwise in (
        ("wasmtime 49.0.3 (f96eabaa1 2026-10-14)", "exit 1"),
        ("wasmtime 49.0.3 (f96eabaa1 2026-10-14)", "exit 1"),
        ("wasmtime 49.0.3 (0123456789 2026-10-21)", "exit 1"),
        ("wasmtime 49.0.3 (f96eabaa1 2026-10-14)", "# another length\nexit 1"),
    ):
        command = saying(tmp_path, version, otherwise)
        monkeypatch.setenv("PYTEST_WASMEDGE_WASMTIME", str(command))
        assert kind().probe().version == "49.0.3"
        places.append(kind().kept_code(echo))

    assert places[0] is not None
    assert places[1] == places[0]
    assert len(set(places)) == 3


WARNS = "#!/bin/sh\necho 'warning: something 1.2.3 is deprecated'\n"


@pytest.mark.parametrize(
    ("kind", "variable", "said", "versions"),
    [
        (WasmtimeServe, "WASMTIME", "wasmtime 49.0.3 (f96eabaa1 2026-10-14)", ("49.0.3", "49.0.3")),
        (NativeRuby, "NATIVE_RUBY", "3.1.2\nruby 3.1.2", ("3.1.2", "ruby 3.1.2")),
    ],
)
def test_warnings_before_the_version(
    kind: type[Runtime],
    variable: str,
    said: str,
    versions: tuple[str, str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """What a program prints before its version is not taken for it; a program that names none is not available."""
    command = tmp_path / "program"
    monkeypatch.setenv(f"PYTEST_WASMEDGE_{variable}", str(command))
    found = []
    for script in (f"{WARNS}echo '{said}'\n", WARNS):
        command.unlink(missing_ok=True)
        command.write_text(script)
        command.chmod(0o755)
        os.utime(command, ns=(0, len(script)))  # a program that was replaced is asked again
        found.append(kind().probe())

    assert found[0].available
    assert (found[0].version, found[0].engine_version) == versions
    assert not found[1].available
    assert "names no version: it printed 'warning: something 1.2.3 is deprecated" in found[1].reason
