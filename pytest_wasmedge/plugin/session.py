"""What one pytest run is about: puts selection, hosts, contract, cases and reference together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_wasmedge.artifacts.opening import BUILTIN_ARTIFACT, open_artifact
from pytest_wasmedge.artifacts.witness import witness_artifact
from pytest_wasmedge.drivers.pool import HostPool
from pytest_wasmedge.errors import CorpusError, ShortageError, WasmEdgeError, did_you_mean
from pytest_wasmedge.model import Artifact, Host, Invocation, Limits, Runtime, base_name
from pytest_wasmedge.plugin.held import Held
from pytest_wasmedge.plugin.options import GOLDEN, Options
from pytest_wasmedge.plugin.project import Project
from pytest_wasmedge.plugin.selection import Selection
from pytest_wasmedge.plugin.working import Working
from pytest_wasmedge.portability import bundled
from pytest_wasmedge.portability.corpus import SIDECAR, Case, load_corpus
from pytest_wasmedge.portability.language import RUBY
from pytest_wasmedge.portability.reference import Reference
from pytest_wasmedge.provision.cache import folder
from pytest_wasmedge.provision.versions import Resolver
from pytest_wasmedge.runtimes import DEFAULT

if TYPE_CHECKING:
    from pytest_wasmedge.portability.testsuite import Program


class WasmSession:
    """What the tests of one process share. Making it reads and starts nothing."""

    def __init__(
        self,
        options: Options,
        known: Mapping[str, Runtime],
        corpora: Sequence[Path] = (),
        *,
        contract_in: Path | None = None,
        resolver: Resolver | None = None,
        edges: Sequence[Runtime] = (),
        promised: Iterable[str] = (),
        project: Project | None = None,
        where: str = "",
        machines: bool = False,
    ) -> None:
        self.options = options
        #: The name of this machine if it runs tests for another one; whether the run is on several machines.
        self._where, self._machines = where, machines
        self.project = project or Project()
        #: The names of the runtimes that could run when this run began: one that is gone later is an error.
        self.promised = set(promised)
        #: What is known of the machine that latency is measured on, if it is another one.
        self.machine: Mapping[str, object] = {}
        self.selection = Selection(options, known, resolver, edges, self.project.groups)
        self.held = Held(options, self.selection.known, contract_in)
        self._pools: list[HostPool] = []
        #: What could not be read whole, for the closing lines.
        self.notes: list[str] = []
        self._narrow_pools: dict[tuple[str, Limits], HostPool] = {}
        self._corpora = tuple(corpora)
        self._speaks: bool | None = None

    @cached_property
    def artifact(self) -> Artifact:
        """The artifact under test. Raises ArtifactError."""
        # The path that a project gives is absolute.
        named = self.options.artifact or self.project.artifact or BUILTIN_ARTIFACT
        return open_artifact(named, self.options.started_in)

    @cached_property
    def baseline(self) -> Artifact | None:
        """The artifact of `--wasm-against`. Raises ArtifactError."""
        against = self.options.against
        return open_artifact(against, self.options.started_in) if against else None

    @cached_property
    def cases(self) -> tuple[Case, ...]:
        """All cases of the bundled corpus. Raises CorpusError."""
        return load_corpus(bundled.corpus(), orphans=bool(self.options.update_golden))

    @cached_property
    def given_roots(self) -> tuple[Path, ...]:
        """The folders of cases of the user: those of the command line, else of the project; those of hooks beside."""
        given = tuple(self.options.started_in / each for each in self.options.cases)
        here = Path.cwd()
        roots = (*(given or self.project.cases), *self._corpora)
        # For messages: a path from the current folder is easier to recognise.
        return tuple(each.relative_to(here) if each.is_relative_to(here) else each for each in roots)

    @cached_property
    def given_cases(self) -> tuple[Case, ...]:
        """All cases of the user: of folders, and of the corpora whose sources the artifact runs. Raises CorpusError."""
        orphans = bool(self.options.update_golden)
        found: dict[str, Case] = {}
        folders = [load_corpus(root, self.project.masks, orphans=orphans) for root in self.given_roots]
        foreign = [] if not self.options.corpus else self._foreign()
        for case in (case for cases in (*folders, *foreign) for case in cases):
            if (other := found.setdefault(case.name, case)) is not case:
                raise CorpusError(
                    f"{other.path} and {case.path} are both the case {case.name}; rename one of them."
                )
            for name in case.not_for:
                self._check_not_for(case, name)
        return tuple(found.values())

    def updates(self, case: Case) -> bool:
        """Return whether this run may write the golden file of the case, instead of comparing with it."""
        mode = "" if case.kind else self.options.update_golden
        return mode == "all" or mode == ("new" if case.golden is None else "changed")

    def _foreign(self) -> list[tuple[Case, ...]]:
        from pytest_wasmedge.portability import foreign, testsuite

        return [
            foreign.read(kind, self.options.started_in / path, self._reader, self.notes)
            for kind, path in map(foreign.split, self.options.corpus)
            if kind != testsuite.FORMAT
        ]

    def _reader(self) -> Host:
        """Return a host of the built-in artifact in this process, which reads corpora that are programs."""
        return self._reading_pool.acquire(self.selection.known[DEFAULT])

    @cached_property
    def _reading_pool(self) -> HostPool:
        return self._new_pool(open_artifact(BUILTIN_ARTIFACT, self.options.started_in))

    def _check_not_for(self, case: Case, name: str) -> None:
        known = self.selection.known
        if base_name(name) not in known:
            raise CorpusError(
                f"{case.path.with_suffix(SIDECAR)}: not_for names {name}, which is no runtime."
                f"{did_you_mean(name, known)} `pytest-wasmedge doctor` lists them."
            )

    @cached_property
    def programs(self) -> tuple[Program, ...]:
        """All programs of `--wasm-corpus`. Raises CorpusError."""
        if not self.options.corpus:
            return ()
        from pytest_wasmedge.portability import foreign, testsuite

        found: dict[str, Program] = {}
        for kind, path in map(foreign.split, self.options.corpus):
            if kind != testsuite.FORMAT:
                continue
            for program in testsuite.load_testsuite(self.options.started_in / path):
                if (other := found.setdefault(program.name, program)) is not program:
                    raise CorpusError(
                        f"{other.path} and {program.path} are both called {program.name}. "
                        "Give one --wasm-corpus with the folder above them."
                    )
        return tuple(found.values())

    @cached_property
    def pool(self) -> HostPool:
        """The started hosts."""
        return self._new_pool(self.artifact)

    @cached_property
    def baseline_pool(self) -> HostPool | None:
        """The started hosts that hold the baseline."""
        return self._new_pool(self.baseline) if self.baseline else None

    def witness_pool(self, limits: Limits | None = None) -> HostPool:
        """Return the started hosts that hold the witness, our own small guest, with limits of their own if given."""
        return self._narrow_pool(witness_artifact(folder("artifacts")), limits or Limits())

    def pool_with(self, limits: Limits) -> HostPool:
        """Return the started hosts that hold the artifact, with limits of their own."""
        return self._narrow_pool(self.artifact, limits)

    def _narrow_pool(self, artifact: Artifact, limits: Limits) -> HostPool:
        key = (artifact.sha256, limits)
        if key not in self._narrow_pools:
            self._narrow_pools[key] = self._new_pool(artifact, limits)
        return self._narrow_pools[key]

    def _new_pool(self, artifact: Artifact, limits: Limits | None = None) -> HostPool:
        self._pools.append(HostPool(artifact, limits, self._where))
        return self._pools[-1]

    @cached_property
    def working(self) -> Working:
        """What counts the work of the artifact and of the baseline."""
        table = self.held.contract.work if self.held.contract else None
        return Working(self.artifact, self.baseline, table)

    @contextmanager
    def paused(self, but: Host | None = None) -> Iterator[None]:
        """Keep all started hosts, or all but this one, from using the machine."""
        with ExitStack() as pauses:
            for pool in self._pools:
                pauses.enter_context(pool.paused(but))
            yield

    def close(self) -> None:
        """Close all started hosts."""
        with ExitStack() as closing:
            for pool in self._pools:
                closing.callback(pool.close)
            if "working" in self.__dict__:
                closing.callback(self.working.close)

    @property
    def available(self) -> list[Runtime]:
        """Those of the selected runtimes that can run here."""
        return [each for each in self.selection.selected if self.pool.availability(each).available]

    @cached_property
    def reference(self) -> Reference:
        """What outcomes are compared with. Raises WasmEdgeError for a name that is not one runtime."""
        name = self.options.reference or (GOLDEN if self.artifact.builtin else "")
        if name not in ("", GOLDEN):
            runtimes = self.selection.select(name)
            if len(runtimes) > 1:
                raise WasmEdgeError(
                    f"--wasm-reference={name} names {len(runtimes)} runtimes: name one, or golden."
                )
            return Reference(self.pool, runtimes[0], chosen=True)
        default = self.selection.known[DEFAULT]
        if self._machines:
            # The first one differs from machine to machine; the default runtime comes with us.
            return Reference(self.pool, default, golden=name == GOLDEN)
        # The first one that can run: under `all`, the first selected may be missing here.
        found = self.available or self.selection.selected
        # Beside golden files, which have cases only, and beside a runtime alone, which would agree with itself, the
        # default runtime answers.
        alone = len(found) == 1 and self.pool.availability(default).available
        return Reference(self.pool, default if alone or name == GOLDEN else found[0], golden=name == GOLDEN)

    def speaks_our_language(self, host: Host) -> bool:
        """True if the guest speaks the language that the cases are written in; asked once, at the first call.

        The built-in artifact does. Any other is asked on this host, then in this process: a broken host must not
        make the tests of a good artifact skip.
        """
        if self._speaks is None:
            # A yardstick runs no artifact, so its answer would be its own.
            asked = not host.runtime.yardstick and RUBY.is_spoken_by(host)
            self._speaks = self.artifact.builtin or asked or self._speaks_in_process()
        return self._speaks

    def _speaks_in_process(self) -> bool:
        try:
            return RUBY.is_spoken_by(self.pool.acquire(self.selection.known[DEFAULT]))
        except ShortageError:
            raise
        except WasmEdgeError:
            return False

    def smallest_invocation(self, host: Host) -> Invocation:
        """Return the smallest program that this guest can run, for latency."""
        return Invocation(RUBY.smallest if self.speaks_our_language(host) else b"")
