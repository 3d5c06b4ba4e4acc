"""What one pytest run is about: puts selection, hosts, contract, corpora and reference together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path

from pytest_wasmedge.artifacts.opening import open_artifact
from pytest_wasmedge.drivers.pool import HostPool
from pytest_wasmedge.errors import WasmEdgeError
from pytest_wasmedge.model import Artifact, Host, Invocation, Runtime
from pytest_wasmedge.plugin.command_line import GOLDEN, Options
from pytest_wasmedge.plugin.corpora import Corpora
from pytest_wasmedge.plugin.held import Held
from pytest_wasmedge.plugin.hosts import Pools
from pytest_wasmedge.plugin.selection import Selection
from pytest_wasmedge.portability.language import RUBY
from pytest_wasmedge.portability.reference import Reference
from pytest_wasmedge.provision.versions import Resolver
from pytest_wasmedge.runtimes import DEFAULT


class WasmSession:
    """What the tests of one process share, each part an object of its own; nothing is read or started by making it."""

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
    ) -> None:
        self.options = options
        #: The names of the runtimes that could run when this run began: one that is gone later is an error.
        self.promised = set(promised)
        self.selection = Selection(options, known, resolver, edges)
        self.held = Held(options, self.selection.known, contract_in)
        self.corpora = Corpora(options, corpora)
        self.pools = Pools()
        self._speaks: bool | None = None

    @cached_property
    def artifact(self) -> Artifact:
        """The artifact under test. Raises ArtifactError."""
        return open_artifact(self.options.artifact, self.options.started_in)

    @cached_property
    def baseline(self) -> Artifact | None:
        """The artifact that this one is compared with. Raises ArtifactError."""
        if not self.options.against:
            return None
        return open_artifact(self.options.against, self.options.started_in)

    @cached_property
    def pool(self) -> HostPool:
        """The started hosts."""
        return self.pools.make(self.artifact)

    @cached_property
    def baseline_pool(self) -> HostPool | None:
        """The started hosts that hold the baseline."""
        return self.pools.make(self.baseline) if self.baseline else None

    @property
    def available(self) -> list[Runtime]:
        """Those of the selected runtimes that can run here."""
        return [each for each in self.selection.selected if self.pool.availability(each).available]

    @cached_property
    def reference(self) -> Reference:
        """What outcomes are held against. Raises WasmEdgeError for a name that is not one runtime."""
        name = self.options.reference or (GOLDEN if self.artifact.builtin else "")
        if name not in ("", GOLDEN):
            runtimes = self.selection.select(name)
            if len(runtimes) > 1:
                raise WasmEdgeError(
                    f"--wasm-reference={name} names {len(runtimes)} runtimes: name one, or golden."
                )
            return Reference(self.pool, runtimes[0])
        # The first one that can run: under `all`, the first selected may be missing here.
        found = self.available or self.selection.selected
        # What no golden file tells is asked of a runtime: the usual one, wherever it stands in the list.
        usual = [runtime for runtime in found if runtime.name == DEFAULT and name == GOLDEN]
        return Reference(self.pool, [*usual, *found][0], golden=name == GOLDEN)

    def speaks_our_language(self, host: Host) -> bool:
        """True if the guest speaks the language that the cases are written in, here or else in process.

        It is asked in process too, so that a broken host cannot make the artifact look like something else, and its
        tests skip. Of the built-in artifact the answer is known.
        """
        if self._speaks is None:
            # A yardstick answers for itself, whatever the artifact is.
            asked = not host.runtime.yardstick and RUBY.is_spoken_by(host)
            self._speaks = self.artifact.builtin or asked or self._answers_in_process()
        return self._speaks

    def _answers_in_process(self) -> bool:
        try:
            return RUBY.is_spoken_by(self.pool.acquire(self.selection.known[DEFAULT]))
        except WasmEdgeError:
            return False

    def smallest_invocation(self, host: Host) -> Invocation:
        """Return the least that this guest can be asked, for latency."""
        return Invocation(RUBY.smallest if self.speaks_our_language(host) else b"")


def remotes(known: Mapping[str, Runtime], options: Options) -> list[Runtime]:
    """Return the deployed edges of the command line. Raises WasmEdgeError."""
    if not options.remote:
        return []
    from pytest_wasmedge.runtimes.remote import DEFAULT_HEADER
    from pytest_wasmedge.runtimes.remote import remotes as make

    return list(make(options.remote, invocation_header=options.remote_header or DEFAULT_HEADER, taken=known))
