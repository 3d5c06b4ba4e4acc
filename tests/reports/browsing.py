"""Opens a page in a real browser and asks it things: a page around it, from loopback, reports back."""

from __future__ import annotations

import contextlib
import json
import threading
from concurrent.futures import Future
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from pytest_wasmedge.drivers.browser import BrowserRuntime
from pytest_wasmedge.drivers.process import Workspace, spawn
from pytest_wasmedge.drivers.serving import START_TIMEOUT_S, ServingLaunch, end
from pytest_wasmedge.model import Artifact, Limits

_AROUND = """<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,">
<iframe id="page" style="width:1200px;height:900px"></iframe>
<script>
const frame = document.getElementById("page");
const errors = [];
const began = performance.now();
frame.addEventListener("load", async () => {
  let found;
  try {
    const [doc, win] = [frame.contentDocument, frame.contentWindow];
    const opened = performance.now() - began;
    win.addEventListener("error", (event) => errors.push(String(event.message)));
    win.console.error = (...told) => errors.push(told.join(" "));
    doc.addEventListener("securitypolicyviolation", (event) => errors.push(`${event.violatedDirective}`));
    const fire = (id, value) => {
      doc.getElementById(id).value = value;
      doc.getElementById(id).dispatchEvent(new win.Event("input", {bubbles: true}));
    };
    const painted = () => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
    await painted();
    found = await (async () => { %s })();
    const loaded = win.performance.getEntriesByType("resource").map((each) => each.name);
    found = {...found, opened, loaded, ready: doc.documentElement.dataset.ready};
  } catch (error) {
    errors.push(`${error} ${error.stack}`);
  }
  await fetch("result", {method: "POST", body: JSON.stringify({...found, errors})});
});
frame.src = "report.html";
</script>
"""


@dataclass
class Asked:
    """What the page answered, and every path that the browser asked the server for."""

    found: dict[str, Any]
    paths: list[str]


def ask(runtime: BrowserRuntime, page: str, script: str, library: bytes = b"") -> Asked:
    """Open a page in this browser, run a script beside it, and return what that returns.

    The script has the page's ``doc`` and ``win``, ``fire(id, value)``, which fills in a field, and ``painted()``. It
    can fetch the ``library`` as ``library.js``.
    """
    told: Future[dict[str, Any]] = Future()
    files = {"/": (_AROUND % script).encode(), "/report.html": page.encode(), "/library.js": library}
    paths: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            paths.append(self.path)
            body = files.get(self.path)
            self.send_response(404 if body is None else 200)
            self.send_header("content-type", "text/html; charset=utf-8")
            self.send_header("content-length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            self.send_response(204)
            self.end_headers()
            told.set_result(json.loads(body))

        def log_message(self, format: str, *args: object) -> None:
            pass

    with contextlib.ExitStack() as undo:
        server = undo.enter_context(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        undo.callback(thread.join)
        undo.callback(server.shutdown)
        workspace = undo.enter_context(Workspace()).path
        url = f"http://127.0.0.1:{server.server_port}/"
        artifact = Artifact(Path("none.wasm"), "", 0, "none")
        launch = ServingLaunch(runtime.executable(), artifact, Limits(), workspace, url=url)
        argv, environment = runtime.argv(launch), runtime.environment(workspace)
        process = spawn(argv, env=environment, cwd=workspace, stdin=-1)
        undo.callback(end, process)
        assert process.stdin
        process.stdin.write(runtime.greeting(launch))
        process.stdin.flush()
        return Asked(told.result(2 * START_TIMEOUT_S), paths)
