"""Chromium and its kin, headless: each invocation in a dedicated worker of a page."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from pytest_wasmedge.drivers.browser import BrowserRuntime, Launch, is_root
from pytest_wasmedge.drivers.versions import Versions
from pytest_wasmedge.errors import RuntimeUnavailableError

# The debugging pipe is read from descriptor 3 and answered on 4: here our stdin, and the host's log.
_SERVE = 'exec "$0" "$@" 3<&0 4>&2 </dev/null'
_TELL = """printf '{"id":1,"method":"Browser.getVersion"}\\0{"id":2,"method":"Browser.close"}\\0' |
"$0" "$@" 3<&0 4>&1 </dev/null >&2"""
_OPTIONS = (
    "--headless",
    "--remote-debugging-pipe",
    "--disable-gpu",
    "--mute-audio",
    # Nothing of a first run, and nothing that keeps itself up to date.
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-sync",
    "--password-store=basic",
    # No network but loopback, and no report to anybody.
    "--no-proxy-server",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
    "--disable-background-networking",
    "--disable-domain-reliability",
    "--disable-breakpad",
    # With it, a guest that reads outside its memory ends the page's process (seen with headless shell 156).
    "--disable-features=WebAssemblyTrapHandler",
    "--no-pings",
    # /dev/shm is small in containers, and nobody cleans it up.
    "--disable-dev-shm-usage",
    # A page that nobody looks at is as fast as any.
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
)


class Chromium(BrowserRuntime):
    """``chromium-headless-shell``, which starts faster, else the whole browser without a window.

    It is told where the page is through its debugging pipe: what stands on a command line is visible to every
    user of the machine, and a debugging port would let any of them in. When the pipe closes, the browser ends.
    """

    name = "chromium"
    engine = "V8"
    capabilities = frozenset({"memory_limit", "concurrent"})
    tools = ("shim",)
    commands = ("chromium-headless-shell", "chromium", "google-chrome", "chromium-browser")
    remedies: ClassVar[Mapping[str, str]] = {
        "ubuntu": "snap install chromium",
        "debian": "apt install chromium",
        "fedora": "dnf install chromium",
        "arch": "pacman -S chromium",
        "suse": "zypper install chromium",
        "alpine": "apk add chromium",
        "macos": "brew install --cask chromium",
    }
    # The first whose headless mode is the browser itself.
    minimum = (112,)
    # worker.terminate() leaves a guest in a loop two seconds more (seen with 156), if not longer.
    stops_guests = False

    def argv(self, launch: Launch) -> Sequence[str]:
        memory = f"--js-flags=--wasm-max-mem-pages={launch.limits.memory_pages}"
        profile = f"--user-data-dir={launch.profile}"
        return ["/bin/sh", "-c", _SERVE, str(launch.executable), *_options(), memory, profile]

    def greeting(self, launch: Launch) -> bytes:
        command = {"id": 1, "method": "Target.createTarget", "params": {"url": launch.url}}
        return json.dumps(command).encode() + b"\0"

    def environment(self, workspace: Path) -> dict[str, str]:
        # Relative to the workspace, where it is started: the path of a socket must be short.
        return super().environment(workspace) | {"TMPDIR": "."}

    def version_argv(self, executable: Path) -> Sequence[str]:
        return ["/bin/sh", "-c", _TELL, str(executable), *_options()]

    def read_versions(self, said: str) -> Versions:
        # ``{"id":1,"result":{"product":"HeadlessChrome/156.0.8078.79","jsVersion":"15.6.75.27",…}}``
        told = json.loads(said.partition("\0")[0])["result"]
        return Versions(told["product"].partition("/")[2], told["jsVersion"])

    def versions(self, executable: Path) -> Versions:
        try:
            return super().versions(executable)
        except RuntimeUnavailableError as error:
            why = _why(error.__cause__)
            raise RuntimeUnavailableError(f"`{executable}` does not tell its version: {why}") from error


def _options() -> list[str]:
    # Its sandbox does not work for root.
    return [*_OPTIONS, *(["--no-sandbox"] if is_root() else [])]


def _why(error: BaseException | None) -> str:
    if not isinstance(error, subprocess.CalledProcessError):
        return f"{type(error).__name__}: {error}"
    said = error.stderr.decode("utf-8", "backslashreplace").strip().splitlines()
    return f"it ended with status {error.returncode}, saying: {said[-1] if said else 'nothing'}"


RUNTIME = Chromium
