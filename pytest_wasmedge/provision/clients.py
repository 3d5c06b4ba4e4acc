"""The package clients that fetch a pin: pip or uv for PyPI, the pinned deno for npm.

They keep the user's environment, so that proxies, certificates and mirrors work as everywhere else.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from pytest_wasmedge.errors import ProvisionError
from pytest_wasmedge.provision.pins import Pin

#: A client that is silent for so long is stuck: the largest package is about 60 MB.
FETCH_TIMEOUT_S = 1800.0

#: Settings of pip that contradict ``--target``, or refuse to work outside a virtual environment.
_PIP_UNSET = ("PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_CONSTRAINT")
_PIP_SET = {"PIP_USER": "0", "PIP_REQUIRE_VIRTUALENV": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}

_MISMATCH = re.compile("do not match the hashes|hash mismatch|checksum did not match", re.IGNORECASE)


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
    timeout_s: float = FETCH_TIMEOUT_S,
) -> str:
    """Run a client and return what it printed. Raises ProvisionError that begins with ``failure``."""
    try:
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
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ProvisionError(
            f"{failure}: {error}. Check the network of this machine and try again."
        ) from error
    text = done.stdout.decode("utf-8", "replace")
    if done.returncode == 0:
        return text
    if _MISMATCH.search(text):
        remedy = (
            f"What came is not what is {pin.known_from}, so it was thrown away. If a mirror or proxy stands between, "
            "ask who runs it; otherwise report this."
        )
    else:
        remedy = "Check the network and the registry settings of this machine, then try again."
    raise ProvisionError(
        f"{failure}: "
        f"`{shlex.join([Path(argv[0]).name, *argv[1:4]])} …` ended with status {done.returncode}, saying: "
        f"{last_words(text)}. {remedy}"
    )


def last_words(text: str, lines: int = 6) -> str:
    """Return the last telling lines of a program's output as one line."""
    kept = [line.strip() for line in text.partition("Stack backtrace:")[0].splitlines()]
    kept = [line for line in kept if line and not line.startswith(("WARNING:", "Download ", "[notice]"))]
    return " / ".join(kept[-lines:]) or "nothing"
