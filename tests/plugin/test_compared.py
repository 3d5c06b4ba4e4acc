"""Whatever a run invokes is compared with the baseline."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_wasmedge.model import Artifact, Host, Invocation, Limits, Outcome, exited, host_failed, trapped
from pytest_wasmedge.plugin.compared import ComparedHost, head_of
from pytest_wasmedge.reports.record import CHANGED, COMPARED, VARYING
from pytest_wasmedge.testing import FakeRuntime

ARTIFACT = Artifact(Path("x.wasm"), "0" * 64, 1, "x")
Answer = Callable[[Invocation], bytes | Outcome]


def started(answer: Answer) -> Host:
    """Return a host that answers so."""
    return FakeRuntime("one", answer).start(ARTIFACT, Limits())


def compared(head: Answer, baseline: Answer, *asked: Invocation) -> list[tuple[str, object]]:
    """Return the facts that come of these invocations."""
    facts: list[tuple[str, object]] = []
    host = ComparedHost(started(head), started(baseline), lambda: "test", lambda *fact: facts.append(fact))
    for invocation in asked:
        assert host.invoke(invocation).artifact_sha256 in ("", ARTIFACT.sha256)
    return facts


def test_what_is_the_same() -> None:
    """Each invocation is counted once, however often it is made; other stdin, arguments or environment is another."""
    asked = [
        Invocation(b"a"),
        Invocation(b"a"),
        Invocation(b"b"),
        Invocation(args=("a",)),
        Invocation(env={"A": "a"}),
    ]

    assert compared(lambda _: b"x", lambda _: b"x", *asked) == [(COMPARED, ["one", "test"])] * 4


@pytest.mark.parametrize(
    ("head", "fields"),
    [
        (Outcome(b"y", b"", exited(0)), ["stdout"]),
        (Outcome(b"x", b"y", exited(1)), ["ending", "stderr"]),
        (Outcome(b"x", b"", trapped()), ["ending"]),
        (Outcome(b"", b"", host_failed("gone")), ["ending"]),
    ],
)
def test_what_has_changed(head: Outcome, fields: list[str]) -> None:
    """Every field that differs is named."""
    facts = compared(lambda _: head, lambda _: b"x", Invocation())

    assert facts == [
        (COMPARED, ["one", "test"]),
        *((CHANGED, ["one", f"test ({field})"]) for field in fields),
    ]


def test_what_varies_has_not_changed() -> None:
    """A guest that answers otherwise from run to run is not compared, and that is said."""
    numbers = itertools.count()

    assert compared(lambda _: b"%d" % next(numbers), lambda _: b"x", Invocation()) == [
        (VARYING, ["one", "test"])
    ]


def test_folders_are_copied(tmp_path: Path) -> None:
    """What the head leaves in a folder is not seen by the baseline, which gets a copy from before."""
    (tmp_path / "input").write_text("in")

    def leave(invocation: Invocation) -> bytes:
        folder = invocation.preopens["/"]
        seen = sorted(path.name for path in folder.iterdir())
        (folder / "left").write_text("here")
        return b" ".join(name.encode() for name in seen)

    asked = Invocation(preopens={"/": tmp_path})
    assert compared(leave, leave, asked) == [(COMPARED, ["one", "test"])]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["input", "left"]


def test_what_is_timed_is_the_head_alone() -> None:
    """A measurement goes past the comparison."""
    head = started(lambda _: b"x")

    assert head_of(ComparedHost(head, head, lambda: "", lambda *_: None)) is head
    assert head_of(head) is head
