"""What one pytest run measures, and by which rules: puts samplers, journal, seed and floor together."""

from __future__ import annotations

import itertools
import random
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, cached_property
from pathlib import Path

from pytest_wasmedge.artifacts.floor import floor_artifact
from pytest_wasmedge.errors import LatencyError, UnsupportedError
from pytest_wasmedge.latency.gate import Rules
from pytest_wasmedge.latency.journal import Journal, in_folder
from pytest_wasmedge.latency.measurement import Finding, Measurement, against
from pytest_wasmedge.latency.sampling import Answer, Sample, StartState, cold_once, refresh_code, warm_once
from pytest_wasmedge.latency.usage import density
from pytest_wasmedge.model import Artifact, Host, Invocation, Outcome
from pytest_wasmedge.plugin.compared import head_of
from pytest_wasmedge.plugin.session import WasmSession
from pytest_wasmedge.portability import bundled
from pytest_wasmedge.portability.language import RUBY
from pytest_wasmedge.provision.cache import folder

#: Samples taken before anything is judged: enough for an interval. A ceiling takes as many more as it needs.
COLD_SAMPLES, WARM_SAMPLES, FLOOR_SAMPLES = 12, 20, 12
#: How many answers of a deployed edge are looked through for a cold one.
_EDGE_ATTEMPTS = 30
_WORKLOAD_S = 300.0


def _let_through(error: UnsupportedError) -> None:
    """Do nothing about it: it is raised."""


class Measuring:
    """Makes the measurements of one run; each sample is in the journal before the next one is taken.

    ``samples_folder`` of None means that no journal is kept unless the command line names one. ``refuse`` is called
    with the reason where a host does not have what is to be measured.
    """

    def __init__(
        self,
        session: WasmSession,
        run: str,
        seed: int,
        samples_folder: Path | None,
        refuse: Callable[[UnsupportedError], None] = _let_through,
    ) -> None:
        self._session = session
        self._run, self.seed = run, seed
        self._rng = random.Random(seed)
        self._folder, self._refuse = samples_folder, refuse
        #: By runtime and cache state: those that a ceiling was held against serve as the floor's own measurement.
        self._floors: dict[tuple[str, StartState], list[Sample]] = {}

    @cached_property
    def rules(self) -> Rules:
        """The error rates, divided over the runtimes of this run."""
        options = self._session.options
        rules = Rules(margin=options.margin, budget_s=options.latency_budget_s)
        return rules.for_family(max(1, len(self._session.selection.selected)))

    @cached_property
    def _journal(self) -> Journal | None:
        options = self._session.options
        if options.samples:
            return Journal(options.started_in / options.samples, self._run, self.seed)
        return in_folder(self._folder, self._run, self.seed) if self._folder else None

    @cached_property
    def _floor(self) -> Artifact:
        return floor_artifact(folder("artifacts"))

    def cold(self, host: Host, state: StartState | None = None, first: int = COLD_SAMPLES) -> Measurement:
        """Return cold starts of the artifact on this host's runtime, in its own cache state or the given one.

        Every start has to give the answer that the host gives twice before.

        A deployed edge starts when it likes: those invocations count that were an isolate's first. Raises
        UnsupportedError where there is no such start.
        """
        host = head_of(host)
        if host.runtime.deployed:
            if state is not None:
                raise UnsupportedError(
                    f"{host.runtime.name} is deployed: what it keeps cannot be taken from it."
                )
            draw_edge = self._edge(host, lambda: self._session.smallest_invocation(host), "edge/cold")
            return self._measurement(host, "edge/cold", draw_edge, 1)

        # The first start is weighed, if its host cannot tell its peak otherwise.
        weighing = itertools.chain([True], itertools.repeat(False))

        @cache
        def ready() -> tuple[Invocation, Answer]:
            invocation = self._session.smallest_invocation(host)
            answer = _answer_of(host, invocation)
            refresh_code(host.runtime, host.artifact)
            return invocation, answer

        def draw() -> Sample:
            invocation, answer = ready()
            with self._session.pools.paused():
                sample = cold_once(
                    host.runtime,
                    host.artifact,
                    host.limits,
                    invocation,
                    state,
                    weigh=next(weighing),
                    answer=answer,
                )
            return self._kept(host, sample)

        kind = f"cold/{state or host.runtime.cache_state}"
        return self._measurement(host, kind, draw, first, draw_floor=lambda: self._draw_floor(host, state))

    def floor(self, host: Host, first: int = FLOOR_SAMPLES) -> Measurement:
        """Return cold starts of the artifact that does nothing: the runtime's own cost. Raises UnsupportedError.

        Those that this run took already, to hold a ceiling against, are among them.
        """
        self._check_startable(host)
        state = host.runtime.cache_state
        earlier = self._floors_of(host, state)
        return self._measurement(
            host, f"floor/{state}", lambda: self._draw_floor(host), first, earlier=earlier
        )

    def warm(self, host: Host, workload: str = "tiny", first: int = WARM_SAMPLES) -> Measurement:
        """Return invocations of a host that already served one. Raises LatencyError for an unknown workload."""
        host = head_of(host)
        # How long it takes is measured, not limited: an interpreter takes as long as a host may for anything.
        timeout_s = max(host.limits.timeout_s, _WORKLOAD_S)
        program = None if workload == "tiny" else Invocation(_workload(workload), timeout_s=timeout_s)

        if host.runtime.deployed:
            probed = _probed(host)
            kind = "edge/warm" if probed is None or probed.invocation else "edge/unknown"
            edge_ready = cache(lambda: program or self._session.smallest_invocation(host))
            return self._measurement(host, kind, self._edge(host, edge_ready, kind), first)

        @cache
        def ready() -> tuple[Invocation, Answer]:
            smallest = self._session.smallest_invocation(host)
            answer = _answer_of(host, smallest)
            return (program, Answer()) if program else (smallest, answer)

        def draw() -> Sample:
            invocation, answer = ready()
            with self._session.pools.paused(but=host):
                return self._kept(host, warm_once(host, invocation, f"warm/{workload}", answer))

        return self._measurement(host, f"warm/{workload}", draw, first)

    def against(self, host: Host, baseline: Artifact) -> tuple[Finding, bool]:
        """Hold cold starts of the artifact against those of the baseline; true if the two answer the same.

        Raises UnsupportedError, and HostStartError for a start of either that does not give that artifact's answer.
        """
        self._check_startable(host)
        host = head_of(host)
        invocation = self._session.smallest_invocation(host)
        answer = _answer_of(host, invocation)
        # A baseline that speaks our language has to give the same answer; any other program may give its own.
        speaks = self._session.speaks_our_language(host)
        answers = {baseline.sha256: Answer(answer.stdout if speaks else None, answer.varies)}
        answers[host.artifact.sha256] = answer

        with tempfile.TemporaryDirectory(prefix="pytest-wasmedge-") as scratch:
            # Copies of one age, since that of a file shows in how fast it is read.
            base, head = (_copied(each, Path(scratch)) for each in (baseline, host.artifact))

            def start(artifact: Artifact) -> Sample:
                expected = answers[artifact.sha256]
                return cold_once(host.runtime, artifact, host.limits, invocation, answer=expected)

            def draw(artifact: Artifact) -> Sample:
                with self._session.pools.paused():
                    return self._kept(host, start(artifact))

            for artifact in (base, head):
                # One start each, unmeasured, so that code is kept of both, and of one age.
                start(artifact)
                refresh_code(host.runtime, artifact)
            finding = against(lambda: draw(base), lambda: draw(head), rules=self.rules, rng=self._rng)
        same = answer.varies or answers[baseline.sha256].stdout == answer.stdout
        return finding if same else replace(
            finding, sentence=f"{finding.sentence}; they answer differently"
        ), same

    def density_bytes(self, host: Host) -> int | None:
        """Return what one more live guest costs in memory; None where only one can live at once."""
        if not self._session.speaks_our_language(host):
            return None
        host = head_of(host)
        with self._session.pools.paused(but=host):
            return density(host, Invocation(RUBY.alive))

    def _draw_floor(self, host: Host, state: StartState | None = None) -> Sample:
        """Take one start of the artifact that does nothing, after one that does not count."""

        def draw() -> Sample:
            with self._session.pools.paused():
                return cold_once(host.runtime, self._floor, host.limits, Invocation(), state, name="floor")

        taken = self._floors_of(host, state or host.runtime.cache_state)
        if not taken:
            draw()  # compiles it, where code is kept
        taken.append(self._kept(host, draw()))
        return taken[-1]

    def _floors_of(self, host: Host, state: StartState) -> list[Sample]:
        return self._floors.setdefault((host.runtime.name, state), [])

    def _edge(self, host: Host, ready: Callable[[], Invocation], wanted: str) -> Callable[[], Sample]:
        """Return what invokes a deployed edge until it answers as wanted, by its count of invocations."""
        from pytest_wasmedge.runtimes.remote import kind_of

        # The probe may have been the first invocation of its isolate, and the only one for a long time.
        earlier = [probed] if (probed := _probed(host)) is not None else []

        def draw() -> Sample:
            invocation = ready()
            for _ in range(_EDGE_ATTEMPTS):
                if earlier:
                    outcome = earlier.pop()
                    sample = Sample(
                        host.runtime.name, "", outcome.timings.elapsed_ns, invocation=outcome.invocation
                    )
                else:
                    sample = warm_once(host, invocation)
                sample = self._kept(host, replace(sample, kind=kind_of(sample.invocation)))
                if sample.kind == wanted:
                    return sample
            raise UnsupportedError(
                f"{host.runtime.name} gave no {wanted} among {_EDGE_ATTEMPTS} invocations: cold and warm are told "
                "by its count of invocations (--wasm-remote-header), never by guess. Deploy it anew, or wait "
                "until its isolates are gone."
            )

        return draw

    def _check_startable(self, host: Host) -> None:
        if host.runtime.deployed:
            raise UnsupportedError(f"{host.runtime.name} is deployed: we do not start it.")

    def _measurement(
        self,
        host: Host,
        kind: str,
        draw: Callable[[], Sample],
        first: int,
        *,
        earlier: Sequence[Sample] = (),
        draw_floor: Callable[[], Sample] | None = None,
    ) -> Measurement:
        def draw_or_refuse() -> Sample:
            try:
                return draw()
            except UnsupportedError as error:
                self._refuse(error)
                raise

        return Measurement(
            host.runtime.name,
            kind,
            draw_or_refuse,
            first,
            rules=self.rules,
            rng=self._rng,
            earlier=earlier,
            draw_floor=draw_floor,
            strict=self._session.options.strict_latency,
        )

    def _kept(self, host: Host, sample: Sample) -> Sample:
        if self._journal:
            version = self._session.pool.availability(host.runtime).version
            self._journal.add(sample, runtime_version=version)
        return sample


def _workload(name: str) -> bytes:
    path = bundled.workloads() / f"{name}{RUBY.suffix}"
    if not path.exists():
        there = ", ".join(sorted(path.stem for path in bundled.workloads().glob(f"*{RUBY.suffix}")))
        raise LatencyError(f"there is no workload {name!r}; there are: tiny, {there}.")
    return path.read_bytes()


def _answer_of(host: Host, invocation: Invocation) -> Answer:
    """Return what a started host answers, asked twice. Raises HostStartError if that is a failure."""
    answer = Answer()
    for _ in range(2):
        outcome = host.invoke(invocation)
        answer.varies = answer.stdout is not None and outcome.stdout != answer.stdout
        answer.check(outcome, f"{host.runtime.name}: an invocation before the measurement")
    return answer


def _probed(host: Host) -> Outcome | None:
    """Return what a deployed edge answered to its probe; None for every other host."""
    found: Outcome | None = getattr(host.runtime, "probed", None)
    return found


def _copied(artifact: Artifact, place: Path) -> Artifact:
    """Return the same artifact in a folder of its own, which may hold another copy of it already."""
    return replace(artifact, path=Path(shutil.copy(artifact.path, tempfile.mkdtemp(dir=place))))
