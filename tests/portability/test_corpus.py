"""Folders of cases: what is a case, what its sidecar may say, and what is said of broken ones."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from pytest_wasmedge.errors import CorpusError
from pytest_wasmedge.model import Outcome, exited, timed_out
from pytest_wasmedge.portability.corpus import KEYS, load_corpus, write_golden
from pytest_wasmedge.portability.masks import MASKS

ROOT = Path(__file__).parents[2]
GOLDEN = 'ending = "exited(0)"\nstdout = ""\nstderr = ""\n'


def folder_with(root: Path, files: dict[str, str | bytes]) -> Path:
    """Write files by their path in the folder."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return root


def error_of(path: Path) -> str:
    """Return what load_corpus says against a folder in which one thing is wrong."""
    with pytest.raises(CorpusError) as caught:
        load_corpus(path)
    return str(caught.value).replace(str(path), "cases")


def test_input_files_of_any_kind_are_cases(tmp_path: Path) -> None:
    """Cases are named by their path without suffix, sorted; input and golden outcome are read whole."""
    files: dict[str, str | bytes] = {
        "errors/late.py": "sleep\n",
        "errors/late.golden": 'ending = "timed_out"\nstdout = ""\nstderr = ""\n',
        "bytes.bin": b"\0\xff",
        "no_suffix": "x",
        "README.md": "not a case",
        ".hidden/x.txt": "not a case",
    }
    binary, late, plain = load_corpus(folder_with(tmp_path, files))

    assert [(case.name, case.stdin) for case in (binary, plain)] == [
        ("bytes", b"\0\xff"),
        ("no_suffix", b"x"),
    ]
    assert (late.name, late.topic, late.stdin) == ("errors/late", "errors", b"sleep\n")
    assert late.golden == Outcome(b"", b"", timed_out())
    assert late.path == tmp_path / "errors/late.py"


def test_a_sidecar_says_the_rest(tmp_path: Path) -> None:
    """Arguments, variables in their order, folders, limits, and how the outcome is compared."""
    sidecar = """
summary = "Everything at once."
args = ["--flag", "two words", ""]
env = { B = "1", A = "2" }
files = { "/data" = "given", "/out" = "" }
timeout_s = 1.5
memory_mib = 64
compare = ["stdout", "files"]
masks = ["uuid", "elapsed"]
sorted_lines = ["stdout"]
mask.version = 'v\\d+'
not_for.deno = "it has no clock"
"""
    files: dict[str, str | bytes] = {
        "all.json": "{}",
        "all.toml": sidecar,
        "given/inner.toml": "this is = not = toml",
        "given/x.golden": "nor a golden file",
        "given/deeper/y.txt": "",
    }
    (case,) = load_corpus(folder_with(tmp_path, files))

    assert case.summary == "Everything at once."
    assert (case.stdin, case.args) == (b"{}", ("--flag", "two words", ""))
    assert list(case.env.items()) == [("B", "1"), ("A", "2")]
    assert case.folders == {"/data": tmp_path / "given", "/out": None}
    assert (case.timeout_s, case.memory_mib) == (1.5, 64)
    assert case.compared == {"stdout", "files"}
    assert case.unchecked == {"stderr", "ending"}
    assert [mask.name for mask in case.masks] == ["uuid", "elapsed", "version"]
    assert case.sorted_lines == {"stdout"}
    assert case.not_for == {"deno": "it has no clock"}
    invocation = case.invocation(tmp_path / "empty")
    assert invocation.preopens == {"/data": tmp_path / "given", "/out": tmp_path / "empty"}


@pytest.mark.parametrize(
    ("sidecar", "stdin"),
    [
        ("", b""),
        ('stdin = "é\\n"', "é\n".encode()),
        ('stdin_hex = "00 ff"', b"\0\xff"),
        ('stdin_file = "big.dat"', b"big\r\n"),
    ],
)
def test_a_sidecar_alone_is_a_case(tmp_path: Path, sidecar: str, stdin: bytes) -> None:
    """Without an input file, stdin is text, bytes, a file that is no case of its own, or nothing."""
    cases = load_corpus(folder_with(tmp_path, {"a.toml": sidecar, "big.dat": "big\r\n"}))

    assert {case.name: case.stdin for case in cases}["a"] == stdin
    assert len(cases) == (1 if "file" in sidecar else 2)


def test_a_golden_file_is_written_beside_its_case(tmp_path: Path) -> None:
    """write_golden makes what load_corpus then finds."""
    (case,) = load_corpus(folder_with(tmp_path, {"a.b.txt": "p 1\n"}))

    write_golden(case, Outcome(b"1\r\n", b"", exited(0)))

    written = (tmp_path / "a.b.golden").read_bytes()
    assert written == b'ending = "exited(0)"\nstdout = "1\\r\\n"\nstderr = ""\n'
    assert load_corpus(tmp_path)[0].golden == Outcome(b"1\r\n", b"", exited(0))


@pytest.mark.parametrize(
    ("sidecar", "message"),
    [
        ("arg = []", 'cases/a.toml:1: a case has no "arg"; did you mean args?'),
        ("\nargs = 'x'", 'cases/a.toml:2: args is a string; write args = ["--verbose", "file"].'),
        ("args = [1]", "cases/a.toml:1: an element of args is an integer; write"),
        ('args = ["\\u0000"]', "cases/a.toml: argument 1, '\\x00', holds a NUL, where WASI ends a text"),
        ("env = { A = 1 }", 'cases/a.toml:1: A is an integer; write env = { NAME = "value" }.'),
        ('env = { "A=B" = "1" }', "cases/a.toml: 'A=B' is no name of a variable"),
        ('files = { "/d" = "gone" }', 'cases/a.toml:1: "gone" is no folder beside it; create it'),
        ('files = { "/d" = "." }', 'cases/a.toml:1: "." holds this case itself; give a folder of its own.'),
        ('files = { "/d" = 1 }', "cases/a.toml:1: /d is an integer; write the name of a folder beside it"),
        ('stdin = "x"\nstdin_hex = "00"', "cases/a.toml:2: stdin is given twice, by stdin and stdin_hex"),
        ('stdin_hex = "0g"', 'cases/a.toml:1: stdin_hex is not hexadecimal; write pairs of digits: "00ff".'),
        (
            'stdin_file = "gone"',
            'cases/a.toml:1: "gone" is no file beside it; create it, or correct its name.',
        ),
        ("timeout_s = 0", "cases/a.toml:1: timeout_s is 0; write a time limit in seconds, such as 60."),
        ("timeout_s = true", "cases/a.toml:1: timeout_s is True; write a time limit"),
        ("memory_mib = 0", "cases/a.toml:1: memory_mib is 0; write 1 to 4096 mebibytes."),
        ("compare = []", "cases/a.toml:1: compare is empty; name some of stdout, stderr, ending, files."),
        ('compare = ["stdot"]', 'cases/a.toml:1: compare has no "stdot"; did you mean stdout?'),
        ('masks = ["elapse"]', 'cases/a.toml:1: there is no mask "elapse"; did you mean elapsed?'),
        ("mask = { a = '(' }", "cases/a.toml:1: mask a is no regular expression: missing ), unterminated"),
        ("[mask]\na = 'x*'", "cases/a.toml:2: mask a, 'x*', matches the empty text, which is everywhere"),
        ('sorted_lines = ["files"]', 'cases/a.toml:1: sorted_lines has no "files"; write one of: stdout'),
        ("not_for = { deno = 1 }", 'cases/a.toml:1: deno is an integer; write [not_for], and RUNTIME = "the'),
        ("a = 1\na = 2", "cases/a.toml:2: this key is given twice; delete one of the two."),
        ("x", "cases/a.toml:1: this is not TOML: "),
    ],
)
def test_a_broken_sidecar(tmp_path: Path, sidecar: str, message: str) -> None:
    """File, line, what is wrong and what to do, in one sentence."""
    error = error_of(folder_with(tmp_path, {"a.toml": sidecar}))

    assert error.startswith(message)
    assert "\n" not in error


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            {"a.txt": "", "a.rb": ""},
            "cases/a.rb and cases/a.txt would both be the case a; rename one of them.",
        ),
        (
            {"a.txt": "x", "a.toml": 'stdin = "x"'},
            "cases/a.toml:1: stdin is given twice, by the file a.txt and stdin; keep one of them.",
        ),
        (
            {"a.txt": "", "b.golden": GOLDEN},
            "cases/b.golden is a golden file that belongs to no case. Delete or rename it.",
        ),
        ({"a.toml": b"\xff"}, "cases/a.toml:1: byte 0xff is not UTF-8; save the file as UTF-8."),
        ({"a.txt": "", "a.golden": "x"}, "cases/a.golden:1: this is not TOML: "),
        ({"README.md": ""}, "the folder of cases cases holds no case: a case is an input file of any kind"),
    ],
)
def test_a_broken_folder(tmp_path: Path, files: dict[str, str | bytes], message: str) -> None:
    """What would be run twice, never or by mistake is an error before anything starts."""
    assert error_of(folder_with(tmp_path, files)).startswith(message)


def test_a_missing_folder(tmp_path: Path) -> None:
    """Nothing run is not all passed."""
    message = "the folder of cases cases does not exist. Correct the path."

    assert error_of(tmp_path / "gone") == message


def test_a_file_instead_of_a_folder(tmp_path: Path) -> None:
    """Cases are folders, also if there is only one."""
    (tmp_path / "a.txt").write_text("")

    assert error_of(tmp_path / "a.txt") == "the folder of cases cases is not a folder. Correct the path."


@pytest.mark.parametrize("name", [b"a\xff.txt", b"a\nb.txt", b"a\x1b[1m.txt"])
def test_a_name_that_cannot_be_printed(tmp_path: Path, name: bytes) -> None:
    """Names stand in reports and on command lines."""
    (tmp_path / os.fsdecode(name)).write_text("")

    assert error_of(tmp_path).endswith("has a name that cannot be printed. Rename it.")


def test_a_golden_file_may_be_left_over_while_golden_files_are_written(tmp_path: Path) -> None:
    """Then it is listed, not an error."""
    files: dict[str, str | bytes] = {"a.txt": "", "b.golden": GOLDEN}

    assert [case.name for case in load_corpus(folder_with(tmp_path, files), orphans=True)] == ["a"]


def test_the_schema_describes_what_is_read() -> None:
    """Editors complete and check exactly the keys that are read, and the masks that there are."""
    schema = json.loads((ROOT / "docs/case.schema.json").read_text())

    assert tuple(schema["properties"]) == KEYS
    assert schema["additionalProperties"] is False
    assert schema["properties"]["masks"]["items"]["anyOf"][0]["enum"] == list(MASKS)


def test_the_bundled_cases_say_what_they_show() -> None:
    """Each has a sentence in its first lines."""
    for case in load_corpus(ROOT / "fixtures/ruby"):
        head = b"\n".join(case.stdin.removeprefix(b"\xef\xbb\xbf").splitlines()[:3])
        assert case.topic == "inputs" or re.search(rb"(?m)^\s*#.*\w\W+\w+\W+\w", head), case.name
