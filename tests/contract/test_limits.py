"""The check of an artifact against its limits."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from pytest_wasmedge.contract.limits import ArtifactLimit, ArtifactLimits, ImportRule, check_artifact
from pytest_wasmedge.contract.presets import presets
from pytest_wasmedge.contract.read import load_contract
from pytest_wasmedge.errors import ArtifactError
from pytest_wasmedge.model import Artifact
from tests import wat

ORIGIN = "portability.toml:3"


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    """A command with 3 functions, 9 imports and 3 pages of memory."""
    return wat.artifact(tmp_path, wat.ECHO)


def measures(artifact: Artifact) -> dict[str, int]:
    """Return what the artifact measures, by limit."""
    data = artifact.path.read_bytes()
    return {
        "bytes": len(data),
        "gzip_bytes": len(gzip.compress(data, 9, mtime=0)),
        "functions": 3,
        "memory_pages": 3,
    }


@pytest.mark.parametrize("name", ["bytes", "gzip_bytes", "functions", "memory_pages"])
def test_a_limit_is_the_most_that_is_allowed(artifact: Artifact, name: str) -> None:
    """An artifact that measures exactly its limit keeps it; one less breaks that limit and no other."""
    measured = measures(artifact)
    exact = {key: ArtifactLimit(value, ORIGIN) for key, value in measured.items()}
    assert check_artifact(artifact, ArtifactLimits(**exact, imports=None)) == []

    exact[name] = ArtifactLimit(measured[name] - 1, ORIGIN)
    (violation,) = check_artifact(artifact, ArtifactLimits(**exact, imports=None))

    assert violation.measured.startswith(f"{measured[name]:,} ")
    assert (violation.allowed, violation.origin) == (f"{measured[name] - 1:,}", ORIGIN)


def test_a_violation_is_one_sentence(artifact: Artifact) -> None:
    """A violation says what was measured, what is allowed by whom, and what to do."""
    (violation,) = check_artifact(artifact, ArtifactLimits(memory_pages=ArtifactLimit(2, ORIGIN)))

    assert str(violation) == (
        "declared minimum memory: 3 pages of 64 KiB, but portability.toml:3 allows 2; "
        "link with a smaller initial memory and stack, or snapshot a smaller heap."
    )


def test_imports_are_held_against_globs(artifact: Artifact) -> None:
    """Imports that no glob allows are named."""
    allowed = ImportRule(("wasi_snapshot_preview1.[!p]*", "*.proc_exit"), ORIGIN)
    (violation,) = check_artifact(artifact, ArtifactLimits(imports=allowed))

    assert violation.measured == "wasi_snapshot_preview1.path_open, wasi_snapshot_preview1.poll_oneoff"
    assert violation.allowed == "only wasi_snapshot_preview1.[!p]*, *.proc_exit"
    assert check_artifact(artifact, ArtifactLimits(imports=ImportRule(("*.*",), ORIGIN))) == []


def test_many_imports_are_counted(artifact: Artifact) -> None:
    """No more than five imports are named; an empty list of globs allows none."""
    (violation,) = check_artifact(artifact, ArtifactLimits(imports=ImportRule((), ORIGIN)))

    assert violation.measured.count("wasi_snapshot_preview1.") == 5
    assert violation.measured.endswith(" and 4 more")
    assert violation.allowed == "none"


def test_no_limits_read_nothing(tmp_path: Path) -> None:
    """Without limits the artifact is not even opened; with one, a file that is gone is an ArtifactError."""
    gone = Artifact(tmp_path / "gone.wasm", "0" * 64, 1, "gone")

    assert check_artifact(gone, ArtifactLimits()) == []
    with pytest.raises(ArtifactError, match=r"gone\.wasm cannot be read \(No such file"):
        check_artifact(gone, ArtifactLimits(bytes=ArtifactLimit(1, ORIGIN)))


def test_the_tightest_limit_counts(tmp_path: Path) -> None:
    """Of several presets and own keys, each limit is the smallest, and says where it comes from."""
    path = tmp_path / "portability.toml"
    path.write_text(
        "[artifact]\n"
        'presets = ["netlify-edge", "fastly-compute", "cloudflare-workers-paid"]\n'
        'gzip_bytes = "5 MB"\n'
        "memory_pages = 4000\n"
    )
    limits = load_contract(path).limits

    assert limits.gzip_bytes == ArtifactLimit(5_000_000, f"{path}:3")
    assert limits.memory_pages == presets()["fastly-compute"].limits["memory_pages"]
    assert limits.bytes == presets()["cloudflare-workers-paid"].limits["bytes"]
    assert limits.functions is None


def test_presets_are_complete() -> None:
    """Every preset has a limit, the platform's own https page, the day it was read, and its words."""
    assert {"cloudflare-workers-free", "cloudflare-workers-paid", "vercel-edge-pro", "fastly-compute"} <= set(
        presets()
    )
    for name, preset in presets().items():
        assert preset.name == name
        assert preset.limits, name
        assert preset.source.startswith("https://"), name
        assert preset.read.isoformat() >= "2026-11-21", name
        assert all((preset.title, preset.published)), name
        for limit in preset.limits.values():
            assert limit.origin == f"preset {name} ({preset.source}, read {preset.read})"


def test_presets_stand_in_the_documentation() -> None:
    """The table in docs/contract.md has every preset with its words, source and date."""
    page = (Path(__file__).parents[2] / "docs" / "contract.md").read_text()
    for name, preset in presets().items():
        (row,) = [line for line in page.splitlines() if line.startswith(f"| `{name}` |")]
        assert all(part in row for part in (preset.published, preset.source, str(preset.read))), name
