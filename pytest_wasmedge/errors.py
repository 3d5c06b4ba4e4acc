"""Every error of ours: one base, and messages that say what was tried, what came back, what to do."""

from __future__ import annotations

from collections.abc import Iterable


class WasmEdgeError(Exception):
    """Base of all errors of pytest-wasmedge; its text is meant to be read by the user as it is."""


class ArtifactError(WasmEdgeError):
    """The artifact cannot be used: missing, not a WebAssembly module, or asking for what no host gives."""


class ProvisionError(WasmEdgeError):
    """A pinned tool could not be installed, or is not what its pin says."""


class UnknownRuntimeError(WasmEdgeError):
    """A runtime was named that nobody registered."""


class RuntimeUnavailableError(WasmEdgeError):
    """A known runtime cannot start on this machine; the text ends with how to get it."""


class HostFailedError(WasmEdgeError):
    """A host, not its guest, went wrong in the middle of an invocation that was to be compared."""


class HostStartError(WasmEdgeError):
    """A runtime that is installed could not load the artifact or did not start."""


class UnsupportedError(WasmEdgeError):
    """The host cannot do what the invocation asks (for example: preopened folders)."""


class CorpusError(WasmEdgeError):
    """A case or its golden file cannot be read."""


class LatencyError(WasmEdgeError):
    """A latency was asked for that cannot be understood, or could not be measured."""


class ContractError(WasmEdgeError):
    """The contract (``portability.toml``) cannot be read, or says what cannot be meant; the text names the line."""


def did_you_mean(name: str, known: Iterable[str], rest: str = "", cutoff: float = 0.6) -> str:
    """Return `` Did you mean X?`` for a name that is none of those known; empty if none of them is near.

    ``rest`` is what followed the name, such as ``@2.7``; ``cutoff`` is how near it must be, up to 1.
    """
    import difflib  # here, because this module is imported at every pytest start

    near = difflib.get_close_matches(name, list(known), 1, cutoff)
    return f" Did you mean {near[0]}{rest}?" if near else ""
