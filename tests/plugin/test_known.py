"""A known divergence excuses what it says that differs, and nothing beside it."""

from __future__ import annotations

import re

import pytest

from tests import wat

CONFTEST = r"""
from pytest_wasmedge import *
from pytest_wasmedge.testing import FakeRuntime

RED, OFF, POINTER = b"\x1b[1;31m", b"\x1b[m", b" at 0x7f3a9c001234"
WORDS = b"a bad word\n"

ANSWERS = {
    "coloured": Outcome(b"", RED + WORDS + OFF, exited(1)),
    "pointing": Outcome(b"", RED + WORDS + OFF + POINTER, exited(1)),
    "renaming": Outcome(b"", RED + b"a good word\n" + OFF, exited(1)),
    "moving": Outcome(b"", b"\x1b[2J" + WORDS, exited(1)),
    "carrying": Outcome(b"", WORDS.replace(b"\n", b"\r\n"), exited(1)),
    "better": Outcome(b"", b"a better word\n", exited(1)),
    "better-pointing": Outcome(b"", b"a better word\n" + POINTER, exited(1)),
    "seven": Outcome(b"seven\n", WORDS, exited(7)),
    "eight": Outcome(b"eight\n", WORDS, exited(7)),
    "trapping": Outcome(b"", WORDS, trapped("unreachable executed")),
    "failing": Outcome(b"", b"", host_failed("it refuses status 200")),
    "same": Outcome(b"", WORDS, exited(1)),
}

def pytest_wasmedge_runtimes(config, runtimes):
    return [FakeRuntime("wasmtime")] + [
        FakeRuntime(name, lambda invocation, answer=answer: answer) for name, answer in ANSWERS.items()
    ]
"""
ASKED = 'host.invoke(Invocation(b"x")), Outcome(b"", b"a bad word\\n", exited(1))'
TESTS = {
    "asked": f'assert_same({ASKED}, invocation=Invocation(b"x"))',
    "not asked": f"assert_same({ASKED})",
    "plain": 'assert host.run(b"x").stderr == b"a bad word\\n"',
    "leaks": "from pytest_wasmedge.portability.leaks import assert_no_leaks; assert_no_leaks(host.run(b'x'), b'x')",
}
COLOURS = 'field = "stderr"\ndiffers = "ANSI colours"'
TEXTS = 'field = "stderr"\ndiffers = { "better" = "bad" }'
GOLDEN = 'field = ["ending", "stdout"]\noutcome = { ending = "exited(7)", stdout = "seven\\n" }'
WHOLE = 'field = "stderr"'


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    """A project with fakes that each answer in their own way."""
    wat.write(pytester.path / "echo.wasm", wat.ECHO)
    pytester.makeconftest(CONFTEST)
    return pytester


def write(project: pytest.Pytester, *rows: tuple[str, str, str]) -> str:
    """Write a test for each row, and what the contract knows of it; return the names of the runtimes."""
    tests = ["import pytest\nfrom pytest_wasmedge import *\n"]
    entries = []
    for number, (runtime, says, test) in enumerate(rows):
        tests.append(f'@pytest.mark.runtimes("{runtime}")\ndef test_{number}(host):\n    {TESTS[test]}\n')
        entries.append(
            f'[[known]]\ncase = "test_{number}"\nruntimes = ["{runtime}"]\nreason = "so it is"\n'
            f'issue = "https://example.org/1"\n{says}\n'
        )
    (project.path / "portability.toml").write_text("\n".join(entries))
    project.makepyfile(test_it="\n".join(tests))
    return ",".join({runtime for runtime, _, _ in rows})


def run(project: pytest.Pytester, runtimes: str, *options: str) -> pytest.RunResult:
    """Run the tests; in this process, unless with pytest-xdist."""
    command = project.runpytest_subprocess if "-n" in options else project.runpytest_inprocess
    return command("--wasm-artifact=echo.wasm", f"--runtimes={runtimes}", "-W", "error", "-ra", *options)


KNOWN = [
    ("coloured", COLOURS, "asked"),
    ("coloured", COLOURS, "not asked"),
    ("coloured", COLOURS, "leaks"),
    ("carrying", 'field = "stderr"\ndiffers = "line ends"', "asked"),
    ("better", TEXTS, "asked"),
    ("better", 'field = "stderr"\n[known.differs]\nbetter = "bad"', "asked"),
    ("seven", GOLDEN, "asked"),
    ("better-pointing", 'field = "stderr"\noutcome.stderr = "a better word\\n at 0x7f3a9c001234"', "asked"),
    ("trapping", 'field = "ending"\noutcome = { ending = "trapped" }', "asked"),
    ("trapping", 'field = "ending"\noutcome = { ending = "trapped: unreachable" }', "asked"),
    ("failing", 'field = "ending"\noutcome = { ending = "host_failed: it refuses status" }', "asked"),
    ("better", WHOLE, "asked"),
    ("better", WHOLE, "plain"),
    ("better-pointing", 'field = ["stderr", "leak"]', "asked"),
]


def test_what_an_entry_says_is_known(project: pytest.Pytester) -> None:
    """A failure is known if nothing is left of it once that is taken out."""
    result = run(project, write(project, *KNOWN))

    assert result.ret == 0, result.stdout.str()
    result.assert_outcomes(xfailed=len(KNOWN))


RED = [
    ("pointing", COLOURS, "asked", "pointing: stderr leaks raw pointer: '0x7f3a9c001234'"),
    ("pointing", COLOURS, "not asked", "pointing: stderr leaks raw pointer: '0x7f3a9c001234'"),
    ("pointing", COLOURS, "leaks", "pointing: stderr leaks raw pointer: '0x7f3a9c001234'"),
    ("renaming", COLOURS, "asked", 'expected 11 bytes "a bad word\\n", got 12 bytes "a good word\\n"'),
    ("moving", COLOURS, "asked", "stderr leaks ANSI escape"),
    ("eight", COLOURS, "asked", "ending: expected exited(1), got exited(7)"),
    ("better", TEXTS.replace("better", "worse"), "asked", "differs at byte 3"),
    ("better-pointing", TEXTS, "asked", "better-pointing: stderr leaks raw pointer"),
    ("better-pointing", WHOLE, "asked", "better-pointing: stderr leaks raw pointer"),
    ("better-pointing", WHOLE, "not asked", "better-pointing: stderr leaks raw pointer"),
    (
        "eight", GOLDEN, "asked",
        'has another outcome: eight: stdout first differs at byte 0, line 1: expected 6 bytes "seven\\n", got 6 bytes '
        '"eight\\n"',
    ),
    (
        "trapping", 'field = "ending"\noutcome = { ending = "trapped: stack" }', "asked",
        'ending: expected the words "stack", got "unreachable executed"',
    ),
    (
        "failing", 'field = "ending"\noutcome = { ending = "host_failed: it crashed" }', "asked",
        'ending: expected the words "it crashed", got "it refuses status 200"',
    ),
    (
        "better", TEXTS, "plain",
        " says what differs, and this failure has no outcome to hold that against: compare with "
        "assert_same(outcome, expected, invocation=…)",
    ),
]  # fmt: skip


def test_what_it_does_not_say_is_red(project: pytest.Pytester) -> None:
    """Whatever else differs or leaks fails, and the failure says what it is."""
    result = run(project, write(project, *(row[:3] for row in RED)))
    _, *told = re.split(r"\n_+ test_(?=\d)", result.stdout.str().partition("= short test summary")[0])

    result.assert_outcomes(failed=len(RED))
    numbers = [int(text.partition("[")[0]) for text in told]
    assert [
        RED[number] for number, text in zip(numbers, told, strict=True) if RED[number][3] not in text
    ] == []
    assert sorted(numbers) == list(range(len(RED)))
    assert "no longer diverges" not in result.stdout.str()


def test_the_summary_names_what_is_left(project: pytest.Pytester) -> None:
    """The line in pytest's summary is about the leak that nothing explains, not about the known colours."""
    result = run(project, write(project, ("pointing", COLOURS, "asked")), "-n", "1")

    result.stdout.re_match_lines([r"FAILED .* - pointing: stderr leaks raw pointer, .*"])
    assert "beyond what the contract knows" in result.stdout.str()


def test_entries_that_no_longer_diverge(project: pytest.Pytester) -> None:
    """They are stale like any other, whatever they say that differs."""
    says = [COLOURS, TEXTS, GOLDEN, WHOLE]
    result = run(project, write(project, *(("same", each, "asked") for each in says)))

    assert result.ret == 1
    for number in range(len(says)):
        assert f"test_{number} no longer diverges on same 1.0: delete lines" in result.stdout.str()


def test_entries_that_excuse_a_whole_field_are_named(project: pytest.Pytester) -> None:
    """One closing line names those that this run has met, and no others."""
    rows = [("better", TEXTS, "asked"), ("better", WHOLE, "asked"), ("better", WHOLE, "plain")]
    result = run(project, write(project, *rows))

    assert (
        "portability.toml:9, portability.toml:16 excuse their whole fields, not saying what differs there"
        in result.stdout.str()
    )


DRAFTED = {
    "coloured": 'field = "stderr"\ndiffers = "ANSI colours"\n',
    "better": 'field = "stderr"\noutcome = {stderr = "a better word\\n"}\n',
    "seven": 'field = ["stdout", "ending"]\noutcome = {ending = "exited(7)", stdout = "seven\\n"}\n',
    "better-pointing": 'field = ["stderr", "leak"]\nreason',
    "failing": 'field = "ending"\nreason',
}


@pytest.mark.parametrize("options", [[], ["-n", "2"]], ids=["alone", "xdist"])
def test_a_draft_says_what_was_seen(project: pytest.Pytester, options: list[str]) -> None:
    """A draft carries what differs, if that is small; explained, it is known, and it is not written twice."""
    runtimes = write(project, *((name, WHOLE, "asked") for name in DRAFTED))
    path = project.path / "portability.toml"
    path.unlink()
    first = run(project, runtimes, "--wasm-update-contract", *options)
    text = path.read_text()
    run(project, runtimes, "--wasm-update-contract", *options)

    assert first.ret == 1
    assert [each for each in DRAFTED.values() if each not in text] == []
    assert path.read_text() == text
    explained = "".join(line for line in text.splitlines(keepends=True) if not line.startswith("draft"))
    explained = explained.replace('reason = ""', 'reason = "so"')
    path.write_text(explained.replace('issue = ""', 'issue = "https://example.org/1"'))
    run(project, runtimes).assert_outcomes(xfailed=len(DRAFTED))
