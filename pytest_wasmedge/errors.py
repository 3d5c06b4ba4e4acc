"""All of our errors. Each message says what was tried, what came back, and what to do next."""

from __future__ import annotations

from collections.abc import Iterable


class WasmEdgeError(Exception):
    """Base of all errors of pytest-wasmedge; its text is shown to the user as it is."""


class ArtifactError(WasmEdgeError):
    """The artifact cannot be used: it is missing, no WebAssembly module, or imports what no host has."""


class ProvisionError(WasmEdgeError):
    """A pinned tool could not be installed, or does not match its pin."""


class UnknownRuntimeError(WasmEdgeError):
    """No runtime has this name."""


class RuntimeUnavailableError(WasmEdgeError):
    """A known runtime cannot start on this machine; the text ends with how to get it."""


class HostFailedError(WasmEdgeError):
    """A host, not its guest, failed during an invocation whose outcome should be compared.

    ``compared`` is that comparison (portability/compare.py), if there was one.
    """

    def __init__(self, text: str, compared: object = None) -> None:
        super().__init__(text)
        self.compared = compared


class HostStartError(WasmEdgeError):
    """An installed runtime could not load the artifact, or did not start."""


class ShortageError(WasmEdgeError):
    """This machine is short of something: room on a disk, files that may be open, the loopback interface."""


class CacheUnwritableError(ProvisionError, ShortageError):
    """The cache folder is full, or cannot be written."""


class UnsupportedError(WasmEdgeError):
    """The host cannot do what the invocation asks (for example: preopened folders)."""


class CorpusError(WasmEdgeError):
    """A case or its golden file cannot be read."""


class LatencyError(WasmEdgeError):
    """A latency could not be measured, or its name or limit is not valid."""


class ContractError(WasmEdgeError):
    """The contract (``portability.toml``) cannot be read, or has a value that is not valid; the text names the line."""


class RecordError(WasmEdgeError):
    """The record of a run cannot be read or written, or records do not belong together."""


def did_you_mean(name: str, known: Iterable[str], rest: str = "", cutoff: float = 0.6) -> str:
    """Return `` Did you mean X?`` with the known name that is most like this one; empty if none is.

    ``rest`` is the text after the name, such as ``@2.7``; ``cutoff`` is how like it the name must be, up to 1.
    """
    import difflib  # here, because this module is imported at every pytest start

    near = difflib.get_close_matches(name, list(known), 1, cutoff)
    return f" Did you mean {near[0]}{rest}?" if near else ""
