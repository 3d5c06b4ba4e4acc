"""A small Debian archive in a folder, made and signed with Debian's own tools, for tests of what comes from there."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

#: Commands that a test with an archive needs, and the packages that have them.
COMMANDS = {
    "apt-get": "apt",
    "dpkg": "dpkg",
    "dpkg-deb": "dpkg",
    "apt-ftparchive": "apt-utils",
    "gpg": "gnupg",
    "gpgconf": "gnupg",
}
COMPONENT = "main"


def missing() -> str:
    """Say which packages are missing; empty if none."""
    packages = sorted({package for command, package in COMMANDS.items() if shutil.which(command) is None})
    return f"no {', '.join(packages)} here; on Debian: apt install {' '.join(packages)}" if packages else ""


def require() -> None:
    """Skip a test that cannot make an archive here; in CI, which installs what is needed, that is a failure."""
    if lacking := missing():
        (pytest.fail if os.environ.get("CI") else pytest.skip)(lacking)


def architecture() -> str:
    """Return Debian's word for this processor."""
    return run("dpkg", "--print-architecture").strip()


def run(*command: str | Path, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> str:
    """Run a command and return what it printed; a failure shows what it said."""
    done = subprocess.run(
        command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


class Key:
    """A key that signs archives; ``public`` is what a machine has of one that it trusts."""

    def __init__(self, home: Path, public: Path, name: str) -> None:
        self._home, self.public = home, public
        self._gpg("--quick-generate-key", f"{name} <{name}@archive.test>", "ed25519", "sign", "never")
        public.write_text(self._gpg("--armor", "--export"))

    def sign(self, release: Path, signed: Path) -> None:
        """Write what the file says, with a signature."""
        self._gpg("--yes", "--clearsign", "--output", str(signed), str(release))

    def _gpg(self, *arguments: str) -> str:
        options = ("--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", "")
        return run("gpg", "--homedir", self._home, *options, *arguments)


@contextmanager
def new_key(public: Path, name: str = "archive") -> Iterator[Key]:
    """Make a key; its agent is gone afterwards."""
    require()
    # Not below the test's folder: the name of a socket must be short.
    home = Path(tempfile.mkdtemp(prefix="gpg-"))
    try:
        yield Key(home, public, name)
    finally:
        run("gpgconf", "--homedir", home, "--kill", "all")
        shutil.rmtree(home, ignore_errors=True)


class Archive:
    """A suite of packages in a folder; nothing of it is seen until it is published."""

    def __init__(self, root: Path, suite: str) -> None:
        require()
        self.root, self.suite = root, suite
        self.pool = root / "pool" / suite
        self.pool.mkdir(parents=True)

    def add(
        self, package: str, version: str, files: Mapping[str, bytes | Path] | None = None, depends: str = ""
    ) -> Path:
        """Build a package, in place of older versions of it, and return its .deb."""
        for older in self.pool.glob(f"{package}_*.deb"):
            older.unlink()
        with tempfile.TemporaryDirectory(prefix="deb-", dir=self.root) as place:
            tree = Path(place)
            tree.chmod(0o755)
            for name, content in (files or {}).items():
                path = tree / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content.read_bytes() if isinstance(content, Path) else content)
                path.chmod(0o755)
            control = {
                "Package": package,
                "Version": version,
                "Architecture": architecture(),
                "Maintainer": "nobody <nobody@archive.test>",
                "Description": "made by a test",
            } | ({"Depends": depends} if depends else {})
            (tree / "DEBIAN").mkdir()
            (tree / "DEBIAN" / "control").write_text("".join(f"{k}: {v}\n" for k, v in control.items()))
            deb = self.pool / f"{package}_{version}_{architecture()}.deb"
            run("dpkg-deb", "--build", "--root-owner-group", "-Znone", tree, deb)
        return deb

    def publish(self, key: Key | None) -> None:
        """Write the index, signed with this key; with none, unsigned."""
        dist = self.root / "dists" / self.suite
        shutil.rmtree(dist, ignore_errors=True)
        index = dist / COMPONENT / f"binary-{architecture()}"
        index.mkdir(parents=True)
        packages = run("apt-ftparchive", "packages", self.pool.relative_to(self.root), cwd=self.root)
        (index / "Packages").write_text(packages)
        release = ["Suite", "Codename"], self.suite
        options = [f"-oAPT::FTPArchive::Release::{field}={release[1]}" for field in release[0]]
        options += [f"-oAPT::FTPArchive::Release::Architectures={architecture()}"]
        options += [f"-oAPT::FTPArchive::Release::Components={COMPONENT}"]
        told = run("apt-ftparchive", *options, "release", dist, cwd=self.root)
        (dist / "Release").write_text(told)
        if key:
            key.sign(dist / "Release", dist / "InRelease")

    def source(self, key: Key, options: str = "") -> str:
        """Return the line of a machine's sources.list that names this archive and the key that it trusts."""
        return f"deb [signed-by={key.public} {options}] file:{self.root} {self.suite} {COMPONENT}\n"


def echo_with_its_library() -> tuple[dict[str, bytes | Path], dict[str, bytes | Path]]:
    """Return the files of two packages: the machine's `echo` as the program, and the C library it is started with."""
    folder = f"{os.uname().machine}-linux-gnu"
    program = Path(shutil.which("echo") or "/bin/echo").resolve()
    libraries: dict[str, bytes | Path] = {}
    for line in run("ldd", program).splitlines():
        # libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x…), and /lib64/ld-linux-x86-64.so.2 (0x…)
        place = next((Path(word) for word in line.split() if word.startswith("/")), None)
        if place is not None:
            libraries[f"usr/lib/{folder}/{place.name}"] = place
    return {"usr/bin/wasmedge": program}, libraries
