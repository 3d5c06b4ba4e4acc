"""Files are written whole, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_wasmedge.provision.files import whole


def test_a_file_appears_whole(tmp_path: Path) -> None:
    """It is not there before it is complete, and nothing else stays."""
    path = tmp_path / "file"
    with whole(path) as part:
        part.write_text("all of it")
        assert not path.exists()

    assert path.read_text() == "all of it"
    assert list(tmp_path.iterdir()) == [path]


def test_what_fails_leaves_the_old_file(tmp_path: Path) -> None:
    """An error in between leaves what was there, and no litter."""
    path = tmp_path / "file"
    path.write_text("old")

    def fail() -> None:
        with whole(path) as part:
            part.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()

    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_permissions(tmp_path: Path) -> None:
    """A file that is replaced keeps its permissions; a new one has those that are asked for."""
    path, private = tmp_path / "file", tmp_path / "private"
    path.write_text("old")
    path.chmod(0o640)
    with whole(path) as part:
        part.write_text("new")
    with whole(private, 0o600):
        pass

    assert path.stat().st_mode & 0o777 == 0o640
    assert private.stat().st_mode & 0o777 == 0o600
