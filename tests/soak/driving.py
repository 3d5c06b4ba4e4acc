"""Runs the sessions of a plan: rounds of invocations, faults where they are due, and a look at what stays."""

from __future__ import annotations

import contextlib
import gc
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from pytest_wasmedge.artifacts.opening import BUILTIN_ARTIFACT, open_artifact
from pytest_wasmedge.artifacts.witness import witness_artifact
from pytest_wasmedge.errors import WasmEdgeError
from pytest_wasmedge.model import Artifact, Host, Outcome
from tests import wat
from tests.actor import ACTOR
from tests.families import adoption, collect, descendants, family_of, roots_of
from tests.soak.figures import Report
from tests.soak.judging import KNOWN, TOLD, judge
from tests.soak.plan import LIMITS, ROUND_LARGEST, Fault, ProgramName, Round, Session
from tests.waiting import is_running

#: How long what was stopped may take to be gone.
_GOING_S = 30.0
_MOST_WORDS = 200

Say = Callable[[str], None]


@dataclass
class Left:
    """What tells the processes and folders that are still there and should not be."""

    children: Callable[[], set[int]]
    folder: Path
    told: set[int | Path] = field(default_factory=set)

    def there(self, family: set[int]) -> set[int | Path]:
        """Return our children that run, processes of a host's family that do, and our folders."""
        collect(self.children())
        pids = {pid for child in self.children() for pid in (child, *descendants(child))} | family
        there: set[int | Path] = {*filter(is_running, pids)}
        return (there | set(self.folder.glob("*"))) - self.told

    def after(self, family: set[int]) -> set[int | Path]:
        """Return what is left of a host a while after it was closed; each is told once, and processes are ended."""
        deadline_s = time.monotonic() + _GOING_S
        while (left := self.there(family)) and time.monotonic() < deadline_s:
            time.sleep(0.01)
        for each in left:
            if isinstance(each, int):
                with contextlib.suppress(psutil.NoSuchProcess):
                    psutil.Process(each).kill()
        self.told |= left
        return left


@contextlib.contextmanager
def watched() -> Iterator[Left]:
    """Give this process a folder of its own for temporary files, and all processes that its hosts detach."""
    before = tempfile.tempdir
    with tempfile.TemporaryDirectory(prefix="soak-") as folder, adoption() as children:
        tempfile.tempdir = folder
        try:
            yield Left(children, Path(folder))
        finally:
            tempfile.tempdir = before


class Injection:
    """One fault on its way to a host: who is hit, and whether that was so."""

    def __init__(self, fault: Fault, host: Host) -> None:
        self._fault, self._host = fault, host
        self.hit: psutil.Process | None = None

    def inject(self) -> None:
        """Do it now; nothing if there is no such process."""
        victim = self._victim()
        with contextlib.suppress(psutil.NoSuchProcess):
            if victim is None:
                return
            if self._fault.kind == "kill":
                victim.kill()
            else:
                victim.suspend()
            self.hit = victim
            if self._fault.kind == "pause":
                time.sleep(self._fault.pause_s)
                victim.resume()

    def _victim(self) -> psutil.Process | None:
        roots = sorted(roots_of(self._host))
        pids = roots
        if self._fault.child is not None:
            pids = sorted({pid for root in roots for pid in descendants(root)}) or roots
        with contextlib.suppress(psutil.NoSuchProcess):
            return psutil.Process(pids[int((self._fault.child or 0) * len(pids))]) if pids else None
        return None

    def leaves_it_clean(self) -> bool:
        """Return whether the host can know, before it is asked again, that its process has ended."""
        if self._fault.kind != "kill" or self.hit is None or self.hit.pid not in roots_of(self._host):
            return False
        # Its first thread may have ended before the others: the system says when all of it has, and so does Popen.
        with contextlib.suppress(ChildProcessError):
            os.waitid(os.P_PID, self.hit.pid, os.WEXITED | os.WNOWAIT)
        return True


class Sitting:
    """One session under way. ``touched``: a fault may still show on the host, until one failure was told for it."""

    def __init__(self, session: Session, host: Host, report: Report, pool: ThreadPoolExecutor) -> None:
        self._session, self._host, self._report, self._pool = session, host, report, pool
        self._figures = report.of(session.runtime.name)
        self._roots: set[int] = roots_of(host)
        self._touched = False
        self.family: set[int] = family_of(host)

    def play(self, number: int, each: Round) -> None:
        """Run one round, with its fault, and judge it."""
        injection = Injection(each.fault, self._host) if each.fault else None
        when = each.fault.when if each.fault else ""
        if injection and when == "before":
            injection.inject()
            self._note(injection, clean=injection.leaves_it_clean())
        timer = None
        if injection and each.fault and when == "during":
            timer = threading.Timer(each.fault.delay_s, injection.inject)
            timer.start()
            # Whatever it is going to hit, and whenever that is.
            self._touched = self._touched or (each.fault.kind != "pause" and bool(self._roots))
        try:
            got = self._ask(each)
        finally:
            if timer:
                timer.join()
        if injection and when == "during":
            self._note(injection)
        told = self._judge(number, each, got)
        if injection and when == "after":
            injection.inject()
            self._note(injection)
        roots = roots_of(self._host)
        self.family |= family_of(self._host)
        if when != "after" and (told or not roots & self._roots):
            self._touched = False
        self._figures.counts["hosts"] += len(roots - self._roots)
        self._roots = roots
        if self._session.quiet:
            self._figures.memory_bytes.add(self._figures.counts["asked"], _resident_bytes(self.family))

    def _note(self, injection: Injection, *, clean: bool = False) -> None:
        fault = injection._fault
        if injection.hit is not None:
            self._figures.faults[fault.kind] += 1
            self._touched = self._touched or (fault.kind != "pause" and not clean)

    def _ask(self, each: Round) -> list[Outcome | BaseException]:
        if len(each.cases) == 1:
            # In this thread, as tests do.
            job: Future[Outcome] = Future()
            try:
                job.set_result(self._host.invoke(each.cases[0].invocation))
            except Exception as error:
                job.set_exception(error)
            jobs = [job]
        else:
            jobs = [self._pool.submit(self._host.invoke, case.invocation) for case in each.cases]
        return [job.exception() or job.result() for job in jobs]

    def _judge(self, number: int, each: Round, got: Sequence[Outcome | BaseException]) -> bool:
        told = False
        for case, outcome in zip(each.cases, got, strict=True):
            verdict = judge(case, outcome, self._host, touched=self._touched)
            told = told or verdict == TOLD
            self._figures.counts["asked"] += 1
            self._figures.counts[verdict if verdict == TOLD else "wrong" if verdict else "known"] += 1
            if verdict not in (KNOWN, TOLD):
                beside = f"{len(each.cases) - 1} beside it, {each.fault or 'no fault'}"
                where = f"{self._host.runtime.name}: session {number}, {case.name} ({beside})"
                self._report.wrong.append(f"{where}: {verdict}"[: 4 * _MOST_WORDS])
        return told


def soak(
    seed: int,
    sessions: Sequence[Session],
    say: Say = lambda text: None,
    cry: Say = lambda text: None,
) -> Report:
    """Run all sessions and return what came of it.

    ``say`` hears how far it is before each session, ``cry`` what was wrong after it.
    """
    report = Report(seed)
    invocations = sum(session.invocations for session in sessions)
    began_s = time.monotonic()
    with tempfile.TemporaryDirectory() as place, watched() as left:
        artifacts = _artifacts(sessions, Path(place))
        for number, session in enumerate(sessions):
            say(
                f"{report.total('asked')} of {invocations} invocations, {time.monotonic() - began_s:.0f} s: "
                f"{report.total('told')} told, {len(report.wrong)} wrong, {len(report.left)} left"
            )
            before = len(report.wrong), len(report.left)
            _sit(number, session, artifacts[session.program], report, left)
            for problem in (*report.wrong[before[0] :], *report.left[before[1] :]):
                cry(problem)
            gc.collect()
            us = psutil.Process()
            report.ours_bytes.add(report.total("asked"), us.memory_info().rss)
            report.handles.add(report.total("asked"), us.num_fds() + us.num_threads())
        for session in sessions:
            _forget(session, artifacts[session.program])
    return report


def _sit(number: int, session: Session, artifact: Artifact, report: Report, left: Left) -> None:
    name = session.runtime.name
    figures = report.of(name)
    family: set[int] = set()
    began_s = time.monotonic()
    try:
        with (
            session.runtime.start(artifact, LIMITS[session.program]) as host,
            ThreadPoolExecutor(ROUND_LARGEST) as pool,
        ):
            figures.counts["hosts"] += 1
            sitting = Sitting(session, host, report, pool)
            family = sitting.family
            for each in session.rounds():
                sitting.play(number, each)
    except WasmEdgeError as error:
        report.wrong.append(f"{name}: session {number} did not begin or end: {error}")
    figures.seconds += time.monotonic() - began_s
    for what in sorted(map(_described, left.after(family))):
        figures.counts["left"] += 1
        report.left.append(f"{name}: session {number} left {what}")


def _described(left: int | Path) -> str:
    if isinstance(left, int):
        with contextlib.suppress(psutil.Error):
            return f"process {left}, {' '.join(psutil.Process(left).cmdline())[:_MOST_WORDS]}"
        return f"process {left}"
    return f"folder {left}"


def _artifacts(sessions: Sequence[Session], place: Path) -> Mapping[ProgramName, Artifact]:
    made: dict[ProgramName, Artifact] = {
        "actor": wat.artifact(place, ACTOR),
        "witness": witness_artifact(place),
    }
    if any(session.program == "ruby" for session in sessions):
        made["ruby"] = open_artifact(BUILTIN_ARTIFACT, Path.cwd())
    return made


def _forget(session: Session, artifact: Artifact) -> None:
    """Remove the compiled code of our programs: it is not to push a Ruby's out of the cache."""
    if not artifact.builtin and (kept := session.runtime.kept_code(artifact)):
        kept.unlink(missing_ok=True)
        kept.with_suffix(".sha256").unlink(missing_ok=True)


def _resident_bytes(family: set[int]) -> int:
    """Return the memory of these processes, shared pages counted in each."""
    total = 0
    for pid in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            total += psutil.Process(pid).memory_info().rss
    return total
