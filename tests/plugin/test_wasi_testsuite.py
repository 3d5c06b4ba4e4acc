"""--wasm-corpus=wasi-testsuite:PATH: small programs in that format, on real hosts."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pytest_wasmedge.errors import CorpusError
from pytest_wasmedge.model import exited
from pytest_wasmedge.portability.testsuite import load_testsuite
from pytest_wasmedge.provision.cache import ENV_CACHE, folder
from pytest_wasmedge.runtimes import builtin_runtimes
from pytest_wasmedge.testing import FakeRuntime
from tests import wat

SAYS = wat.command("(call $write (i32.const 1) (i32.const 1024) (i32.const 6))", data="hello\\n")
#: As wat.READS_A_FILE, but through a symbolic link.
FOLLOWS = wat.READS_A_FILE.replace(
    "(i32.const 3) (i32.const 0) (i32.const 1024)", "(i32.const 3) (i32.const 1) (i32.const 1024)"
)
#: Makes the file new.cleanup in its first preopened folder and writes to it; ends with 20 if it is there already.
CREATES = wat.command(
    """(local $error i32)
    (local.set $error (call $path_open (i32.const 3) (i32.const 0) (i32.const 1024) (i32.const 11)
      (i32.const 5) (i64.const 64) (i64.const 0) (i32.const 0) (i32.const 16)))
    (if (local.get $error) (then (call $proc_exit (local.get $error))))
    (call $write (i32.load (i32.const 16)) (i32.const 1024) (i32.const 11))""",
    data="new.cleanup",
)
#: What the programs here run on: one of each kind that can give folders.
GIVING = ["wasmtime", "wasmtime-cli", "wasmtime-serve", "wasmedge", "node", "workerd"]
BOTH = ("wasmtime", "wasmtime-cli")


@dataclass(frozen=True)
class Sample:
    """A program, the JSON beside it (None: there is none), and files: text, or a link's target behind ``->``."""

    program: str
    json: Any = None
    files: dict[str, str] = field(default_factory=dict)

    def write(self, place: Path, name: str) -> None:
        """Write the program and all that belongs to it into a folder."""
        wat.write(place / f"{name}.wasm", self.program)
        if self.json is not None:
            (place / f"{name}.json").write_text(json.dumps(self.json))
        for path, content in self.files.items():
            (place / path).parent.mkdir(exist_ok=True)
            if content.startswith("->"):
                (place / path).symlink_to(content.removeprefix("->"))
            else:
                (place / path).write_text(content)


GOOD = {
    "silent": Sample(wat.command("")),
    "arguments": Sample(
        wat.ARGUMENTS,
        {
            "args": ["--help", "größe ☃", "", 'the "second"'],
            "stdout": 'artifact.wasm\0--help\0größe ☃\0\0the "second"\0',
        },
    ),
    "no_arguments": Sample(wat.ARGUMENTS, {"stdout": "artifact.wasm\0"}),
    "environment": Sample(wat.ENVIRONMENT, {"env": {"GRÖSSE": "☃=1"}, "stdout": "GRÖSSE=☃=1\0"}),
    "no_environment": Sample(wat.ENVIRONMENT, {}),
    "says": Sample(SAYS, {"stdout": "hello\n", "stderr": ""}),
    "fails": Sample(wat.reports("oh ☃\n", 33), {"exit_code": 33, "stderr": "oh ☃\n"}),
    "reads": Sample(
        wat.READS_A_FILE, {"root": "reads.dir", "stdout": "of root"}, {"reads.dir/hello.txt": "of root"}
    ),
    "reads_older": Sample(
        wat.READS_A_FILE, {"dirs": ["older.dir"], "stdout": "of dirs"}, {"older.dir/hello.txt": "of dirs"}
    ),
    "no_folder": Sample(wat.READS_A_FILE, {"exit_code": 8}),
    "follows": Sample(
        FOLLOWS,
        {"root": "linked.dir", "stdout": "target"},
        {"linked.dir/hello.txt": "->target.txt", "linked.dir/target.txt": "target"},
    ),
    # A link that had become a file in the copy could be opened.
    "link": Sample(
        wat.READS_A_FILE,
        {"root": "link.dir", "exit_code": 32},
        {"link.dir/hello.txt": "->target.txt", "link.dir/target.txt": "target"},
    ),
    "creates": Sample(CREATES, {"root": "created.dir"}, {"created.dir/kept.txt": ""}),
    "creates_after_litter": Sample(
        CREATES, {"root": "litter.dir"}, {"litter.dir/new.cleanup": "of a run that was killed"}
    ),
    "with/folder": Sample(wat.exits(1), {"exit_code": 1, "wasi_functions": ["proc_exit"]}),
}
#: Each diverges in one field; the text is of the report.
BAD = {
    "status": (Sample(wat.exits(3), {"exit_code": 4}), "ending: expected exited(4), got exited(3)"),
    "trap": (Sample(wat.TRAP), "ending: expected exited(0), got trapped"),
    "stdout": (Sample(SAYS, {"stdout": "hallo\n"}), "stdout first differs at byte 1"),
    "trailing": (Sample(SAYS, {"stdout": "hel"}), "stdout first differs at byte 3"),
    "missing": (Sample(SAYS, {"stdout": "hello\nmore"}), "stdout first differs at byte 6"),
    "newline": (Sample(SAYS, {"stdout": "hello"}), "stdout first differs at byte 5"),
    "undeclared_stdout": (Sample(SAYS, {}), "stdout first differs at byte 0"),
    "undeclared_stderr": (Sample(wat.reports("oh", 0)), "stderr first differs at byte 0"),
    "stderr": (
        Sample(wat.reports("oh", 1), {"exit_code": 1, "stderr": "o"}),
        "stderr first differs at byte 1",
    ),
}


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A project with a folder for programs, an artifact that is no Ruby, and a cache of its own."""
    cache = pytester.mkdir("cache")
    cache.chmod(0o700)
    (cache / "tools").symlink_to(folder("tools"))
    monkeypatch.setenv(ENV_CACHE, str(cache))
    wat.write(pytester.path / "echo.wasm", wat.ECHO)
    pytester.mkdir("programs").joinpath("with").mkdir()
    return pytester


def run(project: pytest.Pytester, *options: str, runtimes: str = ",".join(BOTH)) -> pytest.RunResult:
    """Run the programs of the project."""
    return project.runpytest_inprocess(
        "--wasm-corpus=wasi-testsuite:programs",
        "--wasm-artifact=echo.wasm",
        f"--runtimes={runtimes}",
        # At the end of an inner run it would take the signals away by which the engine in this process hears of traps.
        "-p",
        "no:faulthandler",
        "-W",
        "error",
        *options,
    )


def test_programs_do_as_they_say(project: pytest.Pytester) -> None:
    """A program that does as its description says passes, on each runtime that can give folders."""
    for name, sample in GOOD.items():
        sample.write(project.path / "programs", name)
    result = run(project, "-v", runtimes=",".join(GIVING))

    said = result.stdout.str()
    told = dict(re.findall(r"^test_wasi_testsuite\.py::test_program\[(\S+)\] ([A-Z]+)", said, re.MULTILINE))
    assert told == {f"{name}-{runtime}": "PASSED" for name in GOOD for runtime in GIVING}


def test_who_gives_folders() -> None:
    """What is asked of all that say that they can give folders is asked of these, wherever their WASI comes from."""
    glue = {"node", "deno", "bun", "workerd", "cloudflare", "edge-runtime", "chromium", "firefox", "webkit"}
    assert {each.name for each in builtin_runtimes() if "preopens" in each.capabilities} == {
        *BOTH,
        *(
            "wasmtime-serve",
            "wasmedge",
            "wasmedge-interpreter",
            "wasmtime-winch",
            "wasmtime-pulley",
            "wasm2c",
            "node-wasi",
            "deno-wasi",
            "lambda",
            "netlify",
        ),
        *glue,
    }


def test_folders_are_copies(project: pytest.Pytester) -> None:
    """A program writes into a copy of its own: the next run finds nothing, and nothing is in the folder."""
    place = project.path / "programs"
    GOOD["creates"].write(place, "creates")
    for _ in range(2):
        run(project, runtimes=",".join(GIVING)).assert_outcomes(passed=len(GIVING))

    assert [path.name for path in (place / "created.dir").iterdir()] == ["kept.txt"]


def test_a_folder_that_is_refused(project: pytest.Pytester) -> None:
    """A program whose folder has a link is left out, with the reason, where none with a link is granted."""
    GOOD["link"].write(project.path / "programs", "link")
    GOOD["reads"].write(project.path / "programs", "reads")
    result = run(project, "-rs", runtimes="node-wasi")

    result.assert_outcomes(passed=1, skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED * node-wasi: cannot grant * hello.txt in it is a symbolic link, *"])


def test_divergences(project: pytest.Pytester) -> None:
    """A program that does otherwise, if only by one byte more, fails and is counted as diverging once."""
    for name, (sample, _) in BAD.items():
        sample.write(project.path / "programs", name)
    result = run(project, runtimes="wasmtime")

    result.assert_outcomes(failed=len(BAD))
    sections = re.split(r"^_+ test_program\[(\w+)-wasmtime\] _+$", result.stdout.str(), flags=re.MULTILINE)
    told = dict(zip(sections[1::2], sections[2::2], strict=True))
    assert told.keys() == BAD.keys()
    for name, (_, message) in BAD.items():
        assert f"wasmtime: {message}" in told[name]
    row = next(line for line in result.outlines if line.startswith("wasmtime  ")).split()
    assert row[-6:] == ["0", str(len(BAD)), "0", str(len(BAD)), "-", "-"]


def test_published_suite(project: pytest.Pytester) -> None:
    """In the suite as published, what a program does not declare is its own affair; what it does is not."""
    place = project.path / "programs"
    (place / "manifest.json").write_text('{"name": "WASI tests", "version": "wasm32-wasip1"}')
    for name, (sample, _) in BAD.items():
        sample.write(place, name)
    result = run(project, "-v", runtimes="wasmtime")

    result.assert_outcomes(passed=2, failed=len(BAD) - 2)
    result.stdout.fnmatch_lines_random(
        ["*?undeclared_stdout-wasmtime? PASSED*", "*?undeclared_stderr-wasmtime? PASSED*"]
    )


def test_a_program_is_left_out_where_its_need_cannot_be_met(project: pytest.Pytester) -> None:
    """A runtime that cannot give folders runs all programs but those that have one, which is said by its name."""
    for name in ("silent", "creates"):
        GOOD[name].write(project.path / "programs", name)
    result = run(project, "-rs", runtimes="wasmtime,wasmer")

    result.assert_outcomes(passed=3, skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED * wasmer cannot give folders to a guest: 1 programs left out"])


def test_only_where_folders_cannot_be_given(project: pytest.Pytester) -> None:
    """A run in which no program ran on any runtime is not green."""
    GOOD["creates"].write(project.path / "programs", "creates")

    assert run(project, runtimes="wasmer").ret == pytest.ExitCode.NO_TESTS_COLLECTED


def test_what_runs_no_program(project: pytest.Pytester) -> None:
    """A yardstick runs no artifact, and a deployed edge the one that it has."""
    GOOD["silent"].write(project.path / "programs", "silent")
    (program,) = load_testsuite(project.path / "programs")
    kinds = {"yardstick": "runs no artifact", "deployed": "holds the artifact that it was deployed with"}
    for kind, reason in kinds.items():
        runtime = FakeRuntime("other")
        setattr(runtime, kind, True)
        assert program.lacking(runtime) == f"other {reason}"


def test_known_divergence(project: pytest.Pytester) -> None:
    """The contract knows a program by its name behind the format's, and says when it no longer diverges."""
    place = project.path / "programs"
    BAD["status"][0].write(place, "status")
    (project.path / "portability.toml").write_text(
        '[[known]]\ncase = "wasi-testsuite/status"\nruntimes = ["wasmtime"]\nfield = "ending"\n'
        'reason = "it counts otherwise"\nissue = "https://example.org/1"\n'
    )
    result = run(project, runtimes="wasmtime")
    result.assert_outcomes(xfailed=1)
    assert result.ret == 0

    Sample(wat.exits(4), {"exit_code": 4}).write(place, "status")
    result = run(project, runtimes="wasmtime")
    result.assert_outcomes(passed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert "wasi-testsuite/status no longer diverges on wasmtime" in result.stdout.str()


def test_no_compiled_code_is_kept(project: pytest.Pytester) -> None:
    """The code of programs is not kept: many of them would push out that of the artifact."""
    for name in ("silent", "says"):
        GOOD[name].write(project.path / "programs", name)
    project.makepyfile("def test_artifact(host):\n    assert host.run(b'x').stdout == b'x'\n")
    run(project).assert_outcomes(passed=6)

    assert len(list((project.path / "cache" / "compiled").glob("*.cwasm"))) == len(BOTH)


def test_collected_once(project: pytest.Pytester) -> None:
    """With the whole suite asked for too, programs are collected once; without the option, not at all."""
    GOOD["silent"].write(project.path / "programs", "silent")
    options = (
        "--runtimes=wasmtime",
        "--wasm-artifact=echo.wasm",
        "--wasm-conformance",
        "--collect-only",
        "-q",
    )
    twice = project.runpytest_inprocess("--wasm-corpus=wasi-testsuite:programs", *options)
    without = project.runpytest_inprocess(*options)

    assert twice.stdout.str().count("::test_program") == 1
    assert without.stdout.str().count("::test_program") == 0
    assert (
        without.stdout.str().count("::test_ending") + without.stdout.str().count("::test_status_arrives") > 0
    )


def test_a_program_that_is_none(project: pytest.Pytester) -> None:
    """A program that cannot be one fails in one sentence, and the others run."""
    place = project.path / "programs"
    GOOD["silent"].write(place, "silent")
    (place / "text.wasm").write_text("(module)")
    result = run(project, runtimes="wasmtime")

    result.assert_outcomes(passed=1, errors=1)
    assert "text.wasm is WebAssembly text (WAT), not the binary format." in result.stdout.str()
    assert "Traceback" not in result.stdout.str()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "line 1: not JSON: Expecting property name enclosed in double quotes. Correct it."),
        (
            "[]",
            "holds no JSON object. Write {…} with any of args, env, root, dirs, exit_code, stdout, stderr.",
        ),
        ('{"args": "a"}', "args must be a list of strings without NUL. Correct it."),
        ('{"args": [1]}', "args must be a list of strings without NUL. Correct it."),
        ('{"args": ["a\\u0000b"]}', "args must be a list of strings without NUL. Correct it."),
        ('{"env": {"A": 1}}', "env must be an object whose values are strings without NUL. Correct it."),
        ('{"exit_code": "1"}', "exit_code must be a whole number. Correct it."),
        ('{"exit_code": true}', "exit_code must be a whole number. Correct it."),
        ('{"stdout": null}', "stdout must be a string. Correct it."),
        ('{"root": "gone"}', "names the folder gone, which is not beside it. Create it."),
        ('{"root": "../above"}', "root must be the name of a folder beside it. Correct it."),
        ('{"root": ""}', "root must be the name of a folder beside it. Correct it."),
        ('{"root": "/"}', "root must be the name of a folder beside it. Correct it."),
        ('{"dirs": ["gone"]}', "names the folder gone, which is not beside it. Create it."),
        ('{"exit_cod": 1}', "has the unknown key exit_cod. Did you mean exit_code?"),
        ('{"operations": []}', "describes its run by `operations`, which are for later versions of WASI."),
    ],
)
def test_description_that_means_nothing(tmp_path: Path, text: str, message: str) -> None:
    """A description that cannot be read or meant is said in one sentence, with its file."""
    wat.write(tmp_path / "a.wasm", wat.TRAP)
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(CorpusError) as caught:
        load_testsuite(tmp_path)

    assert str(caught.value).startswith(str(tmp_path / "a.json"))
    assert message in str(caught.value)


def test_description_in_another_encoding(tmp_path: Path) -> None:
    """A description is UTF-8, and one that is not is said so."""
    wat.write(tmp_path / "a.wasm", wat.TRAP)
    (tmp_path / "a.json").write_bytes(b'{"stdout": "\xff"}')

    with pytest.raises(CorpusError, match=r"a\.json:1: byte 0xff is not UTF-8"):
        load_testsuite(tmp_path)


def test_programs_of_another_version(tmp_path: Path) -> None:
    """A part of the published suite for another version of WASI is refused by name."""
    wat.write(tmp_path / "a.wasm", wat.TRAP)
    (tmp_path / "manifest.json").write_text('{"name": "x", "version": "wasm32-wasip3"}')

    with pytest.raises(
        CorpusError, match=r"these programs are of 'wasm32-wasip3'\. Hosts here run WASI preview 1"
    ):
        load_testsuite(tmp_path)


def test_defaults(tmp_path: Path) -> None:
    """A program without description is given nothing, and must write nothing and end with 0."""
    wat.write(tmp_path / "a.wasm", wat.TRAP)
    (program,) = load_testsuite(tmp_path)

    assert (program.name, program.short_name) == ("wasi-testsuite/a", "a")
    assert (program.args, program.env, program.folders) == ((), {}, {})
    assert program.unchecked == {"files"}
    assert (program.expected.stdout, program.expected.stderr, program.expected.ending) == (
        b"",
        b"",
        exited(0),
    )


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("programs", "--wasm-corpus=programs: give kind and folder, such as wasi-testsuite:PATH.*"),
        (
            "ruby:programs",
            "--wasm-corpus=ruby:programs: give kind and folder, such as wasi-testsuite:PATH.*",
        ),
        ("wasi-testsuite:", "--wasm-corpus=wasi-testsuite:: give kind and folder, *"),
        (
            "wasi-testsuite:programs",
            "wasi-testsuite corpus *programs holds no program: a program is a *.wasm file*",
        ),
        ("wasi-testsuite:gone", "wasi-testsuite corpus *gone is not a folder: *"),
    ],
)
def test_corpus_that_is_none(project: pytest.Pytester, spec: str, message: str) -> None:
    """A corpus that cannot be meant or is not there is a usage error of one sentence."""
    result = project.runpytest_inprocess(f"--wasm-corpus={spec}", "--wasm-artifact=echo.wasm")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {message}"])


def test_two_of_one_name(project: pytest.Pytester) -> None:
    """Two corpora with a program of the same name cannot be told apart, which is said before the run."""
    GOOD["silent"].write(project.path / "programs", "silent")
    GOOD["silent"].write(project.mkdir("more"), "silent")
    result = run(project, "--wasm-corpus=wasi-testsuite:more")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["ERROR: *programs/silent.wasm and *more/silent.wasm are both called wasi-testsuite/silent. *"]
    )


def test_path_is_from_where_pytest_started(tmp_path: Path) -> None:
    """A path on the command line is from the folder that pytest was started in."""
    (tmp_path / "here").mkdir()
    wat.write(tmp_path / "here" / "a.wasm", wat.TRAP)

    assert [program.short_name for program in load_testsuite(tmp_path / "here")] == ["a"]
