"""What was installed is checked when it is used: whatever was changed since is refused, and `install` repairs it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_wasmedge.errors import ProvisionError
from pytest_wasmedge.provision import check_again, digests, executable, find, install, installed
from pytest_wasmedge.provision.digests import MANIFEST, fault, seal, sha256_of
from pytest_wasmedge.provision.pins import pin
from tests import tools
from tests.provision.conftest import FakeTool, install_module, leftovers

#: Another user's number, of nobody in particular.
STRANGER = 54321
needs_root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give a file to another user"
)


def append(path: Path) -> None:
    """Append one byte."""
    with path.open("ab") as file:
        file.write(b"\n")


def same_size(path: Path) -> None:
    """Put as many other bytes in its place, of the same time."""
    times, mode = path.stat(), path.stat().st_mode
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[:-1] + b"#")
    path.chmod(mode)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def script(path: Path) -> None:
    """Put a script in its place, which says what the smoke test asks for."""
    path.unlink()
    path.write_text("#!/bin/sh\necho 42\n# not what was installed\n")
    path.chmod(0o755)


def link(path: Path) -> None:
    """Put a link to the very same bytes elsewhere in its place."""
    elsewhere = path.parents[4] / "elsewhere"
    shutil.move(path, elsewhere)
    path.symlink_to(elsewhere)


def link_folder(path: Path) -> None:
    """Put a link to a folder with the very same files in the place of its folder."""
    elsewhere = path.parents[4] / "elsewhere"
    shutil.move(path.parent, elsewhere)
    path.parent.symlink_to(elsewhere)


def fifo(path: Path) -> None:
    """Put a pipe in its place, which nobody writes to."""
    path.unlink()
    os.mkfifo(path)


#: What is done to the program of a tool, and what is said of it.
TAMPERING: dict[str, tuple[Callable[[Path], object], str]] = {
    "appended": (append, r"bin/tool in it has 19 bytes, 18 were installed"),
    "same size": (same_size, "bin/tool in it has other bytes"),
    "script": (script, r"bin/tool in it has \d+ bytes, 18 were installed"),
    "link": (link, "its bin/tool is missing, or leads out of"),
    "folder linked": (link_folder, "its bin/tool is missing, or leads out of"),
    "pipe": (fifo, "bin/tool in it is no regular file"),
    "missing": (Path.unlink, "its bin/tool is missing, or leads out of"),
    "written by all": (
        lambda path: path.chmod(0o777),
        r"bin/tool in it can be written by other users \(mode 777\)",
    ),
    "written by a group": (lambda path: path.chmod(0o770), r"bin/tool in it can be written by other users"),
    "folder written by all": (
        lambda path: path.parent.chmod(0o777),
        r"its folder bin can be written by other users",
    ),
    "list missing": (
        lambda path: (path.parents[1] / MANIFEST).unlink(),
        "an earlier pytest-wasmedge installed it",
    ),
    "list cut off": (
        lambda path: (path.parents[1] / MANIFEST).write_text('{"files": {"bin/to'),
        r"the list of its digests, .*digests\.json, is damaged",
    ),
    "list of something else": (
        lambda path: (path.parents[1] / MANIFEST).write_text('{"files": {"bin/tool": 5}, "links": {}}'),
        "is damaged",
    ),
    "list written by all": (
        lambda path: (path.parents[1] / MANIFEST).chmod(0o666),
        r"the list of its digests, .*, can be written by other users",
    ),
}


#: What is looked at by the first use in a process alone.
AT_FIRST = {how for how in TAMPERING if how.startswith(("list", "folder"))}


def forget() -> None:
    """Know nothing, as another process does."""
    digests._checked.clear()
    digests._right.clear()


@pytest.mark.parametrize(
    ("how", "seen"),
    [(how, seen) for how in TAMPERING for seen in (False, True) if not (seen and how in AT_FIRST)],
)
def test_a_tool_that_was_changed_is_refused_and_repaired(
    tool: FakeTool, cache: Path, how: str, seen: bool
) -> None:
    """Whatever is done to a tool, before or after its first use: one sentence refuses it, and its remedy repairs it."""
    place = install("tool")
    forget()
    if seen:
        installed("tool")
    tamper, said = TAMPERING[how]
    tamper(place / "bin" / "tool")

    for use in installed, executable:
        with pytest.raises(ProvisionError, match=said) as refused:
            use("tool")
        assert str(refused.value).startswith("tool is not used: ")
        assert str(refused.value).endswith(". `pytest-wasmedge install tool` installs it anew.")
        assert "\n" not in str(refused.value)

    assert install("tool") == place
    assert executable("tool").read_text() == "#!/bin/sh\necho 42\n"
    assert (tool.fetches, leftovers(cache)) == (2, [place.name])


@needs_root
@pytest.mark.parametrize("name", ["bin/tool", "bin", MANIFEST])
def test_what_belongs_to_another_user_is_refused(tool: FakeTool, name: str) -> None:
    """A file, folder or list of digests that another user owns is not used, however right its bytes are."""
    place = install("tool")
    forget()
    os.chown(place / name, STRANGER, -1)

    with pytest.raises(ProvisionError, match=f"belongs to user {STRANGER}"):
        installed("tool")

    install("tool")
    assert (place / name).stat().st_uid == os.geteuid()
    assert tool.fetches == 2


def test_a_library_beside_the_program_counts(tool: FakeTool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a tool with many files, those that we do not start are compared, too: by size and time, or else by bytes."""

    def fetch(wanted: object, work: Path) -> Path:
        package = FakeTool.fetch(tool, tool.pin, work)
        (package / "lib").mkdir()
        (package / "lib" / "library.so").write_bytes(b"library")
        (package / "lib" / "library.so.1").symlink_to("library.so")
        return package

    monkeypatch.setattr(install_module, "fetch_pypi", fetch)
    library = install("tool") / "lib" / "library.so"

    # Another time alone, as a copied cache has, is no change.
    os.utime(library, (1, 1))
    forget()
    assert installed("tool")

    library.write_bytes(b"LIBRARY")
    forget()
    with pytest.raises(ProvisionError, match=r"lib/library\.so in it has other bytes"):
        installed("tool")
    install("tool")

    linked = library.with_name("library.so.1")
    linked.unlink()
    linked.symlink_to("/etc/passwd")
    forget()
    with pytest.raises(ProvisionError, match=r"library\.so\.1 in it is no link to library\.so any more"):
        installed("tool")


def test_all_bytes_are_compared_when_asked(tool: FakeTool) -> None:
    """What size and time do not show, a check of all bytes does, and so does `install`."""
    place = install("tool")
    (place / "data").write_bytes(b"data")
    (place / MANIFEST).unlink()
    seal(place)
    same_size(place / "data")
    forget()

    assert installed("tool") == place
    with pytest.raises(ProvisionError, match="data in it has other bytes"):
        installed("tool", all_bytes=True)
    install("tool")
    assert tool.fetches == 2


def test_the_digest_is_computed_once(tool: FakeTool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process computes the digest of a program at its first use, and again only if the file has changed."""
    place = install("tool")
    forget()
    computed: list[Path] = []

    def compute(path: Path) -> str:
        computed.append(path)
        return sha256_of(path)

    monkeypatch.setattr(digests, "sha256_of", compute)

    for _ in range(5):
        installed("tool")
    assert computed == [place.resolve() / "bin" / "tool"]

    os.utime(place / "bin" / "tool", (5, 5))
    installed("tool")
    assert len(computed) == 2


def test_a_tool_is_looked_at_right_before_it_is_started(tool: FakeTool, tmp_path: Path) -> None:
    """A program or a folder of ours is checked again by its path; any other program is its user's own."""
    place = install("tool")
    installed("tool")
    check_again(place / "bin" / "tool")
    append(place / "bin" / "tool")

    for path in place, place / "bin" / "tool":
        with pytest.raises(ProvisionError, match="tool is not used"):
            check_again(path)
        # The folder is refused as long as nobody repairs it.
        with pytest.raises(ProvisionError, match="tool is not used"):
            installed("tool")
        install("tool")
        installed("tool")
        append(place / "bin" / "tool")
    check_again(tmp_path / "mine")


def test_another_process_installs_anew_meanwhile(tool: FakeTool, cache: Path) -> None:
    """A tool that another process has repaired is taken by one that knows the former files."""
    place = install("tool")
    installed("tool")
    shutil.rmtree(place)
    tool.script = "echo 42 # anew"
    with pytest.MonkeyPatch.context() as patch:
        # What the other process knows, this one does not.
        patch.setattr(digests, "_checked", {})
        patch.setattr(digests, "_right", {})
        install("tool")

    assert executable("tool").read_text().endswith("echo 42 # anew\n")


def test_a_users_own_program_is_not_checked(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What PYTEST_WASMEDGE_NAME or PATH names is the user's, whoever may write it, also if ours is damaged."""
    place = tools.put(cache, pin("deno"))
    append(place / pin("deno").entry)
    mine = tmp_path / "mine"
    mine.write_text("#!/bin/sh\n")
    mine.chmod(0o777)
    monkeypatch.setenv("PYTEST_WASMEDGE_DENO", str(mine))
    found = find("deno")
    assert found
    assert found.path == mine

    monkeypatch.delenv("PYTEST_WASMEDGE_DENO")
    with pytest.raises(ProvisionError, match="deno is not used"):
        find("deno")

    shutil.rmtree(place)
    mine.rename(tmp_path / "deno")
    monkeypatch.setenv("PATH", str(tmp_path))
    found = find("deno")
    assert found
    assert found.origin == "PATH"


def test_what_a_umask_gives_to_others_is_taken_away(tool: FakeTool) -> None:
    """On systems where a group may write what its users make, an installed tool is the user's alone all the same."""
    former = os.umask(0o002)
    try:
        place = install("tool")
    finally:
        os.umask(former)

    assert installed("tool") == place
    assert not [path for path in (place, *place.rglob("*")) if path.stat().st_mode & 0o022]


def test_one_file(tmp_path: Path) -> None:
    """A file with the right digest has no fault, and whatever happens to it is one."""
    path = tmp_path / "file"
    path.write_bytes(b"right")
    sha256 = sha256_of(path)
    assert fault(path, sha256) == ""
    assert fault(path, "0" * 64) == "has other bytes"

    same_size(path)
    assert fault(path, sha256) == "has other bytes"
    path.unlink()
    assert fault(path, sha256) == "cannot be read (No such file or directory)"
