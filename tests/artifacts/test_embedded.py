"""The shipped artifact: what its manifest promises, and how it gets into a cache folder."""

from __future__ import annotations

import hashlib
import json
import lzma
import multiprocessing
from pathlib import Path

import pytest

from pytest_wasmedge.artifacts import sections
from pytest_wasmedge.artifacts.embedded import ARCHIVE, MANIFEST, manifest, unpack
from pytest_wasmedge.artifacts.publish import NOTICE
from pytest_wasmedge.artifacts.wasi import WASI
from pytest_wasmedge.errors import ArtifactError

CONTENT = b"\0asm\x01\0\0\0 not a real module, but real bytes"


@pytest.fixture
def shipped(tmp_path: Path) -> Path:
    """A small package folder: an archive of CONTENT and its manifest."""
    folder = tmp_path / "shipped"
    folder.mkdir()
    (folder / ARCHIVE).write_bytes(lzma.compress(CONTENT))
    fields = {
        "sha256": hashlib.sha256(CONTENT).hexdigest(),
        "size_bytes": len(CONTENT),
        "variant": "wizer",
        "ruby_version": "4.0.0",
        "sources": {"ruby": {"package": "@ruby/x", "version": "1.0", "digest": "sha512-x"}},
    }
    (folder / MANIFEST).write_text(json.dumps(fields), encoding="utf-8")
    return folder


def test_the_real_archive_holds_what_its_manifest_says(tmp_path: Path) -> None:
    """The shipped archive unpacks to a WASI command of the promised size, with nothing else exported."""
    content = unpack(tmp_path).read_bytes()

    assert len(content) == manifest().size_bytes
    assert {one.module for one in sections.imports(content)} == {WASI}
    assert {one.name for one in sections.exports(content)} == {"memory", "_start"}


def test_the_real_manifest_names_all_sources() -> None:
    """Every package that went into the artifact is named with version and digest, and its licences ship."""
    sources = manifest().sources

    assert set(sources) == {"node", "binaryen", "wizer", "ruby", "wat2wasm"}
    assert sources["ruby"].package == "@ruby/4.0-wasm-wasi"
    assert all(one.version for one in sources.values())
    assert "BSD" in (Path(unpack.__code__.co_filename).parent / NOTICE).read_text(encoding="utf-8")


def test_unpacks_under_its_digest(shipped: Path, tmp_path: Path) -> None:
    """The file is named after its SHA-256, in a folder made if need be; nothing else is left there."""
    path = unpack(tmp_path / "new" / "cache", shipped)

    assert path.name == f"{hashlib.sha256(CONTENT).hexdigest()}.wasm"
    assert path.read_bytes() == CONTENT
    assert list(path.parent.iterdir()) == [path]


def test_unpacks_once(shipped: Path, tmp_path: Path) -> None:
    """An intact cached file is used as it is: the archive is not even needed."""
    first = unpack(tmp_path / "cache", shipped)
    (shipped / ARCHIVE).unlink()

    assert unpack(tmp_path / "cache", shipped) == first


@pytest.mark.parametrize("damage", [b"", CONTENT[:-1], CONTENT[:-1] + b"X"], ids=["empty", "cut", "changed"])
def test_replaces_a_damaged_file(shipped: Path, tmp_path: Path, damage: bytes) -> None:
    """A cached file whose digest is wrong is replaced, whatever its size."""
    path = unpack(tmp_path / "cache", shipped)
    path.write_bytes(damage)

    assert unpack(tmp_path / "cache", shipped).read_bytes() == CONTENT


@pytest.mark.parametrize("keep", [0, 40, -1], ids=["empty", "cut", "last byte missing"])
def test_a_damaged_archive_is_an_error(shipped: Path, tmp_path: Path, keep: int) -> None:
    """A damaged archive is named, with what to do; no file is left behind."""
    archive = shipped / ARCHIVE
    archive.write_bytes(archive.read_bytes()[:keep])

    with pytest.raises(ArtifactError, match=r"ruby-worker\.wasm\.xz cannot be unpacked.*Install .* again"):
        unpack(tmp_path / "cache", shipped)
    assert not (tmp_path / "cache").exists()


def test_an_archive_of_other_bytes_is_an_error(shipped: Path, tmp_path: Path) -> None:
    """An archive that is whole but not the promised one is refused: both digests are shown."""
    (shipped / ARCHIVE).write_bytes(lzma.compress(b"other"))

    with pytest.raises(ArtifactError) as caught:
        unpack(tmp_path / "cache", shipped)
    assert hashlib.sha256(b"other").hexdigest() in str(caught.value)
    assert hashlib.sha256(CONTENT).hexdigest() in str(caught.value)


@pytest.mark.parametrize("text", [None, "", "{}", "[]", '{"sources": 1}'])
def test_a_damaged_manifest_is_an_error(shipped: Path, text: str | None) -> None:
    """A manifest that is missing or makes no sense is named, with what to do."""
    if text is None:
        (shipped / MANIFEST).unlink()
    else:
        (shipped / MANIFEST).write_text(text, encoding="utf-8")

    with pytest.raises(ArtifactError, match=r"ruby-worker\.json cannot be read.*Install .* again"):
        manifest(shipped)


def test_an_unusable_cache_is_an_error(shipped: Path, tmp_path: Path) -> None:
    """If the cache cannot hold the file, the message says how to name another folder."""
    (tmp_path / "cache").write_bytes(b"a file, not a folder")

    with pytest.raises(ArtifactError, match="PYTEST_WASMEDGE_CACHE"):
        unpack(tmp_path / "cache", shipped)


def test_several_processes_may_unpack_at_once(shipped: Path, tmp_path: Path) -> None:
    """Four processes that unpack into one folder all get the whole file, and leave only that."""
    cache = tmp_path / "cache"
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        paths = pool.starmap(unpack, [(cache, shipped)] * 8)

    assert {path.read_bytes() for path in paths} == {CONTENT}
    assert list(cache.iterdir()) == [paths[0]]
