"""How a program ends is its own decision, and everybody hears the same of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

import pytest

from conformance.asking import Asking, refused
from pytest_wasmedge.model import Host, Invocation, Outcome, exited, trapped
from pytest_wasmedge.portability.corpus import Case
from pytest_wasmedge.portability.excerpt import visible

#: Those that shells and engines use for something of their own are among them: 126 to 128 plus a signal, 255.
STATUSES = (0, 1, 2, 3, 42, 64, 70, 125, 126, 127, 128, 129, 130, 134, 137, 143, 200, 254, 255)
LARGE = b"0123456789abcdef" * 20_000


@pytest.mark.wasm_cases("exit_status", given=False)
def test_case(wasm_case: Case, ruby: Host, check_case: Callable[[Case], Outcome]) -> None:
    """A program of the corpus ends as its reference says."""
    check_case(wasm_case)


def test_empty_input_ends_by_itself(wasm_host: Host) -> None:
    """Whatever the guest is: given nothing, it starts, and ends without a trap."""
    outcome = wasm_host.run(b"")

    if outcome.ending.kind != "exited":
        pytest.fail(
            f"{wasm_host.runtime.name}: {wasm_host.artifact.name} does not survive empty input: "
            f"it ended as {outcome.ending} "
            f"({visible(outcome.ending.detail.encode()) or 'no detail'}); stderr: {outcome.stderr_text[:500]!r}. "
            "Run it by hand on this runtime; every other test depends on it.",
            pytrace=False,
        )


@pytest.mark.parametrize("status", STATUSES)
def test_status_of_any_guest(ask: Asking, status: int, known_of_host: Callable[[Host], NoReturn]) -> None:
    """A guest of any kind ends with its own exit status, after what it wrote."""
    request = b"quit %d\nbye" % status
    beyond = status > ask.host.runtime.highest_status
    if beyond and refused(ask.host, ask.host.invoke(Invocation(request)), exited(status)):
        known_of_host(ask.host)
    ask(request, b"bye", b"bye", exited(status))


@pytest.mark.parametrize("status", [0, 1, 2, 42, 125, 126, 200, 255])
def test_status_arrives(run: Asking, status: int, known_of_host: Callable[[Host], NoReturn]) -> None:
    """`exit N` ends with N, after what was printed."""
    source = f"puts 'done'\nexit {status}\n".encode()
    beyond = status > run.host.runtime.highest_status
    if beyond and refused(run.host, run.host.invoke(Invocation(source)), exited(status)):
        known_of_host(run.host)
    run(source, b"done\n", b"", exited(status))


def test_large_output_before_a_failure(ask: Asking) -> None:
    """320,000 bytes on both streams arrive whole before a status that is not 0."""
    ask(
        b"quit 7\n" + LARGE,
        LARGE,
        LARGE,
        exited(7),
        meaning="the host drops what is still in its buffers when the guest fails",
    )


def test_trap_is_told_as_a_trap(ask: Asking) -> None:
    """A guest that traps has trapped; what it wrote before is kept, and nothing is added."""
    ask("trap\nbye", b"bye", b"bye", trapped())


def test_exhausted_stack_is_told_as_a_trap(ask: Asking) -> None:
    """So has one that runs out of stack."""
    ask("blow\nbye", b"bye", b"bye", trapped(), timeout_s=3.0)


def test_status_is_that_of_this_invocation(ask: Asking) -> None:
    """A guest that ends well after one that failed, trapped or was stopped has ended well."""
    ask(b"quit 9\n", ending=exited(9))
    ask(b"echo\n", meaning="the exit status of an earlier invocation is left in this one")
    ask(b"trap\n", ending=trapped())
    ask(b"echo\n", meaning="the ending of an earlier invocation is left in this one")


def test_abort_reports_and_fails(run: Asking) -> None:
    """`abort` puts its message on stderr and ends with 1."""
    run("abort 'no more'\n", b"", b"no more\n", exited(1))


def test_at_exit_blocks_run(run: Asking) -> None:
    """Blocks given to `at_exit` run, last first, also after `exit`."""
    run(
        "at_exit { puts 'first' }\nat_exit { puts 'last' }\nputs 'body'\nexit 5\n",
        b"body\nlast\nfirst\n",
        b"",
        exited(5),
    )


def test_top_level_return_ends_well(run: Asking) -> None:
    """`return` at the top level ends the program with status 0."""
    run("puts 'one'\nreturn\nputs 'two'\n", b"one\n")


def test_exit_in_the_middle_of_a_block(run: Asking) -> None:
    """`exit` unwinds blocks and runs what `ensure` has to do, whatever was printed."""
    run(
        "begin\n  3.times { |i| puts i; exit 4 if i == 1 }\nensure\n  warn 'ensured'\nend\n",
        b"0\n1\n",
        b"ensured\n",
        exited(4),
    )
