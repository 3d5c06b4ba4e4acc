"""An error reads the same everywhere, on stderr alone, and shows nothing of the host."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from conformance.asking import Asking, holding
from pytest_wasmedge.model import Host, Outcome, exited
from pytest_wasmedge.portability.corpus import Case

FAILED = exited(1)


@pytest.mark.wasm_cases("errors", given=False)
def test_case(wasm_case: Case, ruby: Host, check_case: Callable[[Case], Outcome]) -> None:
    """A failing program of the corpus fails as its reference says."""
    check_case(wasm_case)


def test_uncaught_exception_exits_one(run: Asking) -> None:
    """An uncaught exception ends with status 1 and reports on stderr alone."""
    run("raise 'boom'\n", b"", holding(b"boom (RuntimeError)", b"\n"), FAILED)


def test_output_before_an_error_is_kept(run: Asking) -> None:
    """What a program printed before it failed is on stdout, whole."""
    run(
        "puts 'before'\nraise ArgumentError, 'after'\n",
        b"before\n",
        holding(b"after (ArgumentError)"),
        FAILED,
        meaning="the host drops stdout when the guest fails",
    )


def test_large_output_before_an_error_is_kept(run: Asking) -> None:
    """So are 300,000 bytes of it, and a warning of 100,000."""
    run(
        "$stdout.write('0123456789' * 30_000)\n$stderr.write('w' * 100_000)\nexit 3\n",
        b"0123456789" * 30_000,
        b"w" * 100_000,
        exited(3),
        meaning="the host drops what is still in its buffers when the guest fails",
    )


def test_an_error_says_nothing_of_earlier_ones(run: Asking) -> None:
    """An error text is that of its own program, also after others."""
    first, second = "raise 'first'\n", "def f = raise(KeyError, 'second')\nf\n"
    alone = run(first, b"", holding(b"first (RuntimeError)"), FAILED).stderr
    run(second, b"", holding(b"second (KeyError)"), FAILED)
    run(first, b"", alone, FAILED, meaning="text of an earlier invocation is left in this one")


def test_backtrace_names_the_program_only(run: Asking) -> None:
    """A backtrace holds lines of the program, and no file but the program's."""
    source = b"def inner = raise(KeyError, 'deep')\ndef outer = inner\nouter\n"
    outcome = run(source, b"", holding(b"deep (KeyError)"), FAILED)
    places = [line.split(b":in ")[0].strip().removeprefix(b"from ") for line in outcome.stderr.splitlines()]
    files, lines = {place.split(b":")[0] for place in places}, [place.split(b":")[1:2] for place in places]

    if len(files) != 1 or lines != [[b"1"], [b"2"], [b"3"]]:
        run.fail("its backtrace does not consist of lines 1, 2 and 3 of the program", outcome, source)


def test_a_deep_backtrace_is_clean(run: Asking) -> None:
    """So does one of sixty frames, through blocks, a rescue that raises again, and eval."""
    source = (
        "def down(n) = n.zero? ? [0].each { |x| eval('raise IndexError, %q(bottom)') } : down(n - 1)\n"
        "begin\n  down(60)\nrescue IndexError\n  raise ArgumentError, 'top'\nend\n"
    )
    run(source, b"", holding(b"top (ArgumentError)", b"bottom (IndexError)"), FAILED)


def test_a_warning_is_clean(run: Asking) -> None:
    """A warning of the guest arrives alone, on stderr, and the program goes on."""
    run(
        "warn 'careful'\nputs 'on'\n",
        b"on\n",
        b"careful\n",
        meaning="the host adds words of its own to stderr",
    )


def test_a_warning_of_the_language_is_clean(run: Asking) -> None:
    """So does one that Ruby itself writes, which names the program."""
    run("X = 1\nX = 2\nputs X\n", b"2\n", holding(b"main.rb:2: warning: already initialized constant X"))


def test_stack_overflow_is_an_exception(run: Asking) -> None:
    """Endless recursion in Ruby is a SystemStackError that a program can rescue, not a dead host."""
    run(
        "def down(n) = down(n + 1)\nbegin\n  down(0)\nrescue SystemStackError => e\n  puts e.class\nend\n",
        b"SystemStackError\n",
        meaning="the guest's stack is smaller here than on other hosts",
    )
