"""Chromium, or Chrome, headless: each invocation in a dedicated worker of a page."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from pytest_wasmedge.drivers.browser import BrowserRuntime
from pytest_wasmedge.drivers.program import Versions
from pytest_wasmedge.drivers.serving import ServingLaunch

# Chromium reads its debugging pipe from descriptor 3 and writes to 4. Here these are our stdin and the host's log.
_SERVE = 'exec "$0" "$@" 3<&0 4>&2 </dev/null'
_VERSION = """printf '{"id":1,"method":"Browser.getVersion"}\\0{"id":2,"method":"Browser.close"}\\0' |
"$0" "$@" 3<&0 4>&1 </dev/null >&2"""
_OPTIONS = (
    "--headless",
    "--remote-debugging-pipe",
    "--disable-gpu",
    "--mute-audio",
    # No first-run pages and no updates.
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-sync",
    "--password-store=basic",
    # No network but loopback, and no reports.
    "--no-proxy-server",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
    "--disable-background-networking",
    "--disable-domain-reliability",
    "--disable-breakpad",
    # With this feature a guest that reads outside its memory ends the page's process (headless shell 156).
    "--disable-features=WebAssemblyTrapHandler",
    "--no-pings",
    # /dev/shm is small in containers, and files there would be left behind.
    "--disable-dev-shm-usage",
    # A page in the background is as fast as any other.
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
)


class Chromium(BrowserRuntime):
    """``chromium-headless-shell``, which starts faster, or else the whole browser without a window.

    It gets the page's URL through its debugging pipe: every user of the machine can see a command line and connect to
    a debugging port. When the pipe closes, the browser ends.
    """

    name = "chromium"
    engine = "V8"
    groups = frozenset({"browsers"})
    flags_at = 4
    capabilities = frozenset({"memory_limit", "preopens", "concurrent", "isolates"})
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
    # The first whose headless mode is the same browser.
    minimum = (112,)
    # After worker.terminate() a guest in a loop runs on for two seconds or longer (seen with 156).
    stops_guests = False

    def argv(self, launch: ServingLaunch) -> Sequence[str]:
        memory = f"--js-flags=--wasm-max-mem-pages={launch.limits.memory_pages}"
        profile = f"--user-data-dir={launch.workspace / 'profile'}"
        return ["/bin/sh", "-c", _SERVE, str(launch.executable), *_options(), memory, profile]

    def greeting(self, launch: ServingLaunch) -> bytes:
        command = {"id": 1, "method": "Target.createTarget", "params": {"url": launch.url}}
        return json.dumps(command).encode() + b"\0"

    def environment(self, workspace: Path) -> dict[str, str]:
        # Relative to the workspace, which it is started in: the path of a socket must be short.
        return super().environment(workspace) | {"TMPDIR": "."}

    def version_argv(self, executable: Path) -> Sequence[str]:
        return ["/bin/sh", "-c", _VERSION, str(executable), *_options()]

    def read_versions(self, said: str) -> Versions:
        # ``{"id":1,"result":{"product":"HeadlessChrome/156.0.8078.79","jsVersion":"15.6.75.27",…}}``
        result = json.loads(said.partition("\0")[0])["result"]
        return Versions(result["product"].partition("/")[2], result["jsVersion"])


def _options() -> list[str]:
    # Chromium's sandbox does not work for root.
    return [*_OPTIONS, *(["--no-sandbox"] if os.geteuid() == 0 else [])]


RUNTIME = Chromium
