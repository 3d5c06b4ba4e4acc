"""Imports point one way, and each thing is known in one place: read from the sources themselves."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import pytest_wasmedge
from pytest_wasmedge.runtimes import builtin_names

PACKAGE = Path(pytest_wasmedge.__file__).parent
MOST_LINES = 400

# From the bottom up. A module imports from layers below its own, and from its own part of the package; two
# parts of one layer do not know each other.
LAYERS = (
    ("errors",),
    ("model",),
    ("provision",),
    ("artifacts",),
    ("drivers",),
    ("runtimes",),
    ("portability",),
    ("work",),
    ("latency",),
    ("reports",),
    ("contract",),
    ("testing",),
    ("plugin", "commands"),
)
#: Not to be imported where every pytest start of everybody would pay for it.
HEAVY = {"wasmtime", "httpx", "jinja2", "rich", "filelock", "platformdirs", "psutil", "tomlkit", "packaging"}
#: Imported at every pytest start.
AT_EVERY_START = (
    "__init__",
    "plugin.__init__",
    "plugin.hooks",
    "plugin.hookspecs",
    "plugin.fixtures",
    "plugin.everyday",
    "plugin.private",
    "plugin.recorder",
    "plugin.stash",
    "plugin.options",
    "runtimes.__init__",
    "artifacts.opening",
    "errors",
    "model",
)
#: The engines' names are what leak detectors look for in guest-visible text.
LOOKS_FOR_NAMES = "portability.detectors"
#: Modules that use a program themselves, or show people an example, and may name it.
MAY_NAME = {
    # What builds the built-in artifact.
    "artifacts.publish": {"wasmtime"},
    "artifacts.recipe": {"node"},
    # What an entry with versions looks like.
    "contract.entries": {"deno"},
    "contract.read": {"deno"},
    # What the runtimes that are this command share.
    "drivers.wasmtime_run": {"wasmtime", "wasmtime-cli"},
    # The platform's name stands in its protocol, and in its variables.
    "drivers.runtime_api": {"lambda"},
    "drivers.handler": {"lambda"},
    # A function that is deployed brings its engine along.
    "drivers.function": {"wasmtime"},
    # What a runtime's own warning looks like.
    "testing.leaks": {"node"},
    # The unit of fuel is its.
    "work": {"wasmtime"},
    # The clients of npm and of its scripts.
    "provision": {"deno", "node"},
}


@dataclass(frozen=True)
class Import:
    """One import: of what, in which line, under which circumstances."""

    module: str
    line: int
    for_types: bool
    in_function: bool


def modules() -> dict[str, Path]:
    """Return all modules of the package by dotted name, without its own."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        if "bundled" not in path.relative_to(PACKAGE).parts[:1]:
            found[".".join(path.relative_to(PACKAGE).with_suffix("").parts)] = path
    return found


MODULES = modules()


def imports(path: Path) -> Iterator[Import]:
    """Yield every import of a file, wherever it stands; ``from a import b`` is a.b if that is a module."""
    yield from _imports(ast.parse(path.read_text()), False, False)


def _imports(node: ast.AST, for_types: bool, in_function: bool) -> Iterator[Import]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield Import(alias.name, node.lineno, for_types, in_function)
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, "relative imports hide where they point"
        for alias in node.names:
            inner = f"{node.module}.{alias.name}"
            known = (
                inner.removeprefix("pytest_wasmedge.") in MODULES
                or f"{inner}.__init__".removeprefix("pytest_wasmedge.") in MODULES
            )
            yield Import(inner if known else str(node.module), node.lineno, for_types, in_function)
    in_function = in_function or isinstance(node, ast.FunctionDef | ast.Lambda)
    for name, value in ast.iter_fields(node):
        guarded = (
            isinstance(node, ast.If)
            and name == "body"
            and isinstance(node.test, ast.Name)
            and node.test.id == "TYPE_CHECKING"
        )
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _imports(child, for_types or guarded, in_function)


def part_of(module: str) -> tuple[int, str]:
    """Return layer and part of a module of ours, by the longest name that fits."""
    fitting = [
        (len(part), layer, part)
        for layer, parts in enumerate(LAYERS)
        for part in parts
        if module == part or module.startswith(f"{part}.")
    ]
    assert fitting, f"{module} is in no layer: say where it belongs"
    _, layer, part = max(fitting)
    return layer, part


def ours(path: Path) -> Iterator[Import]:
    """Yield the imports of our own modules, their names without the package's."""
    for each in imports(path):
        if each.module.startswith("pytest_wasmedge."):
            yield Import(
                each.module.removeprefix("pytest_wasmedge."), each.line, each.for_types, each.in_function
            )


@pytest.mark.parametrize("module", sorted(set(MODULES) - {"__init__"}))
def test_imports_point_down(module: str) -> None:
    """No module imports from its own layer's other parts or from a layer above, not even for its types."""
    layer, part = part_of(module.removesuffix(".__init__"))
    wrong = []
    for each in ours(MODULES[module]):
        their_layer, their_part = part_of(each.module)
        if their_part != part and their_layer >= layer:
            wrong.append(f"line {each.line}: {each.module}")

    assert wrong == []


def test_runtimes_do_not_know_each_other() -> None:
    """A runtime imports neither another runtime nor the registry of them."""
    runtimes = {name for name in MODULES if name.startswith("runtimes.") and name.count(".") == 1} - {
        "runtimes.__init__",
        "runtimes.remote",
    }
    assert len(runtimes) == len(builtin_names())

    for name in runtimes:
        for each in ours(MODULES[name]):
            assert each.module not in runtimes | {"runtimes"}, f"{name}, line {each.line}"


def test_only_the_wiring_imports_pytest() -> None:
    """pytest is known to its wiring alone; the bundled suite and the tests aside."""
    importing = {
        name
        for name, path in MODULES.items()
        for each in imports(path)
        if each.module.split(".")[0] in ("pytest", "_pytest")
    }

    assert importing == {
        f"plugin.{name}"
        for name in (
            "alone",
            "everyday",
            "facts",
            "fixtures",
            "generating",
            "hooks",
            "hookspecs",
            "private",
            "progress",
            "recorder",
            "selfcheck",
            "sharding",
            "stash",
        )
    }


def test_no_heavy_import_at_every_start() -> None:
    """What every pytest start imports does not import an engine, HTTP client, or template engine."""
    for name in AT_EVERY_START:
        for each in imports(MODULES[name]):
            if not each.for_types:
                assert each.module.split(".")[0] not in HEAVY, f"{name}, line {each.line}"


def test_the_plugin_imports_ours_when_needed() -> None:
    """At its import the plugin takes its hooks and options; the rest comes when a run asks for it."""
    at_once = {
        each.module for each in ours(MODULES["plugin.hooks"]) if not each.for_types and not each.in_function
    }

    assert at_once == {f"plugin.{name}" for name in ("fixtures", "hookspecs", "options", "recorder", "stash")}


def test_heavy_packages_are_used_where_they_belong() -> None:
    """Engines run guests in their runtimes alone, HTTP is for drivers and installs, a terminal for the script."""
    # The recipe, the component and the witness are text, which the engine's tool translates to WebAssembly; which
    # proposals a module needs, its validator knows.
    # A function that is deployed brings its engine along.
    # The component's answers arrive as a stream. Work is what that engine counts.
    homes = {
        "wasmtime": r"runtimes\.wasmtime|work|drivers\.(?:wasi_http|handler)|artifacts\.(?:recipe|proposals|witness)",
        "httpx": r"drivers|provision|runtimes\.wasmtime_serve",
        "rich": "commands",
    }
    for name, path in MODULES.items():
        for each in imports(path):
            home = homes.get(each.module.split(".")[0])
            assert home is None or re.match(rf"({home})\b", name), f"{name}, line {each.line}"


def test_the_wasi_shim_is_used_in_one_file() -> None:
    """One glue file imports the WASI shim, so that all its hosts get the same one, bent in the same way."""
    importing = [
        path.name
        for path in (PACKAGE / "runtimes" / "glue").rglob("*.*js")
        if re.search(r"(?:from|import)\s*\(?[\"'][^\"']*shim", path.read_text())
    ]

    assert len(importing) == 1


@pytest.mark.parametrize("module", sorted(MODULES))
def test_modules_are_small(module: str) -> None:
    """No module is longer than one can read."""
    assert len(MODULES[module].read_text().splitlines()) <= MOST_LINES


def words(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and text of every identifier and string; docstrings and help texts are for people.

    The package ``wasmtime`` is a library, too: who may import it is another rule.
    """
    tree = ast.parse(path.read_text())
    for_people = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node):
            for_people.add(node.body[0].value)  # type: ignore[attr-defined]
        if isinstance(node, ast.keyword) and node.arg == "help":
            for_people |= set(ast.walk(node.value))
    for node in ast.walk(tree):
        if node in for_people:
            continue
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value
        # `node` is pytest's own word for a part of its tree of tests; as a string it would be the runtime.
        for name in (getattr(node, field, None) for field in ("id", "attr", "name")):
            if isinstance(name, str) and not (name == "wasmtime" and isinstance(node, ast.Name | ast.alias)):
                yield (
                    getattr(node, "lineno", 0),
                    re.sub(r"(?<![a-z])node(?![a-z])", "", name).replace("_", " "),
                )


@pytest.mark.parametrize(
    "module", sorted(name for name in MODULES if not name.startswith("runtimes.") and name != LOOKS_FOR_NAMES)
)
def test_no_runtime_is_known_by_name(module: str) -> None:
    """Nothing outside of the runtimes' own files knows one by name: a new one is one new file."""
    part = module.partition(".")[0]
    may = MAY_NAME.get(module, MAY_NAME.get(part, set()))
    # One of them gave this project its name, which may stand anywhere.
    known = [name for name in builtin_names() if name != "wasmedge" and name not in may]
    names = re.compile(rf"\b({'|'.join(map(re.escape, known))})\b")
    found = [f"line {line}: {text!r}" for line, text in words(MODULES[module]) if names.search(text)]

    assert found == []


def test_the_glue_is_javascript() -> None:
    """What runs beside the guest is not Python: that is a driver."""
    assert list((PACKAGE / "runtimes" / "glue").rglob("*.py")) == []


@pytest.mark.parametrize("module", sorted(MODULES))
def test_state_is_passed_on(module: str) -> None:
    """No module leaves something in a thread for somebody else to find."""
    assert not re.search(r"threading\.local|ContextVar", MODULES[module].read_text())


#: Where Ruby is known: its own module and the cases, the built-in artifact and what is named after it, how the leak
#: detectors tell a guest's objects from ours, the native Ruby, the npm package, and the test double that leaks.
KNOWS_THE_LANGUAGE = (
    "portability.language",
    "portability.bootstraptest",
    "portability.bundled",
    "portability.detectors",
    "artifacts.",
    "commands.build",
    "commands.compare",
    "commands.export",
    "provision.pins",
    "runtimes.native_ruby",
    "testing",
)


@pytest.mark.parametrize(
    "module", sorted(name for name in MODULES if not name.startswith(KNOWS_THE_LANGUAGE))
)
def test_the_guest_s_language_is_known_in_one_place(module: str) -> None:
    """Another language could stand beside the one that we have cases for: nothing else says its name or its words."""
    telling = re.compile(r"(?i)ruby(?!-worker)|\.rb\b|\bputs [\d'\"(]")
    # The name of the object is how others ask for it.
    found = [
        f"line {line}: {text!r}"
        for line, text in words(MODULES[module])
        if telling.search(text) and text != "RUBY"
    ]

    assert found == []
