"""What one pytest run is about: the artifact, the runtimes it is started on, what they are held against."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_wasmedge.artifacts.opening import open_artifact
from pytest_wasmedge.drivers.pool import HostPool, explain
from pytest_wasmedge.errors import CorpusError, RuntimeUnavailableError, WasmEdgeError
from pytest_wasmedge.model import Artifact, Host, Invocation, Limits, Runtime, base_name
from pytest_wasmedge.plugin.options import CONTRACT, GOLDEN, Options
from pytest_wasmedge.portability import bundled
from pytest_wasmedge.portability.corpus import Case
from pytest_wasmedge.portability.reference import Reference
from pytest_wasmedge.provision.versions import Resolver, newest
from pytest_wasmedge.reports.record import RunRecord
from pytest_wasmedge.runtimes import DEFAULT, select

if TYPE_CHECKING:
    from pytest_wasmedge.contract import Contract, Known
    from pytest_wasmedge.latency.units import Limit
    from pytest_wasmedge.portability.testsuite import Program


class WasmSession:
    """Holds what the tests of one process share; everything in it is made when first asked for."""

    def __init__(
        self,
        options: Options,
        known: Mapping[str, Runtime],
        corpora: Sequence[Path] = (),
        *,
        contract_in: Path | None = None,
        resolver: Resolver | None = None,
    ) -> None:
        self.options = options
        #: By name; a version of one is added when it is selected.
        self.known = dict(known)
        self.resolver = resolver or Resolver()
        self._contract_in = contract_in
        self._speaks_ruby: bool | None = None
        self._corpora = (bundled.ruby_corpus(), *corpora)

    @cached_property
    def selected(self) -> list[Runtime]:
        """The runtimes that `host` stands for, exact versions installed. Raises WasmEdgeError."""
        if self.options.runtimes:
            return self._select(self.options.runtimes)
        return [each for each in self.known.values() if each.name == DEFAULT or each.deployed]

    @property
    def available(self) -> list[Runtime]:
        """Those of the selected that can run here."""
        return [runtime for runtime in self.selected if self.pool.availability(runtime).available]

    def marked(self, names: Sequence[str]) -> list[Runtime]:
        """Return those of the selected that a test's mark means. Raises UnknownRuntimeError.

        A name means every version of it that is selected, ``deno@2.7`` those that begin so. A mark installs nothing.
        """
        _ = select(",".join(name if name in self.known else base_name(name) for name in names), self.known)
        return [runtime for runtime in self.selected if any(_means(name, runtime) for name in names)]

    def _select(self, spec: str) -> list[Runtime]:
        found = select(spec, self.known, self.resolver)
        self.known |= {runtime.name: runtime for runtime in found}
        return found

    @cached_property
    def artifact(self) -> Artifact:
        """The artifact under test. Raises ArtifactError."""
        return open_artifact(self.options.artifact, self.options.started_in)

    @cached_property
    def pool(self) -> HostPool:
        """The started hosts."""
        return HostPool(self.artifact)

    @cached_property
    def baseline(self) -> Artifact | None:
        """The artifact that this one is compared with. Raises ArtifactError."""
        if not self.options.against:
            return None
        return open_artifact(self.options.against, self.options.started_in)

    @cached_property
    def baseline_pool(self) -> HostPool | None:
        """The started hosts that hold the baseline."""
        return HostPool(self.baseline) if self.baseline else None

    @cached_property
    def contract_path(self) -> Path | None:
        """The contract's file, which `--wasm-update-contract` may yet have to write; None if there is none."""
        if self.options.contract:
            path = self.options.started_in / self.options.contract
        elif self._contract_in is not None:
            path = self._contract_in / CONTRACT
            if not path.exists() and not self.options.update_contract:
                return None
        else:
            return None
        # Messages name it; people know it by its path from where they are.
        return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path

    @cached_property
    def contract(self) -> Contract | None:
        """The contract; None if there is none. Raises ContractError."""
        from pytest_wasmedge.contract import load_contract

        if self.contract_path is None or (self.options.update_contract and not self.contract_path.exists()):
            return None
        contract = load_contract(self.contract_path)
        contract.check_runtimes(self.known)
        return contract

    def ceiling(self, runtime: Runtime, kind: str) -> Limit | None:
        """Return the contract's ceiling of this kind; None if it has none, or is about to be written anew."""
        if self.contract is None or self.options.update_contract:
            return None
        found = self.contract.ceiling(runtime.name, kind)
        return found.limit if found else None

    def compiling_ceiling(self, runtime: Runtime) -> Limit | None:
        """Return the ceiling of a start that compiles first, where that is another one; "*" means nobody here.

        Such starts take up to half a minute each: they are measured for those who asked by name.
        """
        if self.contract is None or runtime.cache_state == "no-cache":
            return None
        found = self.contract.ceiling(runtime.name, "cold/no-cache")
        return found.limit if found and found.runtime in (runtime.name, base_name(runtime.name)) else None

    def known_divergences(self, case: str, runtimes: Sequence[str], fields: Collection[str]) -> list[Known]:
        """Return the contract's entries that know any of these fields to diverge, on a test's one runtime."""
        if self.contract is None or not fields or len(runtimes) != 1:
            return []
        version = self.pool.availability(self.known[runtimes[0]]).version
        found = self.contract.known_for(case, runtimes[0], version)
        return [known for known in found if any(known.excuses(field) for field in fields)]

    def take_asked(self) -> set[str]:
        """Return the cases that a test asked the reference for, and forget them: the next test has its own."""
        if "reference" not in vars(self):
            return set()
        asked, self.reference.asked = self.reference.asked, set()
        return asked

    @contextmanager
    def paused(self, but: Host | None = None) -> Iterator[None]:
        """Keep every host that was started, or all but this one, from using the machine."""
        with ExitStack() as pauses:
            for pool in self._pools():
                pauses.enter_context(pool.paused(but))
            yield

    def close(self) -> None:
        """Close every host that was started."""
        with ExitStack() as closing:
            for pool in self._pools():
                closing.callback(pool.close)

    def _pools(self) -> list[HostPool]:
        # Those that somebody asked for.
        return [vars(self)[name] for name in ("pool", "baseline_pool") if vars(self).get(name)]

    @cached_property
    def cases(self) -> tuple[Case, ...]:
        """All cases of all corpora. Raises CorpusError."""
        from pytest_wasmedge.portability.corpus import load_corpus

        return tuple(case for root in self._corpora for case in load_corpus(root))

    @cached_property
    def programs(self) -> tuple[Program, ...]:
        """All programs of ``--wasm-corpus``. Raises CorpusError."""
        from pytest_wasmedge.portability.testsuite import read_corpus

        found = [
            program for spec in self.options.corpora for program in read_corpus(spec, self.options.started_in)
        ]
        paths: dict[str, Path] = {}
        for program in found:
            if program.name in paths:
                raise CorpusError(
                    f"{paths[program.name]} and {program.path} are both called {program.name}. "
                    "Give one --wasm-corpus with the folder above them."
                )
            paths[program.name] = program.path
        return tuple(found)

    @contextmanager
    def program_host(self, program: Program, runtime: Runtime) -> Iterator[Host]:
        """Start a host of a program for one test, and keep nothing of it: the compiled artifact needs the room.

        Raises RuntimeUnavailableError, ArtifactError or HostStartError.
        """
        from pytest_wasmedge.artifacts.loading import load_artifact

        availability = self.pool.availability(runtime)
        if not availability.available:
            raise RuntimeUnavailableError(explain(runtime, availability))
        artifact = load_artifact(program.path, name=program.short_name)
        kept = runtime.kept_code(artifact)
        had_code = kept is not None and kept.exists()
        try:
            with runtime.start(artifact, Limits()) as host:
                artifact.verify()
                yield host
        finally:
            if kept is not None and not had_code:
                kept.unlink(missing_ok=True)

    @cached_property
    def reference(self) -> Reference:
        """What outcomes are held against. Raises WasmEdgeError for a name that is not one runtime."""
        name = self.options.reference or (GOLDEN if self.artifact.builtin else "")
        if name not in ("", GOLDEN):
            runtimes = self._select(name)
            if len(runtimes) > 1:
                raise WasmEdgeError(
                    f"--wasm-reference={name} names {len(runtimes)} runtimes: name one, or golden."
                )
            return Reference(self.pool, runtimes[0])
        # The first one that can run: under `all`, the first selected may be missing here.
        found = self.available or self.selected
        # What no golden file tells is asked of a runtime: the usual one, wherever it stands in the list.
        usual = [runtime for runtime in found if runtime.name == DEFAULT and name == GOLDEN]
        return Reference(self.pool, [*usual, *found][0], golden=name == GOLDEN)

    def speaks_ruby(self, host: Host) -> bool:
        """True if the guest answers ``puts 1+1`` with 2, here or else in process.

        The second is asked so that a broken host cannot make a Ruby artifact look like something else, and
        its tests skip; of the built-in artifact it is known.
        """
        if self._speaks_ruby is None:
            # A yardstick answers for itself, whatever the artifact is.
            asked = not host.runtime.yardstick and _answers_ruby(host)
            self._speaks_ruby = self.artifact.builtin or asked or self._answers_in_process()
        return self._speaks_ruby

    def _answers_in_process(self) -> bool:
        try:
            return _answers_ruby(self.pool.acquire(self.known[DEFAULT]))
        except WasmEdgeError:
            return False

    def smallest_invocation(self, host: Host) -> Invocation:
        """Return the least that this guest can be asked, for latency."""
        return Invocation(b"puts 1+1\n" if self.speaks_ruby(host) else b"")

    def check(self) -> None:
        """Find out before any test runs what the command line asks and cannot have. Raises WasmEdgeError."""
        _ = self.contract, self.baseline, self.programs
        required = self._select(self.options.require) if self.options.require else []
        named = self._named()
        if self.options.reference not in ("", GOLDEN):
            named.append(self.reference.runtime)
        missing = [
            explain(runtime, availability)
            for runtime in dict.fromkeys([*named, *required])
            if not (availability := self.pool.availability(runtime)).available
        ]
        if missing:
            raise RuntimeUnavailableError("cannot run here, but asked for:\n  " + "\n  ".join(missing))
        not_selected = [runtime.name for runtime in required if runtime not in self.selected]
        if not_selected and self.options.require != "all":
            raise WasmEdgeError(
                f"--wasm-require names {', '.join(not_selected)}, which --runtimes does not select: "
                "it would not be run. Add it to --runtimes."
            )
        if self.options.update_golden and (len(self.selected) != 1 or not self.artifact.builtin):
            raise WasmEdgeError(
                "--wasm-update-golden writes the outcomes of one runtime with the built-in artifact: "
                "give --runtimes with one name and no --wasm-artifact."
            )

    def _named(self) -> list[Runtime]:
        """Return those of the selected that were asked for by name: all, unless ``all`` is among the names."""
        names = [name.strip() for name in self.options.runtimes.split(",")]
        if "all" not in names:
            return list(self.selected)
        spec = ",".join(name for name in names if name not in ("", "all"))
        return self._select(spec) if spec else []

    def record(self) -> RunRecord:
        """Return a new record that lists the selected runtimes."""
        record = RunRecord(self.artifact, str(self.reference), self.baseline)
        for runtime in self.selected:
            record.add_runtime(runtime, self.pool.availability(runtime))
        record.closing += [(line, "warn") for line in map(_unverified, self.available) if line]
        record.closing += [(note, "warn") for note in self.resolver.notes]
        return record

    def conclude(self, record: RunRecord, new: Mapping[tuple[str, str], Collection[str]]) -> None:
        """Hold the whole run against the contract, or write the contract. Raises ContractError.

        ``new`` are the fields in which a (case, runtime) diverges that no entry of the contract excuses.
        """
        from pytest_wasmedge.contract import conclusions

        if self.contract is not None:
            conclusions.find_stale(record, self.contract, (*self.cases, *self.programs))
        if self.options.update_contract and self.contract_path is not None:
            # A deployed edge is of one run: a contract that names it cannot be read by the others.
            lasting = {
                (case, name): fields
                for (case, name), fields in new.items()
                if name in record.runtimes and not self.known[name].deployed
            }
            drafts = conclusions.drafts(record, self.contract, lasting)
            conclusions.write_contract(record, self.contract_path, drafts)


def add_remotes(known: Mapping[str, Runtime], options: Options) -> dict[str, Runtime]:
    """Return the runtimes with the deployed edges of the command line added. Raises WasmEdgeError."""
    if not options.remote:
        return dict(known)
    from pytest_wasmedge.runtimes.remote import DEFAULT_HEADER, remotes

    found = remotes(options.remote, invocation_header=options.remote_header or DEFAULT_HEADER, taken=known)
    return dict(known) | {runtime.name: runtime for runtime in found}


def _means(name: str, runtime: Runtime) -> bool:
    """True if this name in a mark means this runtime."""
    base, _, version = name.partition("@")
    if name in ("all", runtime.name):
        return True
    return base == base_name(runtime.name) and (not version or newest(version, [runtime.version]) is not None)


def _unverified(runtime: Runtime) -> str:
    """Return one line on a deployed edge that does not tell which artifact it holds; empty for all others."""
    if not runtime.deployed:
        return ""
    from pytest_wasmedge.runtimes.remote import Remote

    missing = runtime.cannot_check() if isinstance(runtime, Remote) else ""
    return f"{runtime.name}: {missing}" if missing else ""


def _answers_ruby(host: Host) -> bool:
    outcome = host.run("puts 1+1\n")
    return outcome.ending.ok and outcome.stdout.split() == [b"2"]
