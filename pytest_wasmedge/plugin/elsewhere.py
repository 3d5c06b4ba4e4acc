"""A worker of pytest-xdist on another machine: what it is sent by its controller, and what it tells."""

from __future__ import annotations

import getpass
import hashlib
import platform
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from pytest_wasmedge import __version__
from pytest_wasmedge.errors import ProvisionError, WasmEdgeError
from pytest_wasmedge.latency.journal import machine
from pytest_wasmedge.model import Availability
from pytest_wasmedge.plugin.options import Options
from pytest_wasmedge.plugin.session import WasmSession
from pytest_wasmedge.provision.cache import folder, keep_newest, locked
from pytest_wasmedge.provision.files import whole
from pytest_wasmedge.provision.room import reason

#: Of what has arrived from controllers, so many files are kept.
_KEPT = 20
#: What a message over the channel begins with: a digest whose bytes are asked for, or what a worker tells of itself.
ASKS, TELLS = "asks", "tells"


@dataclass(frozen=True, slots=True)
class Told:
    """What a worker tells of itself, once it has collected its tests.

    ``place`` is the same for workers of one user on one machine, ``name`` says it to people. ``measuring`` are the
    positions of tests that take samples, ``together`` of those that need several runtimes at once. ``artifact`` and
    ``cases`` are digests. With ``error`` nothing else is known.
    """

    name: str
    place: str
    version: str = ""
    artifact: str = ""
    cases: str = ""
    runtimes: Mapping[str, Availability] = field(default_factory=dict)
    measuring: frozenset[int] = frozenset()
    together: frozenset[int] = frozenset()
    machine: Mapping[str, object] = field(default_factory=dict)
    error: str = ""

    def packed(self) -> dict[str, Any]:
        """Return it as execnet can send it."""
        packed = {each: getattr(self, each) for each in self.__slots__}
        packed["runtimes"] = {name: asdict(each) for name, each in self.runtimes.items()}
        return packed

    @classmethod
    def unpacked(cls, packed: Mapping[str, Any]) -> Told:
        """Return what was packed. Raises TypeError or KeyError for what another version has packed."""
        known = {each: packed[each] for each in cls.__slots__ if each in packed}
        known["runtimes"] = {
            name: Availability(**each | {"lacks": tuple(each["lacks"])})
            for name, each in packed["runtimes"].items()
        }
        return cls(**known)


def name() -> str:
    """Return what this machine is called, with the user, as people know it."""
    return f"{getpass.getuser()}@{platform.node()}"


def arrived(options: Options, sent: Mapping[str, Any], rootdir: Path) -> Options:
    """Return the options of a worker elsewhere: files of the controller, each by its digest, in the place of paths.

    A file that lies here under the same path is used, else one that arrived earlier; else its bytes are asked for.
    Raises ProvisionError.
    """
    found: dict[str, Any] = {
        option: str(_file(Path(path), digest, sent["channel"]))
        for option, (path, digest) in sent["files"].items()
    }
    return replace(options, report="", started_in=rootdir / sent["started_in"], **found)


def _file(path: Path, digest: str, channel: Any) -> Path:
    if _has(path, digest):
        return path
    place = folder("artifacts") / digest[:16]
    kept = place / path.name
    try:
        # Workers of one user that begin at once ask one after the other: the bytes travel once.
        with locked(folder("locks") / f"arriving-{digest[:16]}"):
            if not _has(kept, digest):
                channel.send((ASKS, digest))
                content = channel.receive()
                if hashlib.sha256(content).hexdigest() != digest:
                    raise ProvisionError(f"{path.name} has changed since the run began: start it again.")
                place.mkdir(mode=0o700, exist_ok=True)
                with whole(kept, 0o600) as part:
                    part.write_bytes(content)
                keep_newest(folder("artifacts").glob("*/*"), _KEPT, but=kept)
            kept.touch()
    except OSError as error:
        raise ProvisionError(
            f"{kept} cannot be written on {name()}: {reason(error, kept.parent)}."
        ) from error
    return kept


def _has(path: Path, digest: str) -> bool:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == digest
    except OSError:
        return False


def told(session: WasmSession, measuring: Iterable[int], together: Iterable[int]) -> Told:
    """Return what this worker has; all selected runtimes are probed here."""
    here: dict[str, Any] = {"name": name(), "place": _place(), "version": __version__}
    try:
        needed = dict.fromkeys([*session.selection.selected, session.reference.runtime])
        runtimes = {each.name: session.pool.availability(each) for each in needed}
        session.promised.update(each for each, found in runtimes.items() if found.available)
        return Told(
            **here,
            artifact=session.artifact.sha256,
            cases=digest_of_cases(session),
            runtimes=runtimes,
            measuring=frozenset(measuring),
            together=frozenset(together),
            machine=dict(machine()),
        )
    except WasmEdgeError as error:
        return Told(**here, error=str(error))


def _place() -> str:
    """Return what only workers of one user on one machine have in common, whatever the machine is called."""
    try:
        booted = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        booted = platform.node()
    return f"{getpass.getuser()}@{booted}"


def digest_of_cases(session: WasmSession) -> str:
    """Return a digest of all files in the folders of cases, by which two machines know that they have the same."""
    corpora = [session.options.started_in / each.partition(":")[2] for each in session.options.corpus]
    digest = hashlib.sha256()
    for root in (*session.given_roots, *corpora):
        for file in sorted(root.rglob("*")):
            # pytest-xdist's copies have no hidden files.
            inside = file.relative_to(root)
            if file.is_file() and not any(part.startswith(".") for part in inside.parts):
                content = file.read_bytes()
                digest.update(f"{inside.as_posix()}\0{len(content)}\0".encode("utf-8", "surrogateescape"))
                digest.update(content)
    return digest.hexdigest()
