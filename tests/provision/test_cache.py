"""The cache folder is the user's alone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pytest_wasmedge.errors import ProvisionError
from pytest_wasmedge.provision.cache import cache_root, folder


def test_the_variable_moves_the_cache(cache: Path) -> None:
    """PYTEST_WASMEDGE_CACHE names the cache folder."""
    assert cache_root() == cache


def test_the_default_is_the_users_cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the variable, the platform's own cache folder is used."""
    monkeypatch.delenv("PYTEST_WASMEDGE_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("sys.platform", "linux")

    assert cache_root().name == "pytest-wasmedge"


def test_folders_are_made_for_the_user_alone(cache: Path) -> None:
    """The cache folder and its subfolders are created with mode 0700."""
    tools = folder("tools")

    assert tools == cache / "tools"
    assert [path.stat().st_mode & 0o777 for path in (cache, tools)] == [0o700, 0o700]


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777], ids=oct)
def test_a_folder_that_others_can_write_is_refused(cache: Path, mode: int) -> None:
    """Whoever can write the cache could plant code that we execute."""
    cache.mkdir()
    cache.chmod(mode)

    with pytest.raises(ProvisionError, match=rf"can be written by other users.*chmod go-w {cache}"):
        cache_root()


def test_a_subfolder_that_others_can_write_is_refused(cache: Path) -> None:
    """The subfolders are held to the same rule as the root."""
    (cache / "compiled").mkdir(parents=True)
    (cache / "compiled").chmod(0o777)

    with pytest.raises(ProvisionError, match="can be written by other users"):
        folder("compiled")


def test_a_folder_of_another_user_is_refused(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that another user owns is not ours, whatever its mode."""
    cache.mkdir(mode=0o700)
    monkeypatch.setattr(os, "geteuid", lambda: cache.stat().st_uid + 1)

    with pytest.raises(ProvisionError, match=r"belongs to user .*set PYTEST_WASMEDGE_CACHE"):
        cache_root()


def test_a_file_in_its_place_is_an_error_of_ours(cache: Path) -> None:
    """A path that cannot be a folder gives a ProvisionError that names the variable."""
    cache.write_text("")

    with pytest.raises(ProvisionError, match=r"cannot be used: .*Set PYTEST_WASMEDGE_CACHE"):
        cache_root()
