"""The standard streams of a guest, seen from our side of the pipes."""

from __future__ import annotations

import os

from pytest_wasmedge.model import Ending, host_failed

CHUNK_BYTES = 1 << 16


class Streams:
    """What is still to be written to stdin, and what has come of both outputs, up to a limit for both together."""

    def __init__(self, stdin: bytes, output_bytes: int) -> None:
        self._stdin = memoryview(stdin)
        self._output_bytes = output_bytes
        self.stdout = bytearray()
        self.stderr = bytearray()

    def feed(self, descriptor: int) -> bool:
        """Write what fits into a pipe that does not block; return whether the rest can still be written."""
        try:
            written = os.write(descriptor, self._stdin[:CHUNK_BYTES])
        except BlockingIOError:
            return True
        except BrokenPipeError:
            return False
        self._stdin = self._stdin[written:]
        return len(self._stdin) > 0

    def keep(self, output: bytearray, data: bytes) -> Ending | None:
        """Add this to one of the outputs; return an ending only if the guest has to be stopped for it."""
        output += data
        excess_bytes = len(self.stdout) + len(self.stderr) - self._output_bytes
        if excess_bytes <= 0:
            return None
        del output[-excess_bytes:]
        return host_failed(f"output limit of {self._output_bytes} bytes reached")
