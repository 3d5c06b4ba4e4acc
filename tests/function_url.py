"""A function of an exported folder behind a URL, as Lambda puts it there: requests become events, one at a time."""

from __future__ import annotations

import base64
import importlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from pytest_wasmedge.drivers.process import spawn, stop
from pytest_wasmedge.drivers.runtime_api import RuntimeApi, event
from pytest_wasmedge.drivers.serving import ServingLaunch
from pytest_wasmedge.model import Limits
from tests import wat

_START_S, _ANSWER_S = 60, 60


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    api: RuntimeApi
    turn: threading.Lock

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        with self.turn:
            content = self.api.post(event(body, headers, self.command), _ANSWER_S).result(_ANSWER_S)
        reply = json.loads(content)
        answer = base64.b64decode(reply["body"])
        self.send_response_only(reply["statusCode"])
        for name, value in reply["headers"].items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_POST

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@contextmanager
def function_url(folder: Path, env: Mapping[str, str]) -> Iterator[str]:
    """Start the function in this folder with these variables, and yield its URL."""
    runtime = importlib.import_module("pytest_wasmedge.runtimes.lambda").RUNTIME()
    with ExitStack() as ends:
        api = RuntimeApi(64 << 20)
        ends.callback(api.close)
        artifact = wat.unchecked(folder / "artifact.wasm")
        launch = ServingLaunch(runtime.executable(), artifact, Limits(), folder)
        with (folder.parent / "function.log").open("ab") as log:
            process = spawn(
                runtime.argv(launch),
                env={**runtime.environment(folder), **env, "AWS_LAMBDA_RUNTIME_API": api.authority},
                cwd=folder,
                stdout=log,
                stderr=log,
            )
        ends.callback(stop, process)
        api.start(process.pid)
        api.ready.result(_START_S)
        handler = type("Handler", (_Handler,), {"api": api, "turn": threading.Lock()})
        server = ends.enter_context(ThreadingHTTPServer(("127.0.0.1", 0), handler))
        serving = threading.Thread(target=server.serve_forever, daemon=True)
        serving.start()
        ends.callback(server.shutdown)
        yield f"http://127.0.0.1:{server.server_port}/"
