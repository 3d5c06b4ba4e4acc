"""WasmEdge's interpreter, which takes longest of all hosts: has to be asked for by name."""

from __future__ import annotations

import os
import threading

from pytest_wasmedge.drivers.command import CommandHost, CommandLaunch, Wrap
from pytest_wasmedge.drivers.wasmedge import WasmEdgeRuntime
from pytest_wasmedge.model import Artifact, Host, Invocation, Limits, Outcome


class WasmEdgeInterpreter(WasmEdgeRuntime):
    """``wasmedge run`` of the artifact itself, which is interpreted."""

    name = "wasmedge-interpreter"
    in_all = False

    def start(self, artifact: Artifact, limits: Limits) -> Host:
        return InterpreterHost(self, artifact, limits)

    def prepare(self, launch: CommandLaunch) -> None:
        launch.artifact_link.symlink_to(launch.artifact.path.absolute())


class InterpreterHost(CommandHost):
    """Runs as many guests at once as the machine has processors; the others wait before their time begins.

    An interpreter takes a whole processor: more of them would only use up each other's time limit.
    """

    def __init__(self, runtime: WasmEdgeInterpreter, artifact: Artifact, limits: Limits) -> None:
        super().__init__(runtime, artifact, limits)
        self._processors = threading.Semaphore(max(2, os.cpu_count() or 2))

    def _invoke(self, invocation: Invocation, wrap: Wrap = list) -> Outcome:
        with self._processors:
            return super()._invoke(invocation, wrap)


RUNTIME = WasmEdgeInterpreter
