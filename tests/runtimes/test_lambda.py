"""Lambda's runtime client against our Runtime API: functions that do not load, fail or die, and who may ask."""

from __future__ import annotations

import importlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import cast

import pytest

from pytest_wasmedge.drivers.compiled import discard, vouch
from pytest_wasmedge.drivers.function import FunctionHost, FunctionRuntime
from pytest_wasmedge.drivers.http import SECRET_HEADER
from pytest_wasmedge.drivers.runtime_api import RuntimeApi, holds, read_reply
from pytest_wasmedge.errors import HostStartError
from pytest_wasmedge.model import Artifact, Limits, exited, host_failed, timed_out
from pytest_wasmedge.provision import installed
from tests import wat
from tests.actor import ACTOR, act
from tests.refused import hear_late
from tests.waiting import is_running, until

# Its name is a word of the language.
Lambda: type[FunctionRuntime] = importlib.import_module("pytest_wasmedge.runtimes.lambda").RUNTIME
Start = Callable[..., FunctionHost]
PATIENCE_S = 30.0
#: A function that answers everything by what the line after this one says of the event and the context.
ANSWERS = "import json, os, sys, time\ndef handler(event, context):\n    "
#: A framed outcome in which a function has written what `said` is.
FRAMED = """
    import base64
    head = {"stdout_bytes": len(said), "stderr_bytes": 0, "ending": {"kind": "exited", "status": 0, "detail": ""},
            "invocation": 1}
    body = base64.b64encode(json.dumps(head).encode() + b"\\n" + said).decode()
    return {"statusCode": 200, "headers": {}, "body": body, "isBase64Encoded": True}
"""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a host of the actor, or of another function in the place of ours; it is closed when the test ends."""
    if not installed("awslambdaric"):
        pytest.fail("lambda: no awslambdaric; run `make setup`", pytrace=False)

    class Other(Lambda):  # type: ignore[misc, valid-type]
        text = ""

        def write_folder(self, folder: Path, artifact: Artifact) -> None:
            super().write_folder(folder, artifact)
            if self.text:
                (folder / "handler.py").unlink()
                (folder / "handler.py").write_text(self.text)

    with ExitStack() as hosts:

        def start(text: str = "", **limits: int) -> FunctionHost:
            runtime = Other()
            runtime.text = text
            host = runtime.start(wat.artifact(tmp_path, ACTOR), Limits(**limits))
            return cast("FunctionHost", hosts.enter_context(host))

        yield start


# -- functions that do not load


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("raise OSError('no engine')", "could not load the function: OSError: no engine"),
        (
            "import absent",
            "could not load the function: Runtime.ImportModuleError: .*No module named 'absent'",
        ),
        ("def handler(", "could not load the function: Runtime.UserCodeSyntaxError"),
        ("other = 1", "could not load the function: Runtime.HandlerNotFound"),
        ("import os; print('last', flush=True); os._exit(3)", "ended with status 3(?s:.*)last"),
    ],
)
def test_a_function_that_does_not_load(start: Start, text: str, said: str) -> None:
    """What the client posts as its init error is what the start fails with; or how it ended."""
    with pytest.raises(HostStartError, match=f"(?s)^lambda could not start with .*{said}"):
        start(text)


def test_code_that_the_engine_refuses(start: Start) -> None:
    """What the engine does not load is compiled anew, once, as for other runtimes; deployed, the function says how."""
    first = start()
    kept = first.runtime.kept_code(first.artifact)
    assert kept
    with ExitStack() as ends:
        # Whatever comes of it: the cache is everybody's.
        ends.callback(discard, kept)
        kept.write_bytes(b"no code at all")
        vouch(kept)

        assert start().run(act("echoes", rest=b"same")).stdout == b"same"
        assert kept.read_bytes() != b"no code at all"


# -- functions that fail


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("raise ValueError('boom')", "the function failed: ValueError: boom"),
        ("return {1, 2}", "the function failed: Runtime.MarshalError"),
        ("return 'nothing of ours'", "which we cannot read"),
        ("return {'statusCode': 200}", "which we cannot read"),
        ("return {'statusCode': 500, 'body': 'no', 'isBase64Encoded': False}", "answered HTTP 500: b'no'"),
    ],
)
def test_a_function_that_fails(start: Start, line: str, said: str) -> None:
    """Its error, or an answer that is none, is the host's failure; the environment goes on to serve."""
    host = start(ANSWERS + line)
    before = host.pids()
    for _ in range(2):
        ending = host.run().ending
        assert ending == host_failed()
        assert said in ending.detail

    assert host.pids() == before


def test_a_function_that_dies(start: Start) -> None:
    """A process that ends in an invocation is told as such, with its last words; the next has an environment."""
    host = start(ANSWERS + "print('last words', flush=True); os._exit(7)")
    before = set(host.pids())
    for _ in range(2):
        ending = host.run().ending
        assert ending == host_failed()
        assert "lambda ended with status 7 during the invocation" in ending.detail
        assert "last words" in ending.detail

    until(lambda: not any(map(is_running, before)), "the first environment has ended")


def test_a_limit_ends_the_environment(start: Start) -> None:
    """As on the platform: a guest that does not end is killed with its environment, and the next one begins at 1."""
    host = start()
    assert [host.run(act("echoes")).invocation for _ in range(2)] == [1, 2]
    before = set(host.pids())

    assert host.run(act("sleeps", 3_600_000), timeout_s=0.3).ending == timed_out()
    assert not any(map(is_running, before))
    assert host.run(act("echoes")).invocation == 1


def test_time_begins_with_the_turn(start: Start) -> None:
    """An environment serves one invocation after the other: who waits for another one loses none of its own time."""
    host = start()
    before = host.pids()
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(host.run, act("sleeps", 6_000), timeout_s=60)
        until(lambda: host._server.jobs.serving[1] == 1, "the first one has begun")
        second = host.run(act("echoes", rest=b"second"), timeout_s=5)

    assert first.result().stdout == b"rested"
    assert (second.stdout, second.ending, second.invocation) == (b"second", exited(0), 2)
    assert host.pids() == before


def test_what_a_function_is_told(start: Start) -> None:
    """Event and context are what the platform gives for a request to the function's URL."""
    told = """said = json.dumps([
        event["version"], event["requestContext"]["http"]["method"], event["isBase64Encoded"],
        event["headers"]["pytest-wasmedge-wire"], context.function_name, context.memory_limit_in_mb,
        len(context.aws_request_id), context.invoked_function_arn.split(":")[:3],
        0 < context.get_remaining_time_in_millis() <= 20_000, sorted(os.environ),
        os.environ["LAMBDA_TASK_ROOT"] == os.getcwd(), sys.path[0] == os.getcwd(), sys.flags.no_site,
    ]).encode()"""
    outcome = start(ANSWERS + told + FRAMED, memory_bytes=256 << 20).run(timeout_s=20)
    *said, variables, root, path, alone = json.loads(outcome.stdout)

    assert said == ["2.0", "POST", True, "1", "artifact", "256", 36, ["arn", "aws", "lambda"], True]
    # Nothing of ours is inherited, and no package of our environment is there.
    assert (root, path, alone) == (True, True, 1)
    assert set(variables) - {"LC_CTYPE", "_X_AMZN_TRACE_ID"} == {
        *("AWS_EXECUTION_ENV", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "AWS_LAMBDA_FUNCTION_NAME"),
        *("AWS_LAMBDA_FUNCTION_VERSION", "AWS_LAMBDA_RUNTIME_API", "HOME", "LAMBDA_TASK_ROOT", "LANG"),
        *("PYTEST_WASMEDGE_OUTPUT_BYTES", "PYTHONPATH", "TMPDIR"),
    }


def test_an_event_that_is_no_request(start: Start) -> None:
    """Who invokes the function itself is told what it takes, in the function's own words."""
    host = start()
    content = host._server.jobs.post(b'{"key": "value"}', PATIENCE_S).result(PATIENCE_S)

    detail = read_reply("lambda", content).ending.detail
    assert "ValueError: the event is no request to a function URL" in detail
    assert "Give the function a URL" in detail
    assert host.run(act("exits", 3)).ending == exited(3)


# -- who may ask


ASKS = """
import http.client, json, sys
connection = http.client.HTTPConnection(sys.argv[1], timeout=10)
connection.request(*json.loads(sys.argv[2]))
print(connection.getresponse().status)
"""


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "invocation/next"),
        ("POST", "init/error"),
        ("POST", "invocation/1/response"),
        ("POST", "invocation/1/error"),
    ],
)
def test_another_process_gets_nothing(start: Start, method: str, path: str) -> None:
    """Who is not the client that we started takes no invocation, answers none, and cannot end the function."""
    host = start()
    asked = json.dumps([method, f"/2018-06-01/runtime/{path}", "{}", {SECRET_HEADER: "guess"}])
    argv = [sys.executable, "-I", "-S", "-c", ASKS, host._server.jobs.authority, asked]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=PATIENCE_S, check=False)

    assert done.stdout == "404\n", done.stderr
    assert host.run(act("echoes", rest=b"ours")).stdout == b"ours"
    assert host.run().invocation == 2


def test_a_stranger_hears_its_refusal(start: Start) -> None:
    """Who is refused before it has written its request can write it, and reads the 404."""
    head = b"POST /2018-06-01/runtime/init/error HTTP/1.1\r\nContent-Length: 2\r\n\r\n"
    assert hear_late(start()._server.jobs.authority, head, b"{}").startswith(b"HTTP/1.1 404 ")


def test_the_client_may_ask_for_nothing_else() -> None:
    """Unknown paths and invocations: 404, and nothing is done; a body that no guest can have left is the end."""
    api = RuntimeApi(1000)
    api.start(os.getpid())
    try:
        job = api.post(b"{}", 1.0)
        assert ask(api, "GET /2018-06-01/runtime/restore/next", "") == 404
        assert ask(api, "POST /2018-06-01/runtime/invocation/1/response", "{}") == 404
        assert ask(api, "GET /2018-06-01/runtime/invocation/next", "") == 200
        assert ask(api, "POST /2018-06-01/runtime/invocation//response", "{}") == 404
        request_id, _ = api.serving
        assert ask(api, f"POST /2018-06-01/runtime/invocation/{request_id}/response", "[1]") == 202
        assert job.result(0) == b"[1]"
        assert ask(api, f"POST /2018-06-01/runtime/invocation/{request_id}/response", "[2]") == 404
        assert not api.lost
        assert ask(api, "POST /2018-06-01/runtime/init/error", "{}", length=1 << 40) == 404
        assert api.lost == f"posted a body of {1 << 40} bytes"
    finally:
        api.close()


def ask(api: RuntimeApi, what: str, body: str, length: int | None = None) -> int:
    """Ask the API from this process; return the status."""
    host, port = api.authority.split(":")
    with socket.create_connection((host, int(port)), timeout=PATIENCE_S) as client:
        size = len(body) if length is None else length
        client.sendall(
            f"{what} HTTP/1.1\r\nHost: {api.authority}\r\nContent-Length: {size}\r\n\r\n{body}".encode()
        )
        return int(client.recv(1 << 16).split()[1])


def test_whose_a_connection_is() -> None:
    """A connection is the process's that has its other end; nobody's once that is closed."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname())
        ours, _ = server.accept()
        with ours:
            assert holds(os.getpid(), ours)
            assert not holds(os.getppid(), ours)
            client.close()
            assert not holds(os.getpid(), ours)
