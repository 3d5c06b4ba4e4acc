"""The package clients that fetch a pin: pip or uv for PyPI, the pinned deno for npm.

They keep the user's environment, so that proxies, certificates and mirrors work as everywhere else.
"""

from __future__ import annotations

import hashlib
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
from pytest_wasmedge.provision.pins import Pin

#: One tool is given up after so long, all attempts together: the largest package is about 60 MB.
FETCH_TIMEOUT_S = 1800.0

#: What failed is tried again after each of these: a registry that is down for a moment, an answer that was cut off.
PAUSES_S = (2.0, 8.0)

#: Settings of pip that contradict ``--target``, or refuse to work outside a virtual environment.
_PIP_UNSET = ("PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_CONSTRAINT")
_PIP_SET = {"PIP_USER": "0", "PIP_REQUIRE_VIRTUALENV": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}

_MISMATCH = re.compile(
    "do not match the hashes|hash mismatch|checksum did not match|hash sum mismatch", re.IGNORECASE
)
#: A mirror of Debian that is being updated answers so for a minute or two.
_MAY_PASS = re.compile("hash sum mismatch", re.IGNORECASE)
#: In apt's words. It also calls an archive unsigned whose signature could not be fetched.
_UNSIGNED = re.compile(
    "NO_PUBKEY|BADSIG|EXPKEYSIG|REVKEYSIG|signatures? (?:couldn't be verified|were invalid)|gpgv .*required",
    re.IGNORECASE,
)
_NO_SIGNATURE = re.compile("is not signed")
_NOT_FETCHED = re.compile("Failed to fetch")
#: Of what apt prints, the lines that say what is wrong: between them it tells what it has done.
_OF_APT = re.compile(r"E: |W: GPG error: |\S+ : (?:Pre)?Depends: ")
#: What no second attempt mends: the words of the C library, which all clients pass on.
_NO_ROOM = re.compile(
    "No space left on device|Disk quota exceeded|Read-only file system|File too large|Permission denied"
)


def fetch_pypi(pin: Pin, work: Path) -> Path:
    """Unpack the pinned wheel below the empty folder ``work`` and return where. Raises ProvisionError."""
    target = work / "package"
    requirements = work / "requirements.txt"
    requirements.write_text(f"{pin.package}=={pin.version} --hash={pin.digest}\n", encoding="utf-8")
    options = ["--require-hashes", "--only-binary", ":all:", "--no-deps"]
    options += ["--target", str(target), "-r", str(requirements)]
    if importlib.util.find_spec("pip") is not None:
        argv = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--no-input",
            "--retries",
            "2",
            "--timeout",
            "30",
            "--no-compile",
            "--progress-bar",
            "off",
            *options,
        ]
    elif uv := shutil.which("uv"):
        argv = [uv, "pip", "install", "--python", sys.executable, *options]
    else:
        raise ProvisionError(
            f"Installing {pin.name} needs pip or uv, and {sys.executable} has neither. "
            "Run `python -m ensurepip`, or put uv on PATH, and try again."
        )
    env = pip_env(work)
    # work is also the current folder: `-m pip` would import a pip.py that lies in the user's.
    _run(argv, pin, cwd=work, env=env)
    return target


def pip_env(work: Path) -> dict[str, str]:
    """Return the user's environment without what would make pip install elsewhere than told."""
    env = {name: value for name, value in os.environ.items() if name not in _PIP_UNSET}
    # A killed pip leaves its temporary folders behind: let them be ours.
    return env | _PIP_SET | {"TMPDIR": str(work)}


def fetch_npm(pin: Pin, work: Path, deno: Path) -> Path:
    """Unpack the pinned npm package below the empty folder ``work`` and return where. Raises ProvisionError.

    The lock file names this one package and no dependencies of it, so nothing else is fetched; deno runs
    no install scripts unless it is asked to.
    """
    spec = f"{pin.package}@{pin.version}"
    lock = {
        "version": "5",
        "specifiers": {f"npm:{spec}": pin.version},
        "npm": {spec: {"integrity": pin.digest}},
        "workspace": {"packageJson": {"dependencies": [f"npm:{spec}"]}},
    }
    _install_npm(pin, json.dumps(lock).encode(), work, work, deno)
    # A link into deno's own layout; its files share nothing with DENO_DIR once that is deleted.
    return (work / "node_modules" / pin.package).resolve(strict=True)


def fetch_locked(pin: Pin, lock: Path, work: Path, deno: Path) -> Path:
    """Unpack the pinned npm package and all that its lock file names below ``work``; return the folder above.

    Of packages that are for one platform only, deno takes those for this one. In ``node_modules`` there are links, but
    none that leads outside, so the folder can be moved. Raises ProvisionError.
    """
    content = lock.read_bytes()
    if f"sha256:{hashlib.sha256(content).hexdigest()}" != pin.digest:
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
    # The presence of a deno.json keeps deno from looking for a configuration in the folders above.
    (project / "deno.json").write_text('{"nodeModulesDir": "auto"}', encoding="utf-8")
    manifest = {"dependencies": {pin.package: pin.version}}
    (project / "package.json").write_text(json.dumps(manifest), encoding="utf-8")
    (project / "deno.lock").write_bytes(lock)
    env = {name: value for name, value in os.environ.items() if name != "DENO_NO_PACKAGE_JSON"}
    _run([str(deno), "install", "--frozen"], pin, cwd=project, env=env | deno_env(work))


def deno_env(work: Path) -> dict[str, str]:
    """Return the settings that keep deno's own and temporary files below ``work`` and its messages plain."""
    return {
        "DENO_DIR": str(work / "deno-dir"),
        "TMPDIR": str(work),
        "DENO_NO_UPDATE_CHECK": "1",
        "NO_COLOR": "1",
        "RUST_BACKTRACE": "0",
    }


def _run(argv: Sequence[str], pin: Pin, cwd: Path, env: Mapping[str, str]) -> None:
    run(argv, pin, cwd, env, f"{pin.name} {pin.version} could not be fetched from {pin.source}")


def run(
    argv: Sequence[str],
    pin: Pin,
    cwd: Path,
    env: Mapping[str, str],
    failure: str,
    timeout_s: float | None = None,
    pauses_s: Sequence[float] | None = None,
) -> str:
    """Run a client and return what it printed; what may be a passing fault is tried again after each pause.

    ``timeout_s`` bounds all attempts together. Raises ProvisionError that begins with ``failure``.
    """
    timeout_s = FETCH_TIMEOUT_S if timeout_s is None else timeout_s
    ends_s = time.monotonic() + timeout_s
    pauses = list(PAUSES_S if pauses_s is None else pauses_s)
    while True:
        try:
            status, text = _run_once(argv, cwd, env, max(1.0, ends_s - time.monotonic()))
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ProvisionError(
                f"{failure}: {_why_it_ended(error, argv, timeout_s)}. Check the network of this machine and try again."
            ) from error
        if status == 0:
            return text
        said = f"{failure}: `{_short(argv)} …` ended with status {status}, saying: {last_words(text)}."
        remedy = _remedy(text, pin)
        final = remedy and not _MAY_PASS.search(text)
        if final or not pauses or time.monotonic() + pauses[0] >= ends_s:
            remedy = remedy or "Check the network and the registry settings of this machine, then try again."
            raise ProvisionError(f"{said} {remedy}")
        time.sleep(pauses.pop(0))


def _run_once(argv: Sequence[str], cwd: Path, env: Mapping[str, str], timeout_s: float) -> tuple[int, str]:
    done = subprocess.run(
        argv,
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=timeout_s,
        check=False,
    )
    return done.returncode, done.stdout.decode("utf-8", "replace")


def _short(argv: Sequence[str]) -> str:
    """Return the beginning of a command line, without paths of ours."""
    plain = itertools.takewhile(lambda part: "/" not in part, argv[1:4])
    return shlex.join([Path(argv[0]).name, *plain])


def _why_it_ended(error: Exception, argv: Sequence[str], timeout_s: float) -> str:
    if isinstance(error, subprocess.TimeoutExpired):
        return f"`{Path(argv[0]).name}` was not done after {timeout_s:.0f} s and was stopped"
    return str(error)


def _remedy(text: str, pin: Pin) -> str:
    """Say what to do about a fault that is the same at every attempt; empty for one that may pass."""
    if _MISMATCH.search(text):
        return (
            f"What came is not what is {pin.known_from}, so it was thrown away. If a mirror or proxy stands between, "
            "ask who runs it; otherwise report this."
        )
    if _UNSIGNED.search(text) or (_NO_SIGNATURE.search(text) and not _NOT_FETCHED.search(text)):
        return (
            "The archive is not signed by a key that this machine trusts, so nothing of it was taken. Install or "
            "update the package debian-archive-keyring; if a mirror stands between, ask who runs it."
        )
    if found := _NO_ROOM.search(text):
        return f"That is this machine's disk ({found[0]}): make room or give rights there, then try again."
    return ""


def last_words(text: str, lines: int = 6) -> str:
    """Return the last telling lines of a program's output as one line, without its full stop."""
    kept = [line.strip() for line in text.partition("Stack backtrace:")[0].splitlines()]
    kept = [line for line in kept if line and not line.startswith(("WARNING:", "Download ", "[notice]"))]
    kept = [line for line in kept if _OF_APT.match(line)] or kept
    return " / ".join(kept[-lines:]).rstrip(".") or "nothing"
