"""Runs an artifact by ``wasmedge run``: what is the same whether it is compiled or interpreted."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from pytest_wasmedge.drivers.command import CommandLaunch, CommandRuntime, Ended, Moment
from pytest_wasmedge.drivers.grants import check_colons
from pytest_wasmedge.model import Artifact, Ending, Invocation, host_failed, out_of_memory, trapped
from pytest_wasmedge.provision import Found, find, install_command

_PROGRAM = "wasmedge"
_TRAP_STATUS = 134
_PAGE_BYTES = 1 << 16

#: A line of the engine's log, anywhere in the guest's output.
_RECORD = re.compile(rb"\[(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)\.\d{3}\] \[(\w+)\] ([^\n]*)\n")
#: The log has whole seconds of a clock that is corrected all the time.
_TOLERANCE_S = 2.0


class WasmEdgeRuntime(CommandRuntime):
    """``wasmedge run``, in a new process per invocation.

    WasmEdge writes its log to stdout, as the guest does. Each line of the log begins with the local time, so we give
    the process a secret time zone: an offset of random seconds. A line with the current time in that zone is the
    engine's, and is removed: a time between start and end by the clock as it stood at either, since people
    set clocks. A guest cannot see the zone; to write such a line it would have to guess one of 170,000.

    Every guest gets two things that cannot be taken away: WasmEdge's own socket functions, and as much memory of the
    machine as its call stack needs. ``--time-limit`` is not used, since it stops neither a guest that sleeps nor
    compiled code.
    """

    engine = "WasmEdge"
    flags_at = 2
    statuses = "it passes on only the low 8 bits of an exit status: its 0 may be a 256"
    capabilities = frozenset({"memory_limit", "preopens"})
    tools = (_PROGRAM,)
    absent = "no wasmedge command found"
    # The first with the subcommands run and compile; our options for them are older.
    minimum = (0, 13)
    # ``/usr/bin/wasmedge version 0.14.1``, followed by lines about plugins.
    version_words = r"\S.*wasmedge version (\d+\.\d+\.\d+\S*) *"

    def __init__(self) -> None:
        # Every C library accepts a day to either side; real zones are multiples of a quarter of an hour.
        secret = random.SystemRandom()
        self._zone_s = secret.randrange(-95, 96) * 900 + secret.randrange(1, 900)

    def locate(self) -> Found | None:
        return find(_PROGRAM)

    def how_to_get(self) -> str:
        return install_command(_PROGRAM)

    def mode(self, launch: CommandLaunch) -> Sequence[str]:
        """Return the options that choose how the code is run; without one, the artifact is interpreted."""
        return ()

    def check_loaded(self, launch: CommandLaunch, errors: Sequence[str]) -> None:
        """Raise RefusedError if the engine's log says that it does not load code which we compiled."""

    def argv(self, launch: CommandLaunch, invocation: Invocation) -> Sequence[str]:
        # This plugin would write to any file of the machine that the guest names.
        options = ["--forbidden-plugin", "wasi_logging", *proposal_flags(launch.artifact), *self.mode(launch)]
        if launch.limits.memory_bytes:
            options += ["--memory-page-limit", str(min(launch.limits.memory_bytes // _PAGE_BYTES, 1 << 16))]
        for name, value in invocation.env.items():
            options += ["--env", f"{name}={value}"]
        for guest_path, folder in invocation.preopens.items():
            check_colons(self.name, folder, guest_path)
            options += ["--dir", f"{guest_path}:{folder}"]
        return [str(launch.executable), "run", *options, "--", str(launch.artifact_link), *invocation.args]

    def environment(self, workspace: Path) -> dict[str, str]:
        # POSIX counts west of Greenwich as positive.
        minutes, seconds = divmod(abs(self._zone_s), 60)
        sign = "-" if self._zone_s > 0 else "+"
        return {"TZ": f"OUR{sign}{minutes // 60:02}:{minutes % 60:02}:{seconds:02}"}

    def outcome(self, launch: CommandLaunch, ended: Ended) -> tuple[bytes, bytes, Ending]:
        stdout, errors = self.split(ended.stdout, launch.began)
        self.check_loaded(launch, errors)
        return stdout, ended.stderr, _ending(ended, errors)

    def split(self, stdout: bytes, began: Moment) -> tuple[bytes, list[str]]:
        """Return the guest's output, and the errors in the engine's log."""
        if b"] [" not in stdout:
            return stdout, []
        ended = Moment()
        most_s = ended.steady_s - began.steady_s + _TOLERANCE_S
        errors: list[str] = []

        def take(record: re.Match[bytes]) -> bytes:
            try:
                local = datetime.strptime(record[1].decode(), "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
            except ValueError:
                return record[0]
            day_s = local.timestamp() - self._zone_s
            # Where the clock was set meanwhile, what came before agrees with the start, the rest with the end.
            if not (
                -_TOLERANCE_S <= day_s - began.day_s <= most_s
                or -_TOLERANCE_S <= ended.day_s - day_s <= most_s
            ):
                return record[0]
            if record[2] == b"error":
                errors.append(record[3].decode("utf-8", "backslashreplace").strip())
            return b""

        return _RECORD.sub(take, stdout), errors


def proposal_flags(artifact: Artifact) -> tuple[str, ...]:
    """Return the options that enable all proposals, for an artifact that needs any."""
    return ("--enable-all",) if artifact.proposals else ()


def wording(errors: Sequence[str]) -> str:
    """Return the error that says what went wrong; the errors after it say where."""
    return next((each for each in errors if " failed: " in each), errors[0] if errors else "")


def _ending(ended: Ended, errors: Sequence[str]) -> Ending:
    said = wording(errors)
    no_memory = next((each for each in errors if each.startswith("Memory Instance: Limited")), "")
    if no_memory and ended.status >= 0:
        # WasmEdge goes on with less memory than the artifact asks for, perhaps unnoticed by the guest.
        return out_of_memory(f"wasmedge: {no_memory}")
    # Other errors, such as a memory that did not grow, are for the guest to handle.
    if " failed: " not in said or ended.status < 0:
        return ended.ending("wasmedge")
    # By its codes for execution errors, since a segment that does not fit is found before the guest runs.
    is_trap = ended.status == _TRAP_STATUS or re.search(r"^execution failed: .*Code: 0x4", said)
    return (trapped if is_trap else host_failed)(f"wasmedge: {said}")
