"""Corpora of others, read where they lie: ``--wasm-corpus=KIND:PATH``.

Their cases have no golden files of ours: all runtimes must agree. What a corpus declares of its outcomes is a question
to the artifact, not to its hosts; only `in-out` is held against it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from pytest_wasmedge.errors import CorpusError, did_you_mean
from pytest_wasmedge.model import Host, Outcome, exited
from pytest_wasmedge.portability import bootstraptest, testsuite
from pytest_wasmedge.portability.corpus import Case


def split(spec: str) -> tuple[str, str]:
    """Return kind and path of ``KIND:PATH``. Raises CorpusError."""
    kind, _, path = spec.partition(":")
    kinds = (testsuite.FORMAT, *_KINDS)
    if kind not in kinds or not path:
        hint = did_you_mean(kind, kinds) if kind not in kinds else ""
        raise CorpusError(
            f"--wasm-corpus={spec}: give kind and folder, such as {testsuite.FORMAT}:PATH.{hint} "
            f"Kinds: {', '.join(kinds)}."
        )
    return kind, path


def read(kind: str, root: Path, reader: Callable[[], Host], notes: list[str]) -> tuple[Case, ...]:
    """Return the cases of a corpus of this kind, whose name their names begin with; ``reader`` starts a host of the
    built-in artifact, for corpora that are programs. What could not be read whole is added to ``notes``.

    Raises CorpusError for a folder without any case.
    """
    cases = tuple(_KINDS[kind](root, reader, notes))
    if not cases:
        what = f"holds none of its cases: {_HOLDS[kind]}" if root.is_dir() else "is not a folder"
        read = "".join(f" {note}." for note in notes)
        raise CorpusError(f"--wasm-corpus={kind}:{root} {what}.{read} Correct the path.")
    return cases


def _in_out(root: Path, _reader: object, _notes: object) -> Iterator[Case]:
    """Yield ``NAME.in`` with ``NAME.out``, and ``NAME.err`` if there is one."""
    for path in sorted(root.rglob("*.in")):
        out, err = path.with_suffix(".out"), path.with_suffix(".err")
        if not out.exists():
            raise CorpusError(f"{path} has no {out.name} beside it. Write it, or move the file away.")
        expected = Outcome(out.read_bytes(), err.read_bytes() if err.exists() else b"", exited(0))
        name = path.relative_to(root).with_suffix("").as_posix()
        compared = {"stdout", "ending", *(["stderr"] if err.exists() else [])}
        yield Case(
            f"in-out/{name}",
            path,
            path.read_bytes(),
            compared=frozenset(compared),  # type: ignore[arg-type]
            golden=expected,
            kind="in-out",
        )


_KINDS: Mapping[str, Callable[[Path, Callable[[], Host], list[str]], Iterator[Case]]] = {
    "in-out": _in_out,
    "bootstraptest": bootstraptest.bootstraptest,
    "prism-errors": bootstraptest.prism_errors,
}
_HOLDS = {
    "in-out": "NAME.in with NAME.out beside it",
    "bootstraptest": "the sources of its tests, test_*",
    "prism-errors": "*.txt",
}
