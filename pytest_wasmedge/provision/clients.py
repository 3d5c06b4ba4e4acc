"""The package clients that fetch a pin: pip or uv for PyPI, the pinned deno for npm.

They run in the user's environment, so that proxies, certificates and mirrors work as usual.
"""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from pytest_wasmedge.errors import ProvisionError
from pytest_wasmedge.provision.pins import Pin, digest_of

#: The time to fetch one tool, all attempts together: the largest package is about 60 MB.
FETCH_TIMEOUT_S = 1800.0

#: The time to answer a question about a package: the answers are short.
ASK_TIMEOUT_S = 300.0

#: The pauses before further attempts: a registry may be down for a moment, an answer may be cut off.
PAUSES_S = (2.0, 8.0)

#: Settings of pip that contradict ``--target``, or refuse to work outside a virtual environment.
_PIP_UNSET = ("PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_CONSTRAINT")
_PIP_SET = {"PIP_USER": "0", "PIP_REQUIRE_VIRTUALENV": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}

_MISMATCH = re.compile("(?i)do not match the hashes|hash mismatch|checksum did not match|hash sum mismatch")
#: What apt says of a Debian mirror that is being updated, which takes a minute or two.
_MAY_PASS = re.compile("(?i)hash sum mismatch")
#: What apt says of a bad signature. It also calls an archive unsigned if the signature could not be fetched.
_UNSIGNED = re.compile(
    "(?i)NO_PUBKEY|BADSIG|EXPKEYSIG|REVKEYSIG|signatures? (?:couldn't be verified|were invalid)|gpgv .*required"
)
#: The lines of apt's output that say what is wrong; the others report progress.
_OF_APT = re.compile(r"E: |W: GPG error: |\S+ : (?:Pre)?Depends: ")
#: Faults that no further attempt can fix, in the words of the C library, which all clients pass on.
_NO_ROOM = re.compile(
    "No space left on device|Disk quota exceeded|Read-only file system|File too large|Permission denied"
)


def fetch_pypi(pin: Pin, work: Path) -> Path:
    """Unpack the pinned wheel below the empty folder ``work`` and return its folder. Raises ProvisionError."""
    target = work / "package"
    requirements = work / "requirements.txt"
    requirements.write_text(f"{pin.package}=={pin.version} --hash={pin.digest}\n", encoding="utf-8")
    options = ["--require-hashes", "--only-binary", ":all:", "--no-deps"]
    options += ["--target", str(target), "-r", str(requirements)]
    if importlib.util.find_spec("pip") is not None:
        argv = [sys.executable, "-m", "pip", "install", "--no-input", "--retries", "2", "--timeout", "30"]
        argv += ["--no-compile", "--progress-bar", "off", *options]
    elif uv := shutil.which("uv"):
        argv = [uv, "pip", "install", "--python", sys.executable, *options]
    else:
        raise ProvisionError(
            f"Installing {pin.name} needs pip or uv, and {sys.executable} has neither. "
            "Run `python -m ensurepip`, or put uv on PATH, and try again."
        )
    # Not in the user's current folder: `-m pip` would import a pip.py from there.
    run(argv, pin, work, pip_env(work))
    return target


def pip_env(work: Path) -> dict[str, str]:
    """Return the user's environment without the settings by which pip would install elsewhere than into ``work``."""
    env = {name: value for name, value in os.environ.items() if name not in _PIP_UNSET}
    # A killed pip leaves its temporary folders behind: in here they are removed with ``work``.
    return env | _PIP_SET | {"TMPDIR": str(work)}


def fetch_npm(pin: Pin, work: Path, deno: Path) -> Path:
    """Unpack the pinned npm package below the empty folder ``work`` and return its folder. Raises ProvisionError.

    The lock file names this package and no dependencies, so nothing else is fetched; deno runs no install scripts.
    """
    spec = f"{pin.package}@{pin.version}"
    lock = {
        "version": "5",
        "specifiers": {f"npm:{spec}": pin.version},
        "npm": {spec: {"integrity": pin.digest}},
        "workspace": {"packageJson": {"dependencies": [f"npm:{spec}"]}},
    }
    _install_npm(pin, json.dumps(lock).encode(), work, work, deno)
    # A link into deno's own layout, to files that stay valid when DENO_DIR is deleted.
    return (work / "node_modules" / pin.package).resolve(strict=True)


def fetch_locked(pin: Pin, lock: Path, work: Path, deno: Path) -> Path:
    """Unpack the pinned npm package and all that its lock file names below ``work``; return the folder above.

    Of packages for a single platform, deno takes those for this one. The links in ``node_modules`` stay inside the
    folder, so it can be moved. Raises ProvisionError.
    """
    content = lock.read_bytes()
    if digest_of(content) != pin.digest:
        raise ProvisionError(
            f"{lock} is not the lock file that {pin.name} {pin.version} is pinned to, so nothing was fetched. "
            "Install pytest-wasmedge again; if you changed the file, write its digest into pins.toml."
        )
    tree = work / "package"
    tree.mkdir()
    _install_npm(pin, content, tree, work, deno)
    return tree


def _install_npm(pin: Pin, lock: bytes, project: Path, work: Path, deno: Path) -> None:
    """Fetch what the lock says into ``project/node_modules``; deno's own files go below ``work``."""
    make_npm_project(project, {pin.package: pin.version})
    (project / "deno.lock").write_bytes(lock)
    run([str(deno), "install", "--frozen"], pin, project, deno_env(work))


def make_npm_project(folder: Path, dependencies: Mapping[str, str]) -> None:
    """Make the folder a project with these npm dependencies, as deno reads it."""
    # Because of its own deno.json, deno looks for no configuration in the folders above.
    (folder / "deno.json").write_text('{"nodeModulesDir": "auto"}', encoding="utf-8")
    manifest = {"dependencies": dict(dependencies)}
    (folder / "package.json").write_text(json.dumps(manifest), encoding="utf-8")


def deno_env(work: Path) -> dict[str, str]:
    """Return the user's environment, with deno's own and temporary files below ``work`` and its messages plain."""
    env = {name: value for name, value in os.environ.items() if name != "DENO_NO_PACKAGE_JSON"}
    env |= {"DENO_DIR": str(work / "deno-dir"), "TMPDIR": str(work)}
    return env | {"DENO_NO_UPDATE_CHECK": "1", "NO_COLOR": "1", "RUST_BACKTRACE": "0"}


def call(
    argv: Sequence[str], cwd: Path, env: Mapping[str, str], timeout_s: float, stderr: int = subprocess.STDOUT
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, with an empty stdin. Raises OSError and subprocess.TimeoutExpired."""
    return subprocess.run(
        argv,
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=stderr,
        timeout=timeout_s,
        encoding="utf-8",
        errors="replace",
        check=False,
    )


def run(
    argv: Sequence[str], pin: Pin, cwd: Path, env: Mapping[str, str], failure: str = "", asks: bool = False
) -> str:
    """Run a client and return what it printed; faults that may pass are tried again after each pause.

    A client that only ``asks`` has less time and one attempt, because a person is waiting and can do without the
    answer. Raises ProvisionError; its message starts with ``failure``.
    """
    failure = failure or f"{pin.name} {pin.version} could not be fetched from {pin.source}"
    timeout_s, pauses = (ASK_TIMEOUT_S, []) if asks else (FETCH_TIMEOUT_S, list(PAUSES_S))
    ends_s = time.monotonic() + timeout_s
    while True:
        try:
            done = call(argv, cwd, env, max(1.0, ends_s - time.monotonic()))
        except (OSError, subprocess.TimeoutExpired) as error:
            late = f"`{Path(argv[0]).name}` was not done after {timeout_s:.0f} s and was stopped"
            why = late if isinstance(error, subprocess.TimeoutExpired) else error
            raise ProvisionError(f"{failure}: {why}. Check this machine's network and try again.") from error
        if done.returncode == 0:
            return done.stdout
        remedy = _remedy(done.stdout, pin)
        final = remedy and not _MAY_PASS.search(done.stdout)
        if final or not pauses or time.monotonic() + pauses[0] >= ends_s:
            # Without the paths of our folders.
            plain = itertools.takewhile(lambda part: "/" not in part, argv[1:4])
            raise ProvisionError(
                f"{failure}: `{shlex.join([Path(argv[0]).name, *plain])} …` ended with status {done.returncode}, "
                f"saying: {last_words(done.stdout)}. "
                + (remedy or "Check the network and the registry settings of this machine, then try again.")
            )
        time.sleep(pauses.pop(0))


def _remedy(text: str, pin: Pin) -> str:
    """Say what to do about a fault that every attempt would meet; empty for one that may pass."""
    if _MISMATCH.search(text):
        return (
            f"What came is not what is {pin.known_from}, so it was thrown away. If you use a mirror or proxy, "
            "ask who runs it; otherwise report this."
        )
    if _UNSIGNED.search(text) or ("is not signed" in text and "Failed to fetch" not in text):
        return (
            "The archive is not signed by a key that this machine trusts, so nothing of it was taken. Install or "
            "update the package debian-archive-keyring; if you use a mirror, ask who runs it."
        )
    if found := _NO_ROOM.search(text):
        return f"This machine's disk is the cause ({found[0]}): make room or give rights, then try again."
    return ""


def last_words(text: str, lines: int = 6) -> str:
    """Return the last informative lines of a program's output as one line, without its full stop."""
    kept = [line.strip() for line in text.partition("Stack backtrace:")[0].splitlines()]
    kept = [line for line in kept if line and not line.startswith(("WARNING:", "Download ", "[notice]"))]
    kept = [line for line in kept if _OF_APT.match(line)] or kept
    return " / ".join(kept[-lines:]).rstrip(".") or "nothing"
