"""Makes the measurements of one pytest run: puts samplers, journal, seed and floor together."""

from __future__ import annotations

import random
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any

from pytest_wasmedge.artifacts.floor import floor_artifact
from pytest_wasmedge.errors import LatencyError, UnsupportedError, WasmEdgeError
from pytest_wasmedge.latency.gate import Rules, unwatched
from pytest_wasmedge.latency.journal import Journal, in_folder
from pytest_wasmedge.latency.measurement import Comparison, Measurement, Watching
from pytest_wasmedge.latency.sampling import Answer, Sample, StartState, cold_once, refresh_code, warm_once
from pytest_wasmedge.latency.sharing import in_rounds
from pytest_wasmedge.latency.usage import density
from pytest_wasmedge.model import Artifact, Host, Invocation, Outcome, Runtime
from pytest_wasmedge.plugin.compared import head_of
from pytest_wasmedge.plugin.session import WasmSession
from pytest_wasmedge.portability import bundled
from pytest_wasmedge.portability.language import RUBY
from pytest_wasmedge.provision.cache import folder

#: Samples taken before anything is judged, enough for an interval; a ceiling takes as many more as it needs.
COLD_SAMPLES, WARM_SAMPLES, FLOOR_SAMPLES = 12, 20, 12
#: The part of the run's budget that one ceiling may take on one runtime.
_CEILING_SHARE = 0.5
#: How many invocations of a deployed edge may be spent on one sample.
_EDGE_ATTEMPTS = 30
_WORKLOAD_S = 300.0


class Measuring:
    """Makes the measurements of one run; each sample is in the journal before the next one is taken.

    With a ``samples_folder`` of None, a journal is kept only if the command line names one. ``refuse`` is called with
    the error of a host that has no such measurement, before that is raised. ``watching`` shows how far one is.
    """

    def __init__(
        self,
        session: WasmSession,
        run: str,
        seed: int,
        samples_folder: Path | None,
        refuse: Callable[[UnsupportedError], None] = lambda error: None,
        watching: Watching = lambda title, unit: nullcontext(unwatched),
    ) -> None:
        self._session, self._refuse, self._watching = session, refuse, watching
        self._run, self._seed, self._folder = run, seed, samples_folder
        self._rng = random.Random(seed)
        #: By runtime and cache state. Those taken for a ceiling count in a measurement of the floor, too.
        self._floors: defaultdict[tuple[str, StartState], list[Sample]] = defaultdict(list)

    @cached_property
    def rules(self) -> Rules:
        """The rules of the gate, their error rates divided over the runtimes of this run."""
        options = self._session.options
        rules = Rules(margin=options.margin, budget_s=options.latency_budget * _CEILING_SHARE)
        return rules.for_family(max(1, len(self._session.selection.selected)))

    @cached_property
    def _journal(self) -> Journal | None:
        options = self._session.options
        if options.samples:
            return Journal(options.started_in / options.samples, self._run, self._seed)
        return in_folder(self._folder, self._run, self._seed) if self._folder else None

    @cached_property
    def _floor(self) -> Artifact:
        return floor_artifact(folder("artifacts"))

    def cold(self, host: Host, state: StartState | None = None, first: int = COLD_SAMPLES) -> Measurement:
        """Return cold starts of the artifact on this host's runtime, in its own cache state or the given one.

        Every start must give the answer that the host gave twice before. A deployed edge cannot be started: its
        samples are invocations that were the first of their isolate. Raises UnsupportedError where it has none.
        """
        host = head_of(host)
        if host.runtime.deployed:
            if state is not None:
                raise UnsupportedError(f"{host.runtime.name} is deployed: we cannot choose its cache state.")
            return self._measurement(host, "edge/cold", self._edge(host, "edge/cold"), 1)
        # Only the first start is weighed: it takes one more request, if its host cannot report its peak otherwise.
        weigh = iter([True])

        @cache
        def ready() -> tuple[Invocation, Answer]:
            answered = self._answered(host)
            refresh_code(host.runtime, host.artifact)
            return answered

        def draw() -> Sample:
            invocation, answer = ready()
            weighed = next(weigh, False)
            sample = self._start(host, host.artifact, invocation, state=state, weigh=weighed, answer=answer)
            return self._kept(host, sample)

        kind = f"cold/{state or host.runtime.cache_state}"
        return self._measurement(host, kind, draw, first, draw_floor=lambda: self._draw_floor(host, state))

    def floor(self, host: Host, first: int = FLOOR_SAMPLES) -> Measurement:
        """Return cold starts of an artifact that does nothing: the runtime's own cost. Raises UnsupportedError.

        Those that this run already took for a ceiling are among them.
        """
        self._require_startable(host)
        state = host.runtime.cache_state
        draw, earlier = partial(self._draw_floor, host), self._floors[host.runtime.name, state]
        return self._measurement(host, f"floor/{state}", draw, first, earlier=earlier)

    def warm(self, host: Host, workload: str = "tiny", first: int = WARM_SAMPLES) -> Measurement:
        """Return invocations of a host that has already served one; for ``isolate``, each in a fresh isolate.

        Raises LatencyError for an unknown workload, UnsupportedError where no isolate can be started afresh.
        """
        host = head_of(host)
        fresh = workload == "isolate"
        if fresh and "isolates" not in host.runtime.capabilities:
            # Without the runtime's name, so that one line of the closing table is about all of them.
            error = UnsupportedError("a fresh isolate starts only in a host that keeps isolates.")
            self._refuse(error)
            raise error
        # Its time is measured, not limited: an interpreter may take longer than a host allows by default.
        timeout_s = max(host.limits.timeout_s, _WORKLOAD_S)
        smallest = fresh or workload == "tiny"
        program = None if smallest else Invocation(_workload(workload), timeout_s=timeout_s)

        if host.runtime.deployed:
            probed = _probed(host)
            kind = "edge/warm" if probed is None or probed.invocation else "edge/unknown"
            return self._measurement(host, kind, self._edge(host, kind, program), first)

        @cache
        def ready() -> tuple[Invocation, Answer]:
            answered = self._answered(host)
            return (program, Answer()) if program else answered

        def draw() -> Sample:
            invocation, answer = ready()
            if fresh:
                host.discard_isolates()
            with self._session.paused(but=host):
                return self._kept(host, warm_once(host, invocation, f"warm/{workload}", answer))

        return self._measurement(host, f"warm/{workload}", draw, first)

    def against(
        self, runtimes: Sequence[Runtime], baseline: Artifact, budget_s: float
    ) -> dict[str, Comparison]:
        """Compare cold starts of the artifact with those of the baseline on all these runtimes, by turns.

        Returns a comparison by the runtime's name; its finding raises what broke it off. Raises UnsupportedError,
        LatencyError and HostStartError for the first runtime, and leaves out others that cannot start.
        """
        compared: dict[str, Comparison] = {}
        with tempfile.TemporaryDirectory(prefix="pytest-wasmedge-") as scratch:
            # Copies of the same age, since a file's age shows in how fast it is read; they may be the same artifact.
            base, head = (
                replace(each, path=Path(shutil.copy(each.path, tempfile.mkdtemp(dir=scratch))))
                for each in (baseline, self._session.pool.artifact)
            )
            for runtime in runtimes:
                try:
                    compared[runtime.name] = self._comparison(runtime, base, head)
                except WasmEdgeError:
                    if not compared:
                        raise
            with self._watching("cold starts beside the baseline's", "runtimes decided") as watch:
                in_rounds([each.gate for each in compared.values()], budget_s, watch)
        return compared

    def _comparison(self, runtime: Runtime, base: Artifact, head: Artifact) -> Comparison:
        """Return a comparison that has not begun; code of both artifacts is compiled, where code is kept."""
        with self._session.pool.holding(runtime) as host:
            self._require_startable(host)
            invocation, answer = self._answered(host)
            speaks = self._session.speaks_our_language(host)
        # A baseline that speaks our language must give the same answer; any other program may give its own.
        answers = {base.sha256: Answer(answer.stdout if speaks else None, answer.varies)}
        answers[head.sha256] = answer

        def start(artifact: Artifact) -> Sample:
            return self._start(host, artifact, invocation, answer=answers[artifact.sha256])

        def draw(artifact: Artifact) -> Sample:
            return self._kept(host, start(artifact))

        def same() -> bool:
            return answer.varies or answers[base.sha256].stdout == answer.stdout

        # In no pair, so that compiled code of both is kept, and of the same age; the host above has left the head's.
        first = start(base)
        for artifact in (base, head):
            refresh_code(runtime, artifact)
        rules, rng = self.rules, self._rng
        return Comparison(partial(draw, base), partial(draw, head), same, rules=rules, rng=rng, first=first)

    def density_bytes(self, host: Host) -> int | None:
        """Return the memory of one more live guest; None if this host cannot hold several."""
        if not self._session.speaks_our_language(host):
            return None
        host = head_of(host)
        with self._session.paused(but=host):
            return density(host, Invocation(RUBY.alive))

    def _answered(self, host: Host) -> tuple[Invocation, Answer]:
        """Return the smallest invocation and its answer, asked for twice. Raises LatencyError if it fails."""
        invocation, answer = self._session.smallest_invocation(host), Answer()
        for _ in range(2):
            outcome = host.invoke(invocation)
            answer.varies = answer.stdout is not None and outcome.stdout != answer.stdout
            answer.check(outcome, f"{host.runtime.name}: an invocation before the measurement")
        return invocation, answer

    def _start(self, host: Host, artifact: Artifact, invocation: Invocation, **more: Any) -> Sample:
        """Time one cold start on this host's runtime while every host is paused."""
        with self._session.paused():
            return cold_once(host.runtime, artifact, host.limits, invocation, **more)

    def _draw_floor(self, host: Host, state: StartState | None = None) -> Sample:
        """Take one start of the artifact that does nothing; the first one is preceded by one that does not count."""
        start = partial(self._start, host, self._floor, Invocation(), state=state, name="floor")
        taken = self._floors[host.runtime.name, state or host.runtime.cache_state]
        if not taken:
            start()  # compiles it, where code is kept
        taken.append(self._kept(host, start()))
        return taken[-1]

    def _edge(self, host: Host, wanted: str, program: Invocation | None = None) -> Callable[[], Sample]:
        """Return a function that invokes a deployed edge until the invocation is of the wanted kind."""
        from pytest_wasmedge.runtimes.remote import kind_of

        # The probe may have been the first invocation of its isolate, and the only one for a long time.
        earlier = [probed] if (probed := _probed(host)) is not None else []
        name = host.runtime.name

        def draw() -> Sample:
            invocation = program or self._session.smallest_invocation(host)
            for _ in range(_EDGE_ATTEMPTS):
                if earlier:
                    outcome = earlier.pop()
                    sample = Sample(name, "", outcome.timings.elapsed_ns, invocation=outcome.invocation)
                else:
                    sample = warm_once(host, invocation)
                sample = self._kept(host, replace(sample, kind=kind_of(sample.invocation)))
                if sample.kind == wanted:
                    return sample
            raise UnsupportedError(
                f"{name} gave no {wanted} in {_EDGE_ATTEMPTS} invocations. We know cold from warm by "
                "its count of invocations (--wasm-remote-header), and never guess. Deploy it again, or wait until its "
                "isolates are gone."
            )

        return draw

    def _require_startable(self, host: Host) -> None:
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
            watching=self._watching,
        )

    def _kept(self, host: Host, sample: Sample) -> Sample:
        if self._journal:
            version = self._session.pool.availability(host.runtime).version
            self._journal.add(sample, runtime_version=version)
        return sample


def _workload(name: str) -> bytes:
    path = bundled.workloads() / f"{name}{RUBY.suffix}"
    if not path.exists():
        known = ", ".join(sorted(path.stem for path in bundled.workloads().glob(f"*{RUBY.suffix}")))
        raise LatencyError(f"there is no workload {name!r}; choose one of tiny, {known}.")
    return path.read_bytes()


def _probed(host: Host) -> Outcome | None:
    """Return the outcome of a deployed edge's probe; None for any other host."""
    found: Outcome | None = getattr(host.runtime, "probed", None)
    return found
