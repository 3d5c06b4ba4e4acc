"""What having the plugin installed costs a pytest run that does not use it."""

from __future__ import annotations

import json
import sys

import pytest

# Told by the run itself, when all is over.
CONFTEST = """
import json, sys

def pytest_unconfigure(config):
    with open("modules.json", "w") as file:
        json.dump(sorted(sys.modules), file)
"""
HEAVY = {
    "wasmtime",
    "httpx",
    "jinja2",
    "rich",
    "filelock",
    "platformdirs",
    "psutil",
    "tomlkit",
    "packaging.specifiers",
    "pytest_benchmark",
    "xdist",
}


def modules_after(pytester: pytest.Pytester, *options: str) -> set[str]:
    """Run one unrelated test in a process of its own; return what it had imported in the end."""
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile("def test_unrelated():\n    pass\n")
    # Other plugins of this environment may import what they like: they are not ours to judge.
    result = pytester.runpytest_subprocess(
        "-p", "no:xdist", "-p", "no:benchmark", "-p", "no:anyio", "-p", "no:platformdirs", *options
    )
    result.assert_outcomes(passed=1)
    return set(json.loads((pytester.path / "modules.json").read_text()))


@pytest.fixture(autouse=True)
def only_our_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    """Load our plugin and no other, since others import some of these packages for themselves."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTEST_PLUGINS", "pytest_wasmedge.plugin.hooks")


def test_unrelated_run_imports_nothing_heavy(pytester: pytest.Pytester) -> None:
    """After a run that did not ask for us, no engine, HTTP client or template engine is imported."""
    imported = modules_after(pytester)

    assert "pytest_wasmedge.plugin.hooks" in imported
    assert {name.split(".")[0] for name in imported} & HEAVY == set()


def test_unrelated_run_imports_no_runtime(pytester: pytest.Pytester) -> None:
    """Of our own modules such a run imports the wiring and the list of runtimes, and no runtime."""
    imported = {name for name in modules_after(pytester) if name.startswith("pytest_wasmedge")}

    assert imported == {
        "pytest_wasmedge",
        "pytest_wasmedge.artifacts",
        "pytest_wasmedge.artifacts.opening",
        "pytest_wasmedge.plugin.everyday",
        "pytest_wasmedge.plugin.fixtures",
        "pytest_wasmedge.plugin.hooks",
        "pytest_wasmedge.plugin.hookspecs",
        "pytest_wasmedge.plugin.options",
        "pytest_wasmedge.plugin",
        "pytest_wasmedge.plugin.private",
        "pytest_wasmedge.plugin.recorder",
        "pytest_wasmedge.runtimes",
        "pytest_wasmedge.plugin.stash",
    }


def test_import_of_the_package_is_cheap(pytester: pytest.Pytester) -> None:
    """Importing the package imports none of its parts; they come when their names are first used."""
    code = "import sys, pytest_wasmedge; print([m for m in sys.modules if m.startswith('pytest_wasmedge')])"

    assert pytester.run(sys.executable, "-c", code).outlines == ["['pytest_wasmedge']"]
