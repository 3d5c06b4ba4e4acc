"""A command-line host of your own as a runtime: what to fill in is marked with FILL IN. docs/platforms.md has examples.

As it stands it runs the wasmtime command, so that you begin with something that works, and change one thing at a time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pytest_wasmedge import Artifact, Ending, Host, Invocation, Limits, Runtime, host_failed, trapped
from pytest_wasmedge.drivers.command import CommandLaunch, CommandRuntime, Ended


class OwnHost(CommandRuntime):
    """A new process for each invocation, which ends with the guest's status."""

    # FILL IN: its name for --runtimes, its engine, its program on PATH, and how people get that. While you try out,
    # PYTEST_WASMEDGE_OWN_HOST=PATH names a program that is not on PATH.
    name = "own-host"
    engine = "Winch"
    commands = ("wasmtime",)
    remedies: Mapping[str, str] = {"macos": "brew install wasmtime"}  # type: ignore[misc]
    # FILL IN: the last status that it passes on as the guest gave it, and what becomes of others; 255 if of none.
    highest_status = 125
    statuses = "it refuses an exit status above 125: a guest that ends with one has failed there"
    # FILL IN: what its own report on the guest's stderr begins with; and the status that it ends with after a trap.
    report = b"Error: failed to run main module"
    trap_status = 134

    def how_to_get(self) -> str:
        """Return what the closing table tells those who lack it."""
        return super().how_to_get() or "see https://wasmtime.dev"

    def prepare(self, launch: CommandLaunch) -> None:
        """FILL IN: what it needs around the artifact, once per host, such as a manifest, in this folder of ours."""
        launch.artifact_link.symlink_to(launch.artifact.path.absolute())

    def start(self, artifact: Artifact, limits: Limits) -> Host:
        """Start a host. FILL IN nothing if it compiles at its start and keeps the code; else take this method out."""
        host = super().start(artifact, limits)
        try:
            # Once, with an empty stdin: a large guest compiles for longer than an invocation may take.
            host.invoke(Invocation(timeout_s=600))
        except BaseException:
            host.close()
            raise
        return host

    def environment(self, workspace: Path) -> dict[str, str]:
        """FILL IN: all variables that its process gets. With a HOME of its own it finds no settings of yours there."""
        return {"HOME": str(workspace), "RUST_BACKTRACE": "0"}

    def argv(self, launch: CommandLaunch, invocation: Invocation) -> Sequence[str]:
        """FILL IN: the command line. It starts in the folder of ours; nothing else is granted to the guest."""
        options = [f"--env={name}={value}" for name, value in invocation.env.items()]
        # It keeps the compiled guest below HOME.
        engine = ("-C", "compiler=winch", "-C", "cache=y", "--argv0=artifact.wasm")
        command = [str(launch.executable), "run", *engine, *options]
        return [*command, str(launch.artifact_link), *invocation.args]

    def outcome(self, launch: CommandLaunch, ended: Ended) -> tuple[bytes, bytes, Ending]:
        """Return stdout and stderr of the guest, and its ending, of which the program's own report is a part.

        FILL IN if your program does otherwise: writes its log to stdout, adds a line of its own, has other statuses.
        """
        at = ended.stderr.rfind(self.report)
        if at < 0:
            return ended.stdout, ended.stderr, ended.ending(self.name)
        said = " ".join(ended.stderr[at:].decode("utf-8", "backslashreplace").split())
        ending = trapped if ended.status == self.trap_status else host_failed
        return ended.stdout, ended.stderr[:at], ending(said)


def pytest_wasmedge_runtimes() -> list[Runtime]:
    """Add it. pytest reads this where it lies in the folder that pytest is started in, or in a package of yours."""
    return [OwnHost()]
