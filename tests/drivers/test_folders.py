"""The folders of an invocation: what is granted, what is refused, and what is told of the copy that a guest got."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from pytest_wasmedge.drivers.folders import Entry, granted, lent
from pytest_wasmedge.errors import UnsupportedError
from pytest_wasmedge.model import Invocation, Outcome, exited, host_failed, timed_out

ENDED = Outcome(b"", b"", exited(0))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a file, a folder with another one, an empty folder, and a link to a file."""
    place = tmp_path / "granted"
    (place / "sub").mkdir(parents=True)
    (place / "empty").mkdir()
    (place / "file").write_bytes(b"\0\xff")
    (place / "sub" / "inner").write_bytes(b"")
    (place / "sub" / "link").symlink_to("../file")
    for path in (place / "file", place / "sub"):
        os.utime(path, ns=(5, 1_000_000_000_000_000_123))
    return place


def test_everything_in_a_folder_is_granted(folder: Path) -> None:
    """Files, folders, empty ones too, and links, in order of names, parents first, with the time of each."""
    [(guest_path, entries)] = granted("node", Invocation(preopens={"/data": folder}))

    assert guest_path == "/data"
    assert [(each.path, each.content) for each in entries] == [
        ("empty", None),
        ("file", b"\0\xff"),
        ("sub", None),
        ("sub/inner", b""),
        ("sub/link", "../file"),
    ]
    assert entries[1] == Entry("file", b"\0\xff", 1_000_000_000_000_000_123)


def test_a_guest_gets_a_copy(folder: Path, tmp_path: Path) -> None:
    """It is the same, times included, in a place that is gone afterwards; the folder itself is never touched."""
    with lent("node", Invocation(preopens={"/data": folder}), tmp_path) as given:
        copy = given.invocation.preopens["/data"]
        same = [each for _, entries in granted("node", given.invocation) for each in entries]
        assert same == granted("node", Invocation(preopens={"/data": folder}))[0][1]
        (copy / "file").write_bytes(b"other")
        (copy / "sub" / "inner").unlink()
        outcome = given.outcome(ENDED, 1000)

    assert outcome.files == {
        "/data/empty": None,
        "/data/file": b"other",
        "/data/sub": None,
        "/data/sub/link": "../file",
    }
    assert not copy.exists()
    assert (folder / "file").read_bytes() == b"\0\xff"


def test_several_folders_and_the_root(folder: Path, tmp_path: Path) -> None:
    """What came of each stands under the guest's path of it."""
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "one").write_bytes(b"1")

    with lent("node", Invocation(preopens={"/": tmp_path / "other", "/more": folder / "empty"})) as given:
        (given.invocation.preopens["/more"] / "two").write_bytes(b"2")
        files = given.outcome(ENDED, 1000).files

    assert files == {"/one": b"1", "/more/two": b"2"}


def test_no_folder_costs_nothing() -> None:
    """Without folders there is no copy, and the outcome is the same object."""
    invocation = Invocation(b"source")
    with lent("node", invocation) as given:
        assert given.invocation is invocation
        assert given.outcome(ENDED, 0) is ENDED


def test_a_stopped_guest_leaves_nothing(folder: Path) -> None:
    """What a guest that was stopped had written by then says nothing."""
    stopped = Outcome(b"", b"", timed_out())
    with lent("node", Invocation(preopens={"/data": folder})) as given:
        assert given.outcome(stopped, 1000).files == {}


def test_too_much_is_the_output_limit(folder: Path) -> None:
    """A guest that leaves more than it may write is told as one that wrote too much."""
    with lent("node", Invocation(preopens={"/data": folder})) as given:
        outcome = given.outcome(ENDED, 1)

    assert outcome.ending == host_failed()
    assert outcome.ending.detail == "output limit of 1 bytes reached in folders"
    assert outcome.files == {}


def test_a_folder_that_is_gone(folder: Path) -> None:
    """Where a host lets a guest remove its folder, or put a file in its place, nothing was left in it."""
    with lent("node", Invocation(preopens={"/data": folder, "/more": folder})) as given:
        gone, replaced = given.invocation.preopens.values()
        shutil.rmtree(gone)
        shutil.rmtree(replaced)
        replaced.write_bytes(b"x")
        assert given.outcome(ENDED, 1000).files == {}


@pytest.mark.parametrize("target", ["../outside", "/etc/passwd", "sub/../../outside"])
def test_a_link_that_leads_out_is_refused(folder: Path, target: str) -> None:
    """It would lead elsewhere in the copy; one sentence says which one it is."""
    (folder / "away").symlink_to(target)

    with pytest.raises(UnsupportedError) as caught:
        granted("node", Invocation(preopens={"/data": folder}))

    assert str(caught.value) == (
        f"node: cannot grant {folder} as /data: the link away in it leads to {target}, out of it. "
        "Grant a folder without it."
    )


def test_no_link_where_there_may_be_none(folder: Path) -> None:
    """A runtime that gives its reason is granted no folder with a link, wherever it leads; one without it is."""
    invocation = Invocation(preopens={"/data": folder})
    with pytest.raises(UnsupportedError) as caught, lent("node", invocation, no_links="it would get out"):
        pass

    assert str(caught.value) == (
        f"node: cannot grant {folder} as /data: sub/link in it is a symbolic link, and it would get out. "
        "Grant a folder without links."
    )
    (folder / "sub" / "link").unlink()
    assert granted("node", invocation, "it would get out") == granted("node", invocation)


def test_a_link_to_nothing_is_granted(folder: Path) -> None:
    """A link that leads nowhere is a link all the same."""
    (folder / "dangling").symlink_to("nothing")

    entries = granted("node", Invocation(preopens={"/data": folder}))[0][1]
    assert entries[0].content == "nothing"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_what_is_no_file_is_refused(folder: Path) -> None:
    """A named pipe cannot be copied, and reading it would wait for ever."""
    os.mkfifo(folder / "pipe")

    with pytest.raises(UnsupportedError, match="pipe in it is neither a file, a folder nor a link"):
        granted("node", Invocation(preopens={"/data": folder}))


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    """It is said before anything runs."""
    with pytest.raises(UnsupportedError, match="there is no such folder"):
        granted("node", Invocation(preopens={"/data": tmp_path / "gone"}))


def test_a_folder_behind_a_link(folder: Path, tmp_path: Path) -> None:
    """A folder that is named by a link is granted as the folder that it is, links in it included."""
    (tmp_path / "named").symlink_to(folder)

    [(_, entries)] = granted("node", Invocation(preopens={"/data": tmp_path / "named"}))
    assert "sub/link" in [each.path for each in entries]
