"""Firefox, headless: each invocation in a dedicated worker of a page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from pytest_wasmedge.drivers.browser import BrowserRuntime
from pytest_wasmedge.drivers.serving import ServingLaunch

_PREFERENCES: Mapping[str, bool | int | str] = {
    # No first-run pages and no questions.
    "browser.aboutwelcome.enabled": False,
    "browser.shell.checkDefaultBrowser": False,
    "browser.startup.homepage_override.mstone": "ignore",
    "datareporting.policy.dataSubmissionEnabled": False,
    "termsofuse.bypassNotification": True,
    "browser.warnOnQuit": False,
    # No network but loopback: no name is resolved.
    "network.dns.disabled": True,
    "network.proxy.type": 0,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "network.prefetch-next": False,
    "network.http.speculative-parallel-limit": 0,
    # No updates and no reports.
    "app.normandy.enabled": False,
    "app.update.disabledForTesting": True,
    "browser.newtabpage.enabled": False,
    "browser.newtabpage.activity-stream.feeds.system.topstories": False,
    "browser.region.network.url": "",
    "browser.safebrowsing.malware.enabled": False,
    "browser.safebrowsing.phishing.enabled": False,
    "browser.search.update": False,
    "dom.push.connection.enabled": False,
    "extensions.getAddons.cache.enabled": False,
    "extensions.systemAddon.update.enabled": False,
    "extensions.update.enabled": False,
    "media.gmp-manager.updateEnabled": False,
    "security.certerrors.mitm.priming.enabled": False,
    "services.settings.server": "data:,",
    "signon.autofillForms": False,
    "toolkit.telemetry.enabled": False,
    "toolkit.telemetry.server": "data:,",
    # There is only one page.
    "browser.sessionstore.resume_from_crash": False,
    "browser.tabs.unloadOnLowMemory": False,
    "browser.pagethumbnails.capturing_disabled": True,
    "dom.ipc.processCount": 1,
    "dom.ipc.processPrelaunch.enabled": False,
    "extensions.enabledScopes": 0,
    # A guest may compute until its time limit.
    "dom.max_script_run_time": 0,
    "dom.ipc.processHangMonitor": False,
    "dom.ipc.reportProcessHangs": False,
    "dom.timeout.enable_budget_timer_throttling": False,
}


class Firefox(BrowserRuntime):
    """``firefox --headless`` with a new profile. Its WebAssembly memory cannot be limited."""

    name = "firefox"
    engine = "SpiderMonkey"
    groups = frozenset({"browsers", "engines"})
    flags_at = 1
    capabilities = frozenset({"preopens", "concurrent", "isolates"})
    tools = ("shim",)
    commands = ("firefox-esr", "firefox")
    remedies: ClassVar[Mapping[str, str]] = {
        "ubuntu": "snap install firefox",
        "debian": "apt install firefox-esr",
        "fedora": "dnf install firefox",
        "arch": "pacman -S firefox",
        "suse": "zypper install MozillaFirefox",
        "alpine": "apk add firefox",
        "macos": "brew install --cask firefox",
    }
    # The first whose workers can be modules.
    minimum = (114,)
    # ``Mozilla Firefox 153.7.0esr``; its engine bears the same number.
    version_words = r"Mozilla Firefox ((\d[\w.]*?)(?:esr)?)(?: .*)?"

    def argv(self, launch: ServingLaunch) -> Sequence[str]:
        # The URL is in the profile, as home page, since every user of the machine can see the command line.
        preferences = {**_PREFERENCES, "browser.startup.page": 1, "browser.startup.homepage": launch.url}
        lines = (
            f"user_pref({json.dumps(name)}, {json.dumps(value)});\n" for name, value in preferences.items()
        )
        profile = launch.workspace / "profile"
        profile.mkdir()
        (profile / "user.js").write_text("".join(lines), encoding="utf-8")
        return [str(launch.executable), "--headless", "--no-remote", "--profile", str(profile)]

    def environment(self, workspace: Path) -> dict[str, str]:
        return super().environment(workspace) | {"MOZ_CRASHREPORTER_DISABLE": "1"}


RUNTIME = Firefox
