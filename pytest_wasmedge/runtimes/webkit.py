"""WebKitGTK, in its MiniBrowser on a display of its own: each invocation in a dedicated worker of a page."""

from __future__ import annotations

import html
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from pytest_wasmedge.drivers.browser import BrowserRuntime
from pytest_wasmedge.drivers.serving import ServingLaunch

#: The browser has no headless mode. Xvfb is a display that nobody sees; it tells its number in a pipe once it serves.
_DISPLAY = '"$0" -displayfd 3 -screen 0 320x240x24 -nolisten tcp -noreset 3>display'
_NUMBER = """read -r number <display || { echo "Xvfb, its display, did not start" >&2; exit 1; }
export DISPLAY=":$number"
"""
#: A display that is killed leaves files in /tmp. So it is no part of the browser's processes, which are killed: when
#: our pipe to it closes, because we stop the browser or have ended, the display is asked to end, and removes its files.
_SERVE = f"""mkfifo display
exec 4<&0 </dev/null
(setsid /bin/sh -c '{_DISPLAY} 4<&- & cat <&4 >/dev/null; kill "$!" 2>/dev/null; wait' "$0" &)
{_NUMBER}exec "$@" 4<&-"""
_VERSION = f"""mkfifo display
timeout 20 {_DISPLAY} &
{_NUMBER}timeout 15 "$1" --version
status=$?
kill "$!"
wait
exit "$status"
"""


class WebKit(BrowserRuntime):
    """``MiniBrowser --private`` under Xvfb. Its WebAssembly memory cannot be limited."""

    name = "webkit"
    engine = "JavaScriptCore"
    groups = frozenset({"browsers", "engines"})
    flags_at = 5
    capabilities = frozenset({"preopens", "concurrent", "isolates"})
    tools = ("shim",)
    # Where Debian, then where Arch and Fedora put it.
    commands = (
        "MiniBrowser",
        "/usr/lib/*/webkit2gtk-4.1/MiniBrowser",
        "/usr/lib*/webkit2gtk-4.1/MiniBrowser",
        "/usr/libexec/webkit2gtk-4.1/MiniBrowser",
    )
    companions = (("Xvfb",),)
    absent = "no MiniBrowser of WebKitGTK found"
    remedies: ClassVar[Mapping[str, str]] = {
        "debian": "apt install webkit2gtk-driver xvfb",
        "fedora": "dnf install webkit2gtk4.1 xorg-x11-server-Xvfb",
        "arch": "pacman -S webkit2gtk-4.1 xorg-server-xvfb",
    }
    # After worker.terminate() a small loop stops, and one in Ruby runs on (seen with 2.50.6).
    stops_guests = False
    # ``WebKitGTK 2.50.6``; JavaScriptCore has no other number.
    version_words = r"WebKitGTK (\d[\w.]*)(?: .*)?"

    def argv(self, launch: ServingLaunch) -> Sequence[str]:
        # The URL is in a file that leads to it, since every user of the machine can see the command line.
        start = launch.workspace / "start.html"
        url = html.escape(launch.url)
        start.write_text(f'<meta http-equiv="refresh" content="0; url={url}">', encoding="utf-8")
        browser = [str(launch.executable), "--private", start.name]
        return ["/bin/sh", "-c", _SERVE, _xvfb(), *browser]

    def environment(self, workspace: Path) -> dict[str, str]:
        return super().environment(workspace) | {
            "GDK_BACKEND": "x11",
            "GSETTINGS_BACKEND": "memory",
            # Guests sleep by it. The headers of our page, which isolate it, do not get it this (2.50.6).
            "JSC_useSharedArrayBuffer": "1",
            "LIBGL_ALWAYS_SOFTWARE": "1",
            "WEBKIT_DISABLE_COMPOSITING_MODE": "1",
            "XDG_RUNTIME_DIR": str(workspace),
        }

    def version_argv(self, executable: Path) -> Sequence[str]:
        return ["/bin/sh", "-c", _VERSION, _xvfb(), str(executable)]


def _xvfb() -> str:
    return shutil.which("Xvfb") or "Xvfb"


RUNTIME = WebKit
