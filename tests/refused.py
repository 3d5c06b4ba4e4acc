"""A client that is refused before it has written all of its request, as one on a busy machine is."""

from __future__ import annotations

import select
import socket
import time

_PATIENCE_S = 30.0


def hear_late(authority: str, *pieces: bytes) -> bytes:
    """Return the answer to a request whose last two pieces are written once the answer is there.

    A server that closes at once resets the connection at the first of them, and the second one breaks.
    """
    host, port = authority.split(":")
    *first, second, third = pieces
    with socket.create_connection((host, int(port)), timeout=_PATIENCE_S) as client:
        for piece in first:
            client.sendall(piece)
        assert select.select([client], [], [], _PATIENCE_S)[0], "was not answered"
        client.sendall(second)
        time.sleep(0.1)
        client.sendall(third)
        return client.recv(1 << 16)
