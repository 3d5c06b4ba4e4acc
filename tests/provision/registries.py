"""Small registries on loopback, for wheels and for npm packages, and pins of what they have, for tests of both."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import threading
import zipfile
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from pytest_wasmedge.provision import pins

#: The tags of the wheels of a platform: of an older and of a newer system where there are two.
TAGS = {
    "linux-x86_64": ("manylinux_2_28_x86_64", "manylinux_2_39_x86_64"),
    "macos-arm64": ("macosx_11_0_arm64",),
}


class Registries:
    """An index of wheels and an npm registry in one server; what was not added is not found."""

    def __init__(self) -> None:
        self.wheels: dict[str, tuple[bytes, bool]] = {}
        self.npm: dict[str, dict[str, dict[str, Any]]] = {}
        self.down = False
        registries = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, kind, body = registries._answer(unquote(self.path))
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def close(self) -> None:
        """End the server."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def add_wheel(self, version: str, on: str, tag: int = 0, salt: str = "", yanked: bool = False) -> str:
        """Have the wheel of ``fake-py`` in this version for a platform; return its digest."""
        name = f"fake_py-{version}-py3-none-{TAGS[on][tag]}.whl"
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w") as archive:
            info = f"fake_py-{version}.dist-info"
            metadata = f"Metadata-Version: 2.1\nName: fake-py\nVersion: {version}\nSummary: {on} {salt}\n"
            archive.writestr(f"{info}/METADATA", metadata)
            archive.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\nTag: py3-none-{TAGS[on][tag]}\n")
        self.wheels[name] = (content.getvalue(), yanked)
        return f"sha256:{hashlib.sha256(content.getvalue()).hexdigest()}"

    def withdraw_wheels(self, version: str, on: str = "") -> None:
        """Have no wheel of this version any more, or none for that platform."""
        for name in list(self.wheels):
            if f"-{version}-" in name and (not on or any(tag in name for tag in TAGS[on])):
                del self.wheels[name]

    def add_npm(self, name: str, version: str, needs: Mapping[str, str] | None = None, salt: str = "") -> str:
        """Have this npm package; return its integrity."""
        content = f"{name} {version} {salt}".encode()
        integrity = f"sha512-{base64.b64encode(hashlib.sha512(content).digest()).decode()}"
        tarball = f"{self.url}/{name}/-/{name.rpartition('/')[2]}-{version}.tgz"
        about = {"name": name, "version": version, "dependencies": dict(needs or {})}
        about |= {"dist": {"tarball": tarball, "integrity": integrity}}
        self.npm.setdefault(name, {})[version] = about
        return integrity

    def _answer(self, path: str) -> tuple[int, str, bytes]:
        if self.down:
            return 403, "text/plain", b"closed for today"
        if path == "/simple/fake-py/":
            links = []
            for name, (content, yanked) in self.wheels.items():
                digest = hashlib.sha256(content).hexdigest()
                odd = " data-yanked=''" if yanked else ""
                links.append(f"<a href='/files/{name}#sha256={digest}'{odd}>{name}</a>")
            page = f"<!DOCTYPE html><html><body>{'<br>'.join(links)}</body></html>"
            return 200, "text/html", page.encode()
        if (file := path.removeprefix("/files/")) in self.wheels:
            return 200, "application/octet-stream", self.wheels[file][0]
        if versions := self.npm.get(path.removeprefix("/")):
            # The last one added is the latest.
            about = {"name": path[1:], "dist-tags": {"latest": [*versions][-1]}, "versions": versions}
            return 200, "application/json", json.dumps(about).encode()
        return 404, "text/plain", b"no such thing"


class Checkout:
    """A checkout whose pins are ``py`` (wheels), ``js`` (an npm package for each platform) and ``tree`` (locked)."""

    def __init__(self, root: Path, registries: Registries) -> None:
        self.root = root
        self.registries = registries
        self.pins = root / "pytest_wasmedge" / "provision" / "pins.toml"
        self.locks = self.pins.parent / "locks"
        self.lock = self.locks / "tree" / "deno.lock"
        self.lock.parent.mkdir(parents=True)
        (root / "pyproject.toml").touch()

    def fill(self) -> None:
        """Have version 1 of everything in the registries, and pinned."""
        have = self.registries
        have.add_npm("light", "1.0.0", {"shared": "*"})
        have.add_npm("shared", "1.0.0")
        have.add_npm("only-heavy", "1.0.0")
        have.add_npm("heavy", "1.0.0", {"shared": "*", "only-heavy": "*"})
        tree = have.add_npm("tree", "1.0.0", {"light": "1", "heavy": "1"})
        lock = {
            "version": "5",
            "specifiers": {"npm:tree@1.0.0": "1.0.0"},
            "npm": {
                "light@1.0.0": {
                    "integrity": have.npm["light"]["1.0.0"]["dist"]["integrity"],
                    "dependencies": ["shared"],
                },
                "shared@1.0.0": {"integrity": have.npm["shared"]["1.0.0"]["dist"]["integrity"]},
                "tree@1.0.0": {"integrity": tree, "dependencies": ["light"]},
            },
            "workspace": {"packageJson": {"dependencies": ["npm:tree@1.0.0"]}},
        }
        self.lock.write_text(json.dumps(lock, indent=2) + "\n")
        places = {
            "PY_LINUX": have.add_wheel("1.0", "linux-x86_64"),
            "PY_MAC": have.add_wheel("1.0", "macos-arm64"),
            "JS_LINUX": have.add_npm("@fake/js-linux", "1.0.0"),
            "JS_MAC": have.add_npm("@fake/js-mac", "1.0.0"),
            "TREE": f"sha256:{hashlib.sha256(self.lock.read_bytes()).hexdigest()}",
        }
        text = PINS
        for name, digest in places.items():
            text = text.replace(f"<{name}>", digest)
        self.pins.write_text(text)

    def read_anew(self) -> None:
        """Let the next question be about what is pinned now."""
        pins._tables.cache_clear()


PINS = """\
# What stands above all.

[py] # wheels
source = "pypi"
package = "fake-py"
version =   "1.0"  # why this one
entry = "bin/py"
executable = true
smoke = { argv = ["--version"], stdout = '''
1
''' }
[py.platforms]
linux-x86_64.digest = "<PY_LINUX>"
macos-arm64.digest  = "<PY_MAC>" # Apple's

# What stands above js.
[js]
source = "npm"
version = "1.0.0"
entry = 'bin/js'
executable = true
[js.smoke]
# Not the version.
argv = ["1.0.0"]
stdout = "1.0.0"
[js.platforms.linux-x86_64]
package = "@fake/js-linux"
digest = "<JS_LINUX>"
[js.platforms.macos-arm64]
package = "@fake/js-mac"
digest = "<JS_MAC>"

# What stands above tree.
[tree]
source = "npm"
package = "tree"
version = "1.0.0"
without = ["heavy"]
entry = "node_modules/tree/index.js"
executable = false
smoke = { argv = [], stdout = "" }
[tree.platforms]
any.digest = "<TREE>"
# What stands below all.
"""
