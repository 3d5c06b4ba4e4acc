"""The machines of one run, as its controller sees them: what they are sent, what they have, where latency is taken."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from pytest_wasmedge import __version__
from pytest_wasmedge.errors import WasmEdgeError
from pytest_wasmedge.model import Availability
from pytest_wasmedge.plugin.elsewhere import ASKS, Told, digest_of_cases
from pytest_wasmedge.plugin.session import WasmSession
from pytest_wasmedge.portability.excerpt import counted

#: What the workers of this machine are called, and their place.
HERE = "this machine"


class MachineError(WasmEdgeError):
    """A worker on another machine cannot take part; the text says which one, why, and what to do."""


class Machines:
    """What the workers of one run have told. ``begin`` starts the record, once all of them have told."""

    def __init__(self, session: WasmSession, rootdir: Path, begin: Callable[[], Any]) -> None:
        self._session, self._rootdir, self._begin = session, rootdir, begin
        self._files: dict[str, Path] = {}
        #: By the worker's id; those of this machine tell nothing.
        self._told: dict[str, Told] = {}
        #: What each machine had when the run began, by its --tx: one that comes back without is an error.
        self._had: dict[str, frozenset[str]] = {}
        #: What this machine has, if some of the workers are on it.
        self._here: dict[str, Availability] = {}
        #: The place where latency is taken, and how many runtimes the machine with the most has.
        self.measures_at, self.most = "", 0

    def send(self, node: Any) -> dict[str, Any]:
        """Return what a worker on another machine gets, a channel among it, on which it can ask and tells."""
        session = self._session
        files = {"artifact": session.artifact, "against": session.baseline}
        named = {
            option: (str(artifact.path), artifact.sha256)
            for option, artifact in files.items()
            if artifact is not None and not artifact.builtin
        }
        if (contract := session.held.contract) is not None:
            path = contract.path.absolute()
            named["contract"] = (str(path), hashlib.sha256(path.read_bytes()).hexdigest())
        self._files |= {digest: Path(path) for path, digest in named.values()}
        channel = node.gateway.newchannel()
        channel.setcallback(partial(self._hear, channel, node.gateway.id))
        started_in = os.path.relpath(session.options.started_in, self._rootdir)
        return {"channel": channel, "files": named, "started_in": started_in}

    def had(self, node: Any) -> list[str]:
        """Return the runtimes that the machine of this worker had when the run began; none before."""
        return sorted(self._had.get(str(node.gateway.spec), ()))

    @cached_property
    def _cases(self) -> str:
        return digest_of_cases(self._session)

    @property
    def begun(self) -> bool:
        """Whether all machines have told, and the run has begun."""
        return bool(self.measures_at)

    def _hear(self, channel: Any, worker: str, message: tuple[str, Any]) -> None:
        """Take a message of a worker; called in execnet's own thread."""
        kind, content = message
        if kind == ASKS:
            channel.send(self._files[content].read_bytes())
        else:
            self._told[worker] = Told.unpacked(content)

    def of(self, node: Any) -> Told | None:
        """Return what this worker has told; None for one of this machine."""
        return self._told.get(node.gateway.id)

    def has(self, node: Any, runtime: str) -> bool:
        """Return whether this worker can run a runtime, or could when the run began: then it has to."""
        had = self._had.get(str(node.gateway.spec), ())
        return runtime in had or self._runtimes(node)[runtime].available

    def takes(self, node: Any, runtime: str) -> bool:
        """Return whether this worker runs the tests of a runtime: it has it, or nobody has."""
        known = self._session.selection.known[runtime]
        return self.has(node, runtime) or not self._session.pool.availability(known).available

    def measures(self, node: Any) -> bool:
        """Return whether latency is taken where this worker is."""
        return self._place(node) == self.measures_at

    def richness(self, node: Any) -> int:
        """Return how many of the selected runtimes this worker has."""
        return sum(self.has(node, each.name) for each in self._session.selection.selected)

    def in_order(self, nodes: Iterable[Any]) -> list[Any]:
        """Return workers in the order of --tx, not in that in which they became ready."""
        return sorted(
            nodes, key=lambda node: [each.id for each in node.nodemanager.group].index(node.gateway.id)
        )

    def settle(self, nodes: Iterable[Any]) -> None:
        """Begin the run with what all workers have told. Raises WasmEdgeError if that is not enough to begin."""
        workers = self.in_order(nodes)
        for node in workers:
            self.check(node)
        first = next((each for each in workers if self.of(each) is None), workers[0])
        self.measures_at = self._place(first)
        self._had = {
            str(node.gateway.spec): frozenset(name for name, each in told.runtimes.items() if each.available)
            for node in workers
            if (told := self.of(node)) is not None
        }
        self._merge(workers)
        self.most = max(map(self.richness, workers))
        from pytest_wasmedge.plugin.concluding import check_runtimes

        check_runtimes(self._session)
        if told := self.of(first):
            self._session.machine = told.machine
        record = self._begin()
        record.closing += [(line, "plain") for line in self._lines(workers)]

    def check(self, node: Any) -> None:
        """Raise MachineError if this worker cannot take part."""
        if node.gateway.spec.popen:
            return
        told, session = self.of(node), self._session
        if told is None or told.version != __version__:
            there = f"version {told.version}" if told else "another version"
            where = told.name if told else node.gateway.id
            raise MachineError(f"{where} has {there} of pytest-wasmedge: install {__version__} there.")
        if told.error:
            raise MachineError(f"{told.name}: {told.error}")
        if told.artifact != session.artifact.sha256:
            raise MachineError(
                f"{told.name} has another {session.artifact.name}, sha256 {told.artifact[:16]} instead of "
                f"{session.artifact.sha256[:16]}: install the same pytest-wasmedge there."
            )
        if told.cases != self._cases:
            raise MachineError(f"{told.name} has other cases than this machine: bring the same ones there.")
        reference = session.reference.runtime.name
        if not told.runtimes[reference].available:
            raise MachineError(
                f"{told.name} lacks {reference}, which outcomes are compared with: install it there."
            )

    def _merge(self, workers: list[Any]) -> None:
        """Let the run's runtimes be those of all its machines."""
        session = self._session
        needed = dict.fromkeys([*session.selection.selected, session.reference.runtime])
        if any(self.of(node) is None for node in workers):
            self._here = {each.name: session.pool.availability(each) for each in needed}
        for runtime in needed:
            found = [self._runtimes(node)[runtime.name] for node in workers]
            able = [each for each in found if each.available]
            reasons = "; ".join(dict.fromkeys(each.reason for each in found))
            session.pool.know(runtime, able[0] if able else replace(found[0], reason=reasons))

    def _lines(self, workers: list[Any]) -> Iterator[str]:
        """Yield what people should know of the machines."""
        measuring = any(told.measuring for told in self._told.values())
        by_place: dict[str, list[Any]] = {}
        for node in workers:
            by_place.setdefault(self._place(node), []).append(node)
        for place, some in by_place.items():
            has = [each.name for each in self._session.selection.selected if self.has(some[0], each.name)]
            measures = "; latency was measured here alone" if measuring and place == self.measures_at else ""
            workers_here = counted(len(some), "worker")
            yield f"{self._name(some[0])}, {workers_here}: {', '.join(has) or 'no runtime'}{measures}"
        richest = next(node for node in workers if self.richness(node) == self.most)
        lacking = [each.name for each in self._session.available if not self.has(richest, each.name)]
        if lacking and any(told.together for told in self._told.values()):
            yield f"tests of several runtimes at once ran where most of them are: without {', '.join(lacking)}"
        for name, versions in self._versions(workers).items():
            told = ", ".join(f"{version} on {' and '.join(names)}" for version, names in versions.items())
            if len(versions) > 1:
                yield f"{name} has several versions, and one row: {told}"

    def _versions(self, workers: list[Any]) -> Mapping[str, Mapping[str, list[str]]]:
        found: dict[str, dict[str, list[str]]] = {}
        for runtime in self._session.selection.selected:
            for node in workers:
                each = self._runtimes(node)[runtime.name]
                if each.available:
                    names = found.setdefault(runtime.name, {}).setdefault(each.version, [])
                    names += [] if self._name(node) in names else [self._name(node)]
        return found

    def _runtimes(self, node: Any) -> Mapping[str, Availability]:
        told = self.of(node)
        return told.runtimes if told else self._here

    def _name(self, node: Any) -> str:
        told = self.of(node)
        return told.name if told else HERE

    def _place(self, node: Any) -> str:
        told = self.of(node)
        return told.place if told else HERE
