"""Our client for hosts on this machine: it uses no proxy and no settings of the user, and writes a request at once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import httpcore
import httpx

from pytest_wasmedge.drivers.http import SECRET_HEADER

#: Shorter than the time after which any of the hosts closes an idle connection (workerd: 5 s).
_IDLE_CONNECTION_S = 4.0
_IDLE_CONNECTIONS = 64
#: What is written of a request before its end is known; more than any request without large files.
_MOST_HELD_BYTES = 1 << 16


def open_client(secret: str) -> httpx.Client:
    """Return a client whose requests carry the secret, to this machine only, without certificates."""
    transport = httpx.HTTPTransport(verify=False, trust_env=False)
    # httpx has no way to hand it a pool. An httpx that keeps it elsewhere writes requests in two parts, as it does.
    transport._pool = httpcore.ConnectionPool(
        max_connections=None,
        max_keepalive_connections=_IDLE_CONNECTIONS,
        keepalive_expiry=_IDLE_CONNECTION_S,
        network_backend=_AtOnce(),
    )
    headers = {SECRET_HEADER: secret, "accept-encoding": "identity"}
    return httpx.Client(transport=transport, trust_env=False, headers=headers)


class _AtOnce(httpcore.SyncBackend):
    """Connections that write a request's head and body together: each write wakes the host, which then waits again."""

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        return _Held(super().connect_tcp(host, port, timeout, local_address, socket_options))


class _Held(httpcore.NetworkStream):
    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self._stream = stream
        self._held = bytearray()

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Hold what is written until nothing is, by which httpcore ends a body of known length."""
        self._held += buffer
        if not buffer or len(self._held) > _MOST_HELD_BYTES:
            self._send(timeout)

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if self._held:
            self._send(timeout)
        return self._stream.read(max_bytes, timeout)

    def _send(self, timeout: float | None) -> None:
        held, self._held = bytes(self._held), bytearray()
        self._stream.write(held, timeout)

    def close(self) -> None:
        self._stream.close()

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
