"""AWS Lambda: AWS's own runtime client serves the function that `pytest-wasmedge export lambda` writes."""

from __future__ import annotations

import importlib.metadata
import platform
import sys
from collections.abc import Sequence
from pathlib import Path

from pytest_wasmedge.drivers.function import FunctionRuntime
from pytest_wasmedge.drivers.program import Versions
from pytest_wasmedge.drivers.serving import ServingLaunch
from pytest_wasmedge.drivers.target import SECRET_VARIABLE, Target
from pytest_wasmedge.provision import Found, installed
from pytest_wasmedge.provision.versions import installed_version

_TELL = "import awslambdaric, runtime_client; print(awslambdaric.__version__)"
_MACHINE = "arm64" if platform.machine() == "aarch64" else "x86_64"
_CREATE = "aws lambda create-function --function-name NAME --role ROLE --handler handler.handler --runtime python3.13"
_OPTIONS = f"--architectures {_MACHINE} --memory-size 1024 --timeout 30 --zip-file fileb://function.zip"


class Lambda(FunctionRuntime):
    """``python -m awslambdaric handler.handler`` in the folder of a function, in the Python that we run in."""

    name = "lambda"
    engine = "Cranelift"
    groups = frozenset({"edge"})
    capabilities = frozenset({"memory_limit", "preopens"})
    statuses = "it refuses an exit status above 125: a guest that ends with one has failed there"
    highest_status = 125
    tool = "awslambdaric"
    tools = ("awslambdaric", "simplejson")
    export = Target(
        "AWS Lambda",
        (),
        ("aws-lambda",),
        "pytest --runtimes=lambda --wasm-artifact=artifact.wasm --wasm-conformance",
        f"zip -qr function.zip . && {_CREATE} {_OPTIONS}",
        f"set {SECRET_VARIABLE} among the function's environment variables",
        "for Lambda that is the function's timeout. It takes requests and answers of 6 MB, so a program may write "
        "4.5 MB. A URL comes from `aws lambda create-function-url-config --function-name NAME --auth-type NONE`. "
        f"Compiled code and engine are for Linux on {_MACHINE}; `python handler.py` compiles anew.",
        lambda artifact: Lambda().exported(artifact),
    )

    def locate(self) -> Found | None:
        place = installed_version(self.tool, self.version) if self.version else installed(self.tool)
        return Found(place, "pytest-wasmedge install") if place else None

    def missing(self) -> str:
        return "" if installed("simplejson") else "simplejson, which it reads events with, is not installed"

    def version_argv(self, executable: Path) -> Sequence[str]:
        return [sys.executable, "-S", "-c", _TELL]

    def read_versions(self, said: str) -> Versions:
        return Versions(super().read_versions(said).version, importlib.metadata.version("wasmtime"))

    def environment(self, workspace: Path) -> dict[str, str]:
        # What Lambda itself sets; the rest is said at each start.
        packages = (installed("simplejson"), self.executable())
        return super().environment(workspace) | {
            "PYTHONPATH": ":".join(map(str, packages)),
            "AWS_EXECUTION_ENV": f"AWS_Lambda_python3.{sys.version_info.minor}",
            "AWS_LAMBDA_FUNCTION_NAME": "artifact",
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "LAMBDA_TASK_ROOT": str(workspace),
        }

    def argv(self, launch: ServingLaunch) -> Sequence[str]:
        # Without this environment's packages: the function has its own.
        return [sys.executable, "-S", "-m", "awslambdaric", "handler.handler"]

    def variables(self, launch: ServingLaunch) -> dict[str, str]:
        return {
            "AWS_LAMBDA_RUNTIME_API": launch.url,
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(max(1, launch.limits.memory_bytes >> 20)),
            "PYTEST_WASMEDGE_OUTPUT_BYTES": str(launch.limits.output_bytes),
        }


RUNTIME = Lambda
