"""An exported folder in Netlify's emulation, behind a URL: requests are passed on as they come."""

from __future__ import annotations

import queue
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from pytest_wasmedge.drivers import javascript
from pytest_wasmedge.drivers.process import Workspace, announcements, spawn, stop
from pytest_wasmedge.drivers.serving import ServingLaunch
from pytest_wasmedge.model import Limits
from pytest_wasmedge.runtimes.netlify import Netlify
from tests import wat

_START_S = 60

# The arguments are the emulation's module, Netlify's package, the socket, and what the function sees as NAME=VALUE.
_SERVER = """
import { createServer } from "node:http";

const [emulation, path, socket, ...given] = process.argv.slice(2);
const { emulate } = await import(emulation);
const variables = Object.fromEntries(given.map((each) => each.split("=")));
const answer = await emulate(path, socket, variables, () => process.exit(1));
const server = createServer(async (request, response) => {
  const { host, connection, "content-length": length, ...headers } = request.headers;
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const body = request.method === "POST" ? Buffer.concat(chunks) : undefined;
  const answered = await answer({ method: request.method, headers, body });
  response.writeHead(answered.status, Object.fromEntries(answered.headers));
  response.end(Buffer.from(await answered.arrayBuffer()));
});
server.listen(0, "127.0.0.1", () => console.log(JSON.stringify({ port: server.address().port })));
"""


@contextmanager
def netlify_url(folder: Path, variables: Mapping[str, str]) -> Iterator[str]:
    """Start the function in this folder with these variables, and yield its URL."""
    runtime = Netlify()
    with Workspace() as place:
        artifact = wat.unchecked(folder / "artifact.wasm")
        launch = ServingLaunch(runtime.executable(), artifact, Limits(), place.path)
        node, _, path, socket = runtime.argv(launch)
        # What is deployed, and nothing beside it.
        shutil.rmtree(place.path / "netlify")
        shutil.copytree(folder / "netlify", place.path / "netlify")
        (place.path / "server.mjs").write_text(_SERVER)
        emulation = str(javascript.glue_folder() / "emulation.mjs")
        given = [f"{name}={value}" for name, value in variables.items()]
        log = place.path / "log"
        with log.open("wb") as file:
            process = spawn(
                [node, "server.mjs", emulation, path, socket, *given],
                env=runtime.environment(place.path),
                cwd=place.path,
                stdout=subprocess.PIPE,
                stderr=file,
            )
        try:
            said = announcements(runtime.name, process, log, runtime.announcement).get(timeout=_START_S)
            if not said:
                pytest.fail(f"it ended before it listened: {log.read_text()}")
            yield f"http://127.0.0.1:{said['port']}/"
        except queue.Empty:
            pytest.fail(f"it does not listen after {_START_S} s: {log.read_text()}")
        finally:
            stop(process)
