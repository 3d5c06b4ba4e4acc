"""--wasm-cases: folders of cases for any guest, masks, golden files, and what is said when runtimes disagree."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import wat

#: Runtimes whose guests answer in many ways, and a real one beside them.
CONFTEST = """
import itertools
from pytest_wasmedge.model import Outcome, exited, timed_out
from pytest_wasmedge.testing import FakeRuntime

counter = itertools.count()

def echo(invocation):
    return Outcome(invocation.stdin, b"", exited(0))

def other(invocation):
    return Outcome(invocation.stdin.upper(), b"", exited(0))

def counting(invocation):
    return Outcome(b"took %d ms\\n" % next(counter), b"", exited(0))

def late(invocation):
    # Stopped at the limit the first time, as on a machine that had much else to do.
    return Outcome(b"", b"", timed_out()) if next(counter) == 0 else echo(invocation)

def never(invocation):
    return Outcome(b"", b"", timed_out())

def telling(invocation):
    told = [*invocation.args, *(f"{name}={value}" for name, value in invocation.env.items())]
    return Outcome(" ".join(told).encode(), b"", exited(0))

def pytest_wasmedge_runtimes():
    answers = {"one": echo, "two": echo, "odd": other, "counting": counting, "telling": telling}
    answers |= {"late": late, "never": never}
    return [FakeRuntime(name, answer) for name, answer in answers.items()]
"""


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    """A project whose guest writes what it reads, with two cases and no tests of its own."""
    wat.write(pytester.path / "echo.wasm", wat.ECHO)
    write(pytester.path, {"cases/hello.txt": "hello\n", "cases/sub/bytes.bin": b"\0\xff"})
    pytester.makepyprojecttoml('[tool.pytest-wasmedge]\nartifact = "echo.wasm"\ncases = ["cases"]\n')
    pytester.makeconftest(CONFTEST)
    return pytester


def write(root: Path, files: dict[str, str | bytes]) -> None:
    """Write files by their path."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)


def run(project: pytest.Pytester, *options: str) -> pytest.RunResult:
    """Run pytest in this process, warnings being errors."""
    return project.runpytest_inprocess("-W", "error", *options)


def closing(result: pytest.RunResult) -> str:
    """Return the lines after the table."""
    return "\n".join(result.outlines[result.outlines.index(next(filter(_is_title, result.outlines))) :])


def _is_title(line: str) -> bool:
    return "portability of" in line


def test_a_project_names_artifact_and_cases(project: pytest.Pytester) -> None:
    """With a pyproject.toml alone, the cases run on each runtime that is asked for, the real one too."""
    result = run(project, "--runtimes=wasmtime,one,two", "-v")

    result.assert_outcomes(passed=6)
    result.stdout.fnmatch_lines(
        [
            "wasmedge: echo on wasmtime, one, two; collects your tests and 2 cases",
            "*test_case?wasmtime-hello? PASSED*",
            "*test_case?two-sub/bytes? PASSED*",
            "reference: wasmtime, run in the same session",
        ]
    )


def test_cases_of_the_command_line(project: pytest.Pytester) -> None:
    """--wasm-cases stands for the folders of the project, from where pytest was started; tests run beside them."""
    write(project.path, {"more/a.txt": "a", "again/b.txt": "b"})
    project.makepyfile("def test_mine(host):\n    assert host.run('x').stdout == b'x'\n")
    result = run(project, "--runtimes=one", "--wasm-cases=more", "--wasm-cases=again", "-v")

    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines(["*::test_mine?one? PASSED*", "*?one-a? PASSED*", "*?one-b? PASSED*"])


def test_a_project_below_another(project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """pytest's root may be a folder further up; the nearest table of ours counts, and its folder's contract."""
    (project.path / "pyproject.toml").write_text("[tool.pytest.ini_options]\n")
    write(
        project.path / "below",
        {
            "pyproject.toml": '[tool.pytest-wasmedge]\nartifact = "../echo.wasm"\ncases = ["mine"]\n',
            "portability.toml": "ceilings = 1\n",
            "mine/a.txt": "a",
        },
    )
    (project.path / "below" / "deeper").mkdir()
    monkeypatch.chdir(project.path / "below" / "deeper")
    result = run(project, "--runtimes=one")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "portability.toml:1: ceilings is an integer" in result.stderr.str()

    (project.path / "below" / "portability.toml").unlink()
    run(project, "--runtimes=one").assert_outcomes(passed=1)


def test_a_named_test_runs_alone(project: pytest.Pytester) -> None:
    """Who names a file of tests does not get the project's cases, but those of the command line."""
    project.makepyfile(test_mine="def test_mine(host):\n    pass\n")

    run(project, "--runtimes=one", "test_mine.py").assert_outcomes(passed=1)
    run(project, "--runtimes=one", "test_mine.py", "--wasm-cases=cases").assert_outcomes(passed=3)


def test_without_our_options_nothing_is_collected(project: pytest.Pytester) -> None:
    """A plain `pytest` in such a project is a plain pytest."""
    assert run(project).ret == pytest.ExitCode.NO_TESTS_COLLECTED


def test_golden_files_red_then_green(project: pytest.Pytester) -> None:
    """Written, then right; an edited case is red with a diff that reads well, and green once it is accepted."""
    wrote = run(project, "--runtimes=wasmtime,one", "--wasm-update-golden")
    wrote.assert_outcomes(passed=4)
    assert "golden files written: 2" in closing(wrote)
    golden = project.path / "cases/hello.golden"
    assert golden.read_text() == "ending = \"exited(0)\"\nstdout = '''\nhello\n'''\nstderr = \"\"\n"
    assert 'stdout_hex = "00ff"' in (project.path / "cases/sub/bytes.golden").read_text()
    assert "reference: golden files\n" in closing(run(project, "--runtimes=wasmtime")) + "\n"

    write(project.path, {"cases/hello.txt": "hullo\n"})
    red = run(project, "--runtimes=wasmtime")
    red.assert_outcomes(passed=1, failed=1)
    red.stdout.fnmatch_lines(
        [
            'wasmtime: stdout first differs at byte 1, line 1: expected 6 bytes "hello\\n", got 6 bytes "hullo\\n"',
            "-hello",
            "+hullo",
        ]
    )
    # Nothing of ours is shown: no traceback, no fixtures.
    assert (
        "conformance"
        not in "\n".join(red.outlines).partition("short test summary")[0].partition("FAILURES")[2]
    )

    wrote = run(project, "--runtimes=wasmtime,one", "--wasm-update-golden")
    wrote.stdout.fnmatch_lines(
        ["golden files written: 1", "cases/hello.golden changed:", "  -hello", "  +hullo"]
    )
    run(project, "--runtimes=wasmtime").assert_outcomes(passed=2)


def test_only_new_or_only_changed(project: pytest.Pytester) -> None:
    """=new leaves what is there and holds cases against it, =changed writes no new file."""
    write(
        project.path,
        {"cases/hello.golden": "ending = \"exited(0)\"\nstdout = '''\nold\n'''\nstderr = \"\"\n"},
    )
    golden, other = project.path / "cases/hello.golden", project.path / "cases/sub/bytes.golden"

    run(project, "--runtimes=one,two", "--wasm-update-golden=changed").assert_outcomes(passed=4)
    assert "hello" in golden.read_text()
    assert not other.exists()

    write(project.path, {"cases/hello.txt": "newer\n"})
    run(project, "--runtimes=one,two", "--wasm-update-golden=new").assert_outcomes(passed=2, failed=2)
    assert "newer" not in golden.read_text()
    assert other.exists()


def test_no_golden_file_against_the_others(project: pytest.Pytester) -> None:
    """What a runtime contradicts is not written, and the run is red: with whom, and what differs."""
    result = run(project, "--runtimes=one,two,odd", "--wasm-update-golden")

    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        [
            "hello: golden file not written: odd against one, two, which agree",
            "*-hello",
            "golden files written: 1",
        ]
    )
    assert not (project.path / "cases/hello.golden").exists()
    assert (project.path / "cases/sub/bytes.golden").exists()


def test_a_runtime_that_failed_is_no_support(project: pytest.Pytester) -> None:
    """Golden files are what all selected runtimes say, so one that could not be asked keeps them from being written."""
    project.makeconftest(
        CONFTEST.replace("def other(invocation):", "def other(invocation):\n    raise RuntimeError('broken')")
    )
    result = run(project, "--runtimes=one,odd", "--wasm-update-golden")

    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert not (project.path / "cases/hello.golden").exists()


def test_a_runtime_that_was_not_run_is_no_support(project: pytest.Pytester) -> None:
    """A part of a run writes nothing that another selected runtime could contradict."""
    result = run(project, "--runtimes=one,odd", "--wasm-update-golden", "-k", "one")

    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["hello: golden file not written: it was not run on odd"])
    assert not (project.path / "cases/hello.golden").exists()

    write(project.path, {"cases/hello.toml": 'not_for.odd = "it shouts"\n'})
    result = run(project, "--runtimes=one,odd", "--wasm-update-golden", "-k", "one and hello")
    assert result.ret == 0
    assert (project.path / "cases/hello.golden").exists()


def test_what_tells_stdout_alone_is_held_to_it(project: pytest.Pytester) -> None:
    """A deployed worker that tells neither stderr nor status runs the cases, and has no vote on a golden file."""
    plain = """
class Plain(FakeRuntime):
    unchecked = frozenset({"stderr", "ending", "files"})
"""
    text = CONFTEST.replace("counter =", f"{plain}\ncounter =")
    project.makeconftest(
        text.replace(
            "for name, answer in answers.items()]",
            "for name, answer in answers.items()]\\\n"
            "        + [Plain('plain', echo), Plain('crooked', other)]",
        )
    )
    run(project, "--runtimes=one,plain", "--wasm-update-golden").assert_outcomes(passed=4)
    assert (project.path / "cases/hello.golden").exists()

    run(project, "--runtimes=plain,crooked").assert_outcomes(passed=3, failed=1)


def test_what_belongs_to_no_case(project: pytest.Pytester) -> None:
    """A golden file without its case stops a run, and is listed where golden files are written."""
    write(project.path, {"cases/gone.golden": 'ending = "exited(0)"\nstdout = ""\nstderr = ""\n'})
    result = run(project, "--runtimes=one")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: cases/gone.golden is a golden file that belongs to no case. *"])
    assert "cases/gone.golden belongs to no case any more: delete or rename it" in closing(
        run(project, "--runtimes=one", "--wasm-update-golden")
    )


def test_the_odd_one_out_is_named(project: pytest.Pytester) -> None:
    """Without golden files all runtimes must agree; the last lines say who stands alone."""
    result = run(project, "--runtimes=one,two,odd")

    result.assert_outcomes(passed=5, failed=1)
    result.stdout.fnmatch_lines(["1 case without agreement:", "  hello: odd against one, two, which agree"])


def test_the_reference_may_be_the_odd_one(project: pytest.Pytester) -> None:
    """The first runtime is only the first: if all others agree, it is the one that is named."""
    result = run(project, "--runtimes=odd,one,two")

    result.assert_outcomes(passed=4, failed=2)
    result.stdout.fnmatch_lines(["  hello: odd against one, two, which agree"])


def test_all_runtimes_against_the_golden_file(project: pytest.Pytester) -> None:
    """If every runtime gives the same new answer, the guest has changed and no host is to blame."""
    golden = 'ending = "exited(0)"\nstdout = "%s\\n"\nstderr = ""\n'
    write(project.path, {"cases/hello.golden": golden % "old"})
    changed = run(project, "--runtimes=one,two")
    changed.assert_outcomes(passed=2, failed=2)
    hint = "the guest has changed; --wasm-update-golden accepts that"
    changed.stdout.fnmatch_lines([f"  hello: the golden file against one, two, which agree: {hint}"])

    write(project.path, {"cases/hello.golden": golden % "hello"})
    result = run(project, "--runtimes=one,odd")
    result.stdout.fnmatch_lines(["  hello: odd against *one*, which agree"])
    assert "agreement" not in closing(run(project, "--runtimes=odd"))


def test_a_tie_is_shown_as_groups(project: pytest.Pytester) -> None:
    """Of two against one another nobody knows who is right."""
    run(project, "--runtimes=one,odd").stdout.fnmatch_lines(["  hello: no majority: one | odd"])


def test_a_guest_that_varies_is_told_as_such(project: pytest.Pytester) -> None:
    """Two answers to the same input on one host are no divergence between hosts; a mask settles it."""
    result = run(project, "--runtimes=counting", "-k", "hello")

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["counting: nondeterministic guest: hello, run twice, gave two outcomes", "-took * ms", "+took * ms"]
    )
    assert "without agreement" not in closing(result)

    refused = run(project, "--runtimes=counting", "--wasm-update-golden", "-k", "hello")
    refused.assert_outcomes(failed=1)
    assert not (project.path / "cases/hello.golden").exists()

    write(project.path, {"cases/hello.toml": 'masks = ["elapsed"]\n'})
    run(project, "--runtimes=counting", "--wasm-update-golden", "-k", "hello").assert_outcomes(passed=1)
    assert "took <elapsed>" in (project.path / "cases/hello.golden").read_text()
    run(project, "--runtimes=counting", "-k", "hello").assert_outcomes(passed=1)


def test_a_reference_that_was_late_is_asked_again(project: pytest.Pytester) -> None:
    """From a reference that was stopped at its time limit once nobody differs; from one that always is, everybody."""
    run(project, "--runtimes=one,two", "--wasm-reference=late", "-k", "hello").assert_outcomes(passed=2)

    always = run(project, "--runtimes=one,never", "--wasm-reference=never", "-k", "hello")
    always.assert_outcomes(passed=1, failed=1)


def test_a_runtime_that_was_late(project: pytest.Pytester) -> None:
    """A case that ends in time only now and then is told as such, with what to do."""
    result = run(project, "--runtimes=late", "--wasm-reference=one", "-k", "hello")

    result.assert_outcomes(failed=1)
    told = ["late: nondeterministic guest: hello, *", "meaning: *time limit*timeout in its .toml*"]
    result.stdout.fnmatch_lines(told)


def test_where_masks_replaced_something(project: pytest.Pytester) -> None:
    """A failure says what was hidden from the comparison; a project's own masks have names as ours."""
    with (project.path / "pyproject.toml").open("a") as file:
        file.write("\n[tool.pytest-wasmedge.masks]\nversion = 'v\\d+'\n")
    write(project.path, {"cases/hello.toml": 'masks = ["version"]\nsummary = "It says hello."\n'})
    write(project.path, {"cases/hello.txt": "hello v1\n"})
    run(project, "--runtimes=one", "--wasm-update-golden").assert_outcomes(passed=2)
    write(project.path, {"cases/hello.txt": "hello v23\n"})
    run(project, "--runtimes=one").assert_outcomes(passed=2)
    write(project.path, {"cases/hello.txt": "hullo v23\n"})

    result = run(project, "--runtimes=one")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["case: It says hello.", 'masked as <version> in stdout: "v23" at byte 6'])


def test_lines_in_any_order(project: pytest.Pytester) -> None:
    """A case may say that the order of lines does not matter; the lines themselves still do."""
    write(project.path, {"cases/hello.toml": 'sorted_lines = ["stdout"]\n', "cases/hello.txt": "b\na\n"})
    run(project, "--runtimes=one", "--wasm-update-golden").assert_outcomes(passed=2)
    write(project.path, {"cases/hello.txt": "a\nb\n"})
    run(project, "--runtimes=one").assert_outcomes(passed=2)
    write(project.path, {"cases/hello.txt": "a\nc\n"})
    run(project, "--runtimes=one").assert_outcomes(passed=1, failed=1)


def test_arguments_variables_and_what_is_compared(project: pytest.Pytester) -> None:
    """A sidecar alone is a case; fields that it leaves out of `compare` may be anything."""
    write(
        project.path,
        {
            "cases/told.toml": 'args = ["a b", "é"]\nenv = { B = "1", A = "2" }\n',
            "cases/told.golden": 'ending = "exited(0)"\nstdout = "a b é B=1 A=2"\nstderr = ""\n',
        },
    )
    run(project, "--runtimes=telling", "-k", "told").assert_outcomes(passed=1)

    write(
        project.path, {"cases/told.golden": 'ending = "exited(3)"\nstdout = "a b é B=1 A=2"\nstderr = "x"\n'}
    )
    run(project, "--runtimes=telling", "-k", "told").assert_outcomes(failed=1)
    with (project.path / "cases/told.toml").open("a") as file:
        file.write('compare = ["stdout"]\n')
    run(project, "--runtimes=telling", "-k", "told").assert_outcomes(passed=1)


def test_what_a_case_is_not_for(project: pytest.Pytester) -> None:
    """A runtime that a case does not apply to is skipped with the reason; a name that is none is an error."""
    write(project.path, {"cases/hello.toml": 'not_for = { odd = "it shouts" }\n'})
    result = run(project, "--runtimes=one,odd", "-rs")

    result.assert_outcomes(passed=3, skipped=1)
    result.stdout.fnmatch_lines(["*not for odd: it shouts*"])

    write(project.path, {"cases/hello.toml": 'not_for = { wasmtim = "x" }\n'})
    result = run(project, "--runtimes=one")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    message = "not_for names wasmtim, which is no runtime. Did you mean wasmtime?"
    result.stderr.fnmatch_lines([f"*cases/hello.toml: {message}*"])


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("cases = 'x'", 'pyproject.toml:2: cases is a string; write cases = \\["cases"\\].'),
        ("cases = ['gone']", "the folder of cases gone does not exist. Correct the path."),
        ("artifact = 1", "pyproject.toml:2: artifact is an integer; write the path of a .wasm file"),
        ("[tool.pytest-wasmedge.masks]\nx = '('", "pyproject.toml:3: mask x is no regular expression"),
        (
            "groups = { mine = 'x' }",
            'pyproject.toml:2: mine is a string; write mine = \\["RUNTIME", …\\].',
        ),
        (
            "groups = { all = ['x'] }",
            'pyproject.toml:2: "all" cannot be the name of a group; give it another one.',
        ),
        ("case = ['x']", "has the unknown key case. Did you mean cases?"),
    ],
)
def test_a_wrong_table_of_the_project(project: pytest.Pytester, table: str, message: str) -> None:
    """One sentence with file and line, before anything starts."""
    write(project.path, {"pyproject.toml": f"[tool.pytest-wasmedge]\n{table}\n"})
    result = run(project, "--runtimes=one")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.re_match_lines([f"ERROR: .*{message}"])


def test_a_group_of_the_project(project: pytest.Pytester) -> None:
    """It selects as a list of names does, but what cannot run is listed as under `all`; a mark may name it, too."""
    with (project.path / "pyproject.toml").open("a") as file:
        file.write("\n[tool.pytest-wasmedge.groups]\nmine = ['one', 'odd']\nworse = ['one', 'gone']\n")
    test = "import pytest\n@pytest.mark.runtimes('mine')\ndef test_it(host):\n    assert host.runtime.name != 'two'\n"
    project.makepyfile(test_mine=test)
    run(project, "--runtimes=mine,two", "test_mine.py").assert_outcomes(passed=2)
    result = run(project, "--runtimes=worse", "test_mine.py")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: unknown runtime 'gone'.*or all, *mine, worse."])


def test_two_folders_with_the_same_case(project: pytest.Pytester) -> None:
    """A name is one case."""
    write(project.path, {"more/hello.txt": ""})
    result = run(project, "--runtimes=one", "--wasm-cases=cases", "--wasm-cases=more")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    message = "cases/hello.txt and more/hello.txt are both the case hello; rename one of them."
    result.stderr.fnmatch_lines([f"ERROR: {message}"])


def test_folders_are_copies_and_compared(project: pytest.Pytester) -> None:
    """On the real runtime a guest reads a copy of what a case gives it; what it leaves is in the golden file."""
    wat.write(project.path / "echo.wasm", wat.READS_A_FILE)
    write(project.path, {"cases/hello.toml": 'files = { "/data" = "given" }\n'})
    write(project.path, {"cases/given/hello.txt": "from the file\n"})
    write(project.path, {"cases/empty.toml": 'files = { "/data" = "" }\ncompare = ["files"]\n'})
    run(project, "--runtimes=wasmtime", "--wasm-update-golden").assert_outcomes(passed=3)

    golden = (project.path / "cases/hello.golden").read_text()
    assert "[files]\n\"/data/hello.txt\" = '''\nfrom the file\n'''\n" in golden
    write(project.path, {"cases/given/hello.txt": "other\n"})
    run(project, "--runtimes=wasmtime").assert_outcomes(passed=2, failed=1)


def test_a_memory_limit_of_its_own(project: pytest.Pytester) -> None:
    """A case with a memory limit runs on a host of its own: the guest cannot grow beyond it."""
    grows = wat.GROWS.replace("(i32.const 7)", "(i32.lt_u (memory.size) (i32.const 64))")
    wat.write(project.path / "echo.wasm", grows)
    write(project.path, {"cases/hello.toml": "memory_mib = 1\n"})
    run(project, "--runtimes=wasmtime").assert_outcomes(passed=2)
    run(project, "--runtimes=wasmtime,wasmtime-cli", "-k", "hello").assert_outcomes(passed=2)
    result = run(project, "--runtimes=wasmtime", "--wasm-update-golden")

    result.assert_outcomes(passed=2)
    few, many = ((project.path / f"cases/{name}.golden").read_text() for name in ("hello", "sub/bytes"))
    assert few != many


def test_a_guest_that_is_stopped(project: pytest.Pytester) -> None:
    """What it wrote until then is no expectation: runtimes agree on the time limit alone."""
    wat.write(project.path / "echo.wasm", wat.WRITES_AND_SPINS)
    write(project.path, {"cases/hello.toml": "timeout_s = 0.5\n"})
    run(project, "--runtimes=wasmtime,wasmtime-cli", "-k", "hello", "--wasm-update-golden").assert_outcomes(
        passed=2
    )

    golden = (project.path / "cases/hello.golden").read_text()
    assert golden == 'ending = "timed_out"\nstdout = ""\nstderr = ""\n'
    run(project, "--runtimes=wasmtime", "-k", "hello").assert_outcomes(passed=1)


def test_with_xdist(project: pytest.Pytester) -> None:
    """Workers compare, and the controller says who disagrees and writes the golden files."""
    result = run(project, "--runtimes=one,two,odd", "-n2")
    result.assert_outcomes(passed=5, failed=1)
    result.stdout.fnmatch_lines(["  hello: odd against one, two, which agree"])

    run(project, "--runtimes=one,two", "-n2", "--wasm-update-golden").assert_outcomes(passed=4)
    assert (project.path / "cases/hello.golden").exists()


def test_the_contract_knows_a_case(project: pytest.Pytester) -> None:
    """A known divergence is neither a disagreement nor in the way of a golden file."""
    write(
        project.path,
        {
            "portability.toml": '[[known]]\ncase = "hello"\nruntimes = ["odd"]\nfield = "stdout"\n'
            'differs = { "HELLO" = "hello" }\nreason = "it shouts"\nissue = "https://example.org/1"\n'
        },
    )
    result = run(project, "--runtimes=one,two,odd")
    result.assert_outcomes(passed=5, xfailed=1)
    assert "agreement" not in closing(result)

    run(project, "--runtimes=one,two,odd", "--wasm-update-golden")
    assert (project.path / "cases/hello.golden").exists()


# -- corpora of others


def test_in_and_out_files(project: pytest.Pytester) -> None:
    """NAME.in is read, and stdout is held against NAME.out; nothing is written there."""
    write(
        project.path,
        {"theirs/a.in": "a\n", "theirs/a.out": "a\n", "theirs/d/b.in": "b\n", "theirs/d/b.out": "c\n"},
    )
    result = run(project, "--runtimes=one", "--wasm-corpus=in-out:theirs", "--wasm-update-golden", "-v")

    result.assert_outcomes(passed=3, failed=1)
    result.stdout.fnmatch_lines(["*?one-in-out/a? PASSED*", "*?one-in-out/d/b? FAILED*"])
    assert not list(project.path.glob("theirs/**/*.golden"))


BOOTSTRAPTEST = """
assert_equal '15', %q{ (1..5).sum }, 'adds'
%w[a b].each { |name| assert_match(/#{name}/, "'#{name}'") }
assert_normal_exit %q{
  puts "é"
}, '[ruby-dev:1]'
assert_equal 'true', '"x".frozen?', frozen_string_literal: true
assert_equal 'never', 'p 2'
raise "the rest cannot be read"
"""
PRISM = """\
def f
    ^ unexpected end-of-input
  1 +
     ^ expected an expression

"""


def test_corpora_for_ruby(project: pytest.Pytester) -> None:
    """The tests of CRuby's bootstraptest and Prism's fixtures, read by the built-in Ruby, run on the artifact."""
    write(
        project.path, {"boot/test_it.rb": BOOTSTRAPTEST, "boot/runner.rb": "no test", "prism/a/b.txt": PRISM}
    )
    result = run(
        project,
        "--runtimes=wasmtime,wasmtime-cli",
        "--wasm-artifact=ruby-worker",
        "--wasm-corpus=bootstraptest:boot",
        "--wasm-corpus=prism-errors:prism",
        "-v",
    )

    result.assert_outcomes(passed=18)
    result.stdout.fnmatch_lines(
        [
            "*?wasmtime-bootstraptest/it/001? PASSED*",
            "*?wasmtime-bootstraptest/it/006? PASSED*",
            "*?wasmtime-prism-errors/a/b? PASSED*",
            "*boot/test_it.rb: read up to its case 6, where it ended: RuntimeError: the rest cannot be read",
            "1 case with another stdout than declared, on a runtime: *",
        ]
    )


def test_what_bootstraptest_asks_its_runner(project: pytest.Pytester) -> None:
    """Files that ask the runner for its Ruby, its compilers or its platform are read to their end."""
    source = """
assert_equal '1', '1' unless rjit_enabled? || yjit_enabled? || zjit_enabled?
assert_equal '2', '2' unless BT.ruby.include?('yjit')
assert_equal '3', '3' if /wasi/ =~ target_platform
"""
    write(project.path, {"boot/test_it.rb": source})
    result = run(
        project,
        "--runtimes=wasmtime",
        "--wasm-artifact=ruby-worker",
        "--wasm-corpus=bootstraptest:boot",
        "-v",
    )

    result.stdout.fnmatch_lines(["*?wasmtime-bootstraptest/it/003? PASSED*"])
    result.stdout.no_fnmatch_line("*read up to*")


def test_traps_beside_a_corpus_that_is_read(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine in pytest's own process reads the corpus; with pytest's faulthandler it still catches its traps."""
    monkeypatch.delenv("PYTEST_ADDOPTS")
    source = "def f(n) = n == 0 ? 0 : [n].each { |x| return f(x - 1) }; f(9_999)"
    write(project.path, {"boot/test_it.rb": f"assert_equal '0', %q({source})"})
    result = project.runpytest_subprocess(
        "--runtimes=wasmtime,wasmtime-cli", "--wasm-artifact=ruby-worker", "--wasm-corpus=bootstraptest:boot"
    )

    result.assert_outcomes(passed=6)


def test_a_corpus_that_is_something_else(project: pytest.Pytester) -> None:
    """A file that is no such test, a folder without any, a kind that is none: one sentence each."""
    write(project.path, {"boot/test_it.rb": "raise 'no test'", "empty/x": ""})
    for spec, message in {
        "bootstraptest:boot": "boot/test_it.rb: read up to its case 0, where it ended: RuntimeError: no test. *",
        "prism-errors:empty": "--wasm-corpus=prism-errors:*empty holds none of its cases: *.txt*",
        "in-out:gone": "--wasm-corpus=in-out:*gone is not a folder. Correct the path.",
        "in-ot:empty": "--wasm-corpus=in-ot:empty: give kind and folder*Did you mean in-out? Kinds: wasi-testsuite*",
        "in-out": "--wasm-corpus=in-out: give kind and folder*",
    }.items():
        result = run(project, "--runtimes=wasmtime", f"--wasm-corpus={spec}")
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines([f"ERROR: *{message}"])


def test_the_facts_of_a_run_are_plain(project: pytest.Pytester) -> None:
    """What travels between processes is numbers, strings and lists of them."""
    project.makeconftest(
        CONFTEST + "\nimport json\ndef pytest_runtest_logreport(report):\n"
        "    json.dumps(getattr(report, 'wasm_facts', {}))\n"
    )
    assert "INTERNALERROR" not in run(project, "--runtimes=one,odd", "--wasm-update-golden").stdout.str()
