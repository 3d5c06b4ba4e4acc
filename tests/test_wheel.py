"""The built wheel holds all that a user needs, and works where no checkout is."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# Two files of the suite, one with most of the corpus: the others come the same way, and run in the checkout.
# wasmtime refuses some statuses, by a decision of its own.
FEW = "(test_stdout or test_exit_status) and not load and not test_status"


def run(*command: str | Path, folder: Path) -> str:
    """Run a command without this process's own Python settings, and return what it printed."""
    env = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))
    }
    ended = subprocess.run(
        command, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=900
    )
    assert ended.returncode == 0, ended.stdout[-5000:] + ended.stderr[-5000:]
    return ended.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from this checkout."""
    dist = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", dist, ROOT, folder=dist)
    return next(dist.glob("*.whl"))


@pytest.mark.network
def test_wheel_is_complete(wheel: Path) -> None:
    """The wheel carries the suite, the corpus, the artifact, the glue and the pins, and stays under 6 MB."""
    names = set(zipfile.ZipFile(wheel).namelist())

    assert wheel.stat().st_size < 6 << 20
    for name in (
        "pytest_wasmedge/py.typed",
        "pytest_wasmedge/artifacts/ruby-worker.wasm.xz",
        "pytest_wasmedge/artifacts/ruby-worker.json",
        "pytest_wasmedge/provision/pins.toml",
        "pytest_wasmedge/runtimes/glue/guest.mjs",
        "pytest_wasmedge/reports/page/page.css",
        "pytest_wasmedge/reports/page/page.js",
    ):
        assert name in names
    for folder in ("conformance", "fixtures/ruby"):
        here = [
            path for path in (ROOT / folder).rglob("*") if path.suffix in (".py", ".rb", ".toml", ".golden")
        ]
        shipped = [name for name in names if name.startswith(f"pytest_wasmedge/bundled/{folder}/")]
        assert len(shipped) == len(here)


@pytest.mark.network
def test_wheel_runs_the_suite(wheel: Path, tmp_path: Path) -> None:
    """Installed into an empty environment, in an empty folder, it runs its suite on two runtimes."""
    environment, empty = tmp_path / "venv", tmp_path / "empty"
    empty.mkdir()
    venv.create(environment, with_pip=True)
    binaries = environment / "bin"
    # The README's own command, told where this version is.
    run(binaries / "pip", "install", "--quiet", "pytest-wasmedge", "--find-links", wheel.parent, folder=empty)
    printed = run(
        binaries / "pytest",
        "--runtimes=wasmtime,deno",
        "--wasm-conformance",
        *("-q", "-k", FEW, "-p", "no:cacheprovider"),
        folder=empty,
    )

    rows = {
        line.split()[0]: line.split()
        for line in printed.splitlines()
        if line.startswith(("wasmtime ", "deno "))
    }
    assert rows.keys() == {"wasmtime", "deno"}
    assert rows["wasmtime"][-6] == rows["deno"][-6], "the same number of tests passed on both"
    assert int(rows["deno"][-6]) > 80
    # pytest-benchmark makes its folder in every run; nothing of ours is left.
    assert {path.name for path in empty.iterdir()} <= {".benchmarks"}
