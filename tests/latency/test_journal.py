"""Raw samples are on disk as soon as they are taken."""

from __future__ import annotations

import json
import os
import platform
import re
from pathlib import Path

import pytest

from pytest_wasmedge.errors import LatencyError
from pytest_wasmedge.latency.journal import (
    KEPT_RUNS,
    Journal,
    describe_machine,
    fingerprint,
    in_folder,
    machine,
)
from pytest_wasmedge.latency.sampling import Sample

SAMPLE = Sample("one", "cold/no-cache", 123, {"run": 5}, 1, 99, None, "ab" * 32)


def lines(path: Path) -> list[dict[str, object]]:
    """Return what the journal says."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_sample_is_written_at_once(tmp_path: Path) -> None:
    """Each sample is a line with machine, version, digest and seed; the machine is told once before them."""
    journal = Journal(tmp_path / "j.jsonl", "run1", 7)
    journal.add(SAMPLE, runtime_version="1.0", round=3)
    first, second = lines(tmp_path / "j.jsonl")

    assert first == {"run": "run1", "machine": machine(), "fingerprint": fingerprint()}
    assert second.pop("taken_at_s")
    assert second == {
        "run": "run1",
        "fingerprint": fingerprint(),
        "seed": 7,
        "runtime": "one",
        "runtime_version": "1.0",
        "artifact_sha256": "ab" * 32,
        "kind": "cold/no-cache",
        "elapsed_ns": 123,
        "phases_ns": {"run": 5},
        "invocation": 1,
        "cpu_ns": 99,
        "round": 3,
    }
    journal.add(SAMPLE)
    assert len(lines(tmp_path / "j.jsonl")) == 3


def test_a_journal_is_appended_to(tmp_path: Path) -> None:
    """Several writers of one file lose nothing of each other."""
    for run in ("run1", "run2"):
        Journal(tmp_path / "j.jsonl", run, 7).add(SAMPLE)

    assert [line["run"] for line in lines(tmp_path / "j.jsonl")] == ["run1", "run1", "run2", "run2"]


def test_the_machine_in_a_few_words() -> None:
    """They say cores, processor and system, and nothing that identifies the machine."""
    assert re.fullmatch(r"\d+ cores? of \S.*, \w+ \w+", describe_machine())
    assert platform.node() not in describe_machine()


def test_the_machine_is_not_named() -> None:
    """The fingerprint tells machines apart and says neither host nor user."""
    text = json.dumps(machine())

    assert os.uname().nodename not in text
    assert len(fingerprint()) == 8


def test_a_folder_keeps_the_latest_runs(tmp_path: Path) -> None:
    """Older journals go; files of others stay."""
    (tmp_path / "notes.txt").touch()
    for number in range(KEPT_RUNS + 5):
        path = tmp_path / f"samples-{number:02}.jsonl"
        path.touch()
        os.utime(path, (number, number))
    in_folder(tmp_path, "new", 1).add(SAMPLE)
    kept = sorted(path.name for path in tmp_path.glob("samples-*"))

    assert len(kept) == KEPT_RUNS
    assert kept[0] == "samples-06.jsonl"
    assert kept[-1] == "samples-new.jsonl"
    assert (tmp_path / "notes.txt").exists()


def test_a_journal_that_cannot_be_written(tmp_path: Path) -> None:
    """A path that cannot be written is one sentence with the option to change."""
    with pytest.raises(LatencyError, match=r"could not be written to .*: Is a directory. .*--wasm-samples"):
        Journal(tmp_path, "run", 1).add(SAMPLE)
