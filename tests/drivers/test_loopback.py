"""Our client for hosts on this machine."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from pytest_wasmedge.drivers.http import SECRET_HEADER
from pytest_wasmedge.drivers.loopback import _MOST_HELD_BYTES, _Held, open_client


class Echo(BaseHTTPRequestHandler):
    """Answers with the body of the request; one without the secret is refused first, and its body read afterwards."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        known, size = self.headers[SECRET_HEADER] == "known", int(self.headers["content-length"])
        body = self.rfile.read(size) if known else b""
        self.send_response(200 if known else 403)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        if not known:
            # Otherwise the connection would be reset, and the answer could be lost with it.
            self.rfile.read(size)
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Return the list of what goes to the system, each write by itself."""
    writes: list[bytes] = []
    send = _Held._send

    def kept(stream: _Held, timeout: float | None) -> None:
        writes.append(bytes(stream._held))
        send(stream, timeout)

    monkeypatch.setattr(_Held, "_send", kept)
    return writes


def test_head_and_body_go_out_in_one_write(url: str, sent: list[bytes]) -> None:
    """A request is one write, also the second one on the same connection; httpx's own would be two."""
    with open_client("known") as client:
        answers = [client.post(url, content=body).content for body in (b"first", b"second")]

    assert answers == [b"first", b"second"]
    assert [each.partition(b"\r\n\r\n")[2] for each in sent] == answers


@pytest.mark.parametrize("size_bytes", [0, _MOST_HELD_BYTES, 40 * _MOST_HELD_BYTES])
def test_bodies_of_any_size_are_whole(url: str, size_bytes: int) -> None:
    """An empty body, and one that is longer than what is held, arrive as they are."""
    body = b"0123456789abcdef" * (size_bytes // 16)
    with open_client("known") as client:
        assert client.post(url, content=body).content == body


def test_a_large_body_does_not_wait_for_its_end(url: str, sent: list[bytes]) -> None:
    """What is held of a body that comes in pieces stays small."""
    with open_client("known") as client:
        pieces = (b"x" * (1 << 14) for _ in range(64))
        client.post(url, content=pieces, headers={"content-length": str(64 << 14)})

    assert max(map(len, sent)) <= _MOST_HELD_BYTES + (1 << 14)


def test_an_answer_that_comes_before_the_body(url: str) -> None:
    """A server that refuses a large request by its head is heard."""
    with open_client("unknown") as client:
        assert client.post(url, content=b"x" * (1 << 23)).status_code == 403
