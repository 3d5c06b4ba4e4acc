"""Tries `pip install` of our wheel and `pytest-wasmedge install` behind a proxy that drops, delays and cuts off.

usage, in a checkout: .venv/bin/python scripts/bad_network.py [TOOL …]  (default: deno shim wasmtime-cli wasmedge)

Each situation has an empty environment and an empty cache, and the real registries behind a proxy on loopback. Prints
a line for each command: its exit status, how long it took, and what it said last. Fetches about 300 MB per situation.
"""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parents[1]
#: What happens to connection number N (from 0): refuse it, cut it after so many bytes, wait before it and each piece.
Situation = Callable[[int], tuple[bool, int | None, float]]
SITUATIONS: dict[str, Situation] = {
    "good": lambda n: (False, None, 0.0),
    "every third connection is refused": lambda n: (n % 3 == 0, None, 0.0),
    "every third answer is cut off": lambda n: (False, 50_000 if n % 3 == 0 else None, 0.0),
    "each answer begins after a second": lambda n: (False, None, 1.0),
    "down": lambda n: (True, None, 0.0),
}


class Proxy(threading.Thread):
    """Forwards what it is asked to, as badly as the situation says."""

    def __init__(self, situation: Situation) -> None:
        super().__init__(daemon=True)
        self.situation, self.count = situation, 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"

    def run(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            number, self.count = self.count, self.count + 1
            threading.Thread(target=self.serve, args=(client, number), daemon=True).start()

    def serve(self, client: socket.socket, number: int) -> None:
        refused, most, delay_s = self.situation(number)
        with client:
            head = b""
            while b"\r\n\r\n" not in head:
                piece = client.recv(65536)
                if not piece:
                    return
                head += piece
            if refused:
                client.sendall(
                    b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                )
                return
            time.sleep(delay_s)
            method, target, _ = head.split(b" ", 2)
            if method == b"CONNECT":
                host, _, port = target.decode().partition(":")
            else:
                parts = urlsplit(target.decode())
                host, port = parts.hostname or "", str(parts.port or 80)
            with socket.create_connection((host, int(port)), 30) as server:
                if method == b"CONNECT":
                    client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                else:
                    server.sendall(head)
                self.forward(client, server, most)

    @staticmethod
    def forward(client: socket.socket, server: socket.socket, most: int | None) -> None:
        told = 0
        while True:
            ready, _, _ = select.select([client, server], [], [], 60)
            if not ready:
                return
            for source in ready:
                piece = source.recv(65536)
                if not piece:
                    return
                if source is server:
                    told += len(piece)
                    if most is not None and told > most:
                        client.sendall(piece[: len(piece) // 2])
                        return
                (client if source is server else server).sendall(piece)


def attempt(label: str, argv: list[str | Path], env: dict[str, str]) -> None:
    began_s = time.monotonic()
    done = subprocess.run(
        argv, env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
    )
    said = [
        line
        for line in (done.stdout + done.stderr).splitlines()
        if line and not line.startswith("WARNING: Loc")
    ]
    print(
        f"  {label}: status {done.returncode} after {time.monotonic() - began_s:.0f} s: {said[-1] if said else ''}"[
            :400
        ]
    )


def main(tools: list[str]) -> None:
    for name, situation in SITUATIONS.items():
        with tempfile.TemporaryDirectory(prefix="bad-network-") as folder:
            place = Path(folder)
            python = ROOT / ".venv" / "bin" / "python"
            subprocess.run(
                [python, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", place, ROOT],
                check=True,
            )
            [wheel] = place.glob("*.whl")
            subprocess.run([python, "-m", "venv", place / "venv"], check=True)
            proxy = Proxy(situation)
            proxy.start()
            env = dict(os.environ) | {
                "PYTEST_WASMEDGE_CACHE": str(place / "cache"),
                "PIP_NO_CACHE_DIR": "1",
                **{f"{scheme}_proxy": proxy.url for scheme in ("http", "https")},
                **{f"{scheme}_PROXY": proxy.url for scheme in ("HTTP", "HTTPS")},
            }
            print(f"{name}:")
            attempt("pip install WHEEL", [place / "venv/bin/pip", "install", "-q", wheel], env)
            command = place / "venv/bin/pytest-wasmedge"
            if not command.exists():
                # What comes after it is tried all the same.
                attempt(
                    "pip install WHEEL, without the proxy",
                    [place / "venv/bin/pip", "install", "-q", wheel],
                    dict(os.environ),
                )
            attempt("pytest-wasmedge install", [command, "install", *tools], env)
            attempt(
                "the same again, without any network",
                [command, "install", *tools],
                env
                | {f"{scheme}_proxy": "http://127.0.0.1:9" for scheme in ("http", "https", "HTTP", "HTTPS")},
            )
            left = [path.name for path in (place / "cache/tools").glob(".*")]
            print(f"  half-installed: {', '.join(left) or 'nothing'}; connections: {proxy.count}")
            proxy.listener.close()


if __name__ == "__main__":
    main(sys.argv[1:] or ["deno", "shim", "wasmtime-cli", "wasmedge"])
