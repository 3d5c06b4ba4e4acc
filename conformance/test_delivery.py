"""Arguments, variables and stdin reach the guest byte for byte, in their order, and nothing else does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from conformance.asking import Asking
from pytest_wasmedge.model import Invocation, Outcome, exited
from pytest_wasmedge.portability.compare import assert_same

#: What programs do wrong with text: blanks, quotes, line ends, other alphabets, what shells and formats mean.
TEXTS = (
    "plain", "", " ", "  two  blanks  ", "a\tb", "line\nbreak", "\n", "carriage\r\nreturn", "'single'", '"double"',
    "back\\slash", "\\n", "naïve ☃ 日本 🎉", "e\u0301 is not \u00e9", "\u202eright to left", "\ufeffmark", "a=b", "=",
    "==c=", "--help", "-v", "--", "*", "?", "$HOME", "${X}", "%s%n", "%20+&;#", "`ls`", "$(ls)", "~", "!x", "{1..3}",
    "[a-z]", "\x01\x1b[31m\x7f", "null", "true", "0", "007", "1e3", "NaN", "undefined", "../..", "/etc/passwd",
    "C:\\Temp", "x" * 4000,
)  # fmt: skip
ARGUMENTS = {
    "none": (),
    "one": ("one",),
    "every_text": TEXTS,
    "empty_alone": ("",),
    "empty_at_both_ends": ("", "middle", ""),
    "the_same_again": ("a", "a", "b", "a"),
    "not_sorted": ("b", "B", "10", "9", "a", "-"),
    "many": tuple(f"argument {number}" for number in range(500)),
    "flags": ("-e", "1", "--version", "--", "-"),
}
VARIABLES = {
    "none": {},
    "one": {"NAME": "value"},
    "every_text": {f"TEXT_{number}": text for number, text in enumerate(TEXTS)},
    "empty_value": {"EMPTY": "", "OTHER": "x"},
    "of_each_other": {"A": "x", "B": "$A", "C": "${A}", "D": "%A%", "E": "$(A)", "F": "~"},
    "equals_signs": {"A": "=", "B": "=b", "C": "c=", "D": "k=v=w"},
    "names": {"lower": "1", "LOWER": "2", "Mixed_Case": "3", "with.dot": "4", "with-dash": "5", "ünïcode": "6"},
    "of_a_host": {"PATH": "/guest/bin", "HOME": "/guest", "LANG": "xx", "TZ": "Mars/Base", "NODE_OPTIONS": "x"},
    "many": {f"VARIABLE_{number}": str(number) for number in range(500)},
}  # fmt: skip
LONG_ARGUMENTS = ("x" * 100_000, "y" * 100_000)
LONG_VARIABLES = {"LONG": "x" * 100_000, "N" * 1000: "y"}
NOT_SORTED = {"ZULU": "1", "ALPHA": "2", "10": "3", "MIKE": "4", "zulu": "5", "2": "6", "BRAVO": "7"}
#: What is lost where bytes are taken for text or lines; each comes back from the guest on both streams.
PAYLOADS = {
    "all_bytes": bytes(range(256)) * 3,
    "nul": b"a\0b\0\0c\0",
    "crlf": b"one\r\ntwo\r\n",
    "lone_cr": b"one\rtwo\r",
    "mixed_line_ends": b"a\nb\r\nc\rd\n\r\n\n",
    "byte_order_mark": b"\xef\xbb\xbftext\xef\xbb\xbf\n",
    "utf16": "\ufefftext ☃".encode("utf-16"),
    "invalid_utf8": b"a\xff\xc3b\xe2\x98\xed\xa0\x80\xf5\xc0\x80",
    "utf8": "naïve ☃ 日本 🎉 e\u0301\n".encode(),
    # Of three and four bytes, so that some lie across the end of any buffer.
    "characters_in_every_buffer": ("a" + "☃é🎉" * 25_000).encode(),
    "no_final_newline": b"half a line",
    "final_newlines": b"text\n\n\n",
    "first_newlines": b"\n\n\ntext",
    "newlines_alone": b"\n" * 10,
    "blank_ends": b"  text \t\n \n text  \t",
    "tabs": b"a\tb\t\tc\n\t\n",
    "end_of_file_marks": b"a\x04b\x1ac\x00",
    "escape_sequences": b"\x1b[31mred\x1b[0m\x07\x08\x0c\n",
    "one_byte": b"x",
    "nothing": b"",
    "a_long_line": b"0123456789" * 20_000,
    "repeated_lines": b"same\n" * 1000,
    "what_looks_like_a_frame": b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n\x00\x00\x00\x05hello--boundary\r\n",
    "what_looks_like_json": b'{"stdout":"x","exitCode":1}\n]]>\n',
}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_arguments(ask: Asking, name: str) -> None:
    """A guest of any kind gets its arguments as they were given."""
    _check_arguments(ask, ARGUMENTS[name])


def test_long_arguments(ask: Asking) -> None:
    """So it gets arguments of 100,000 characters."""
    _check_arguments(ask, LONG_ARGUMENTS)


def _check_arguments(ask: Asking, args: Sequence[str]) -> None:
    __tracebackhide__ = True
    ask(
        b"args\n",
        _listed(["artifact.wasm", *args]),
        args=args,
        data=True,
        meaning="the host changes, drops, adds or sorts arguments",
    )


@pytest.mark.parametrize("name", VARIABLES)
def test_variables(ask: Asking, name: str) -> None:
    """A guest of any kind gets the variables that it was given, and no other; their order is another test."""
    _check_variables(ask, VARIABLES[name])


def test_long_variables(ask: Asking) -> None:
    """So it gets a variable of 100,000 characters, and one whose name is long."""
    _check_variables(ask, LONG_VARIABLES)


def _check_variables(ask: Asking, env: Mapping[str, str]) -> None:
    __tracebackhide__ = True
    invocation = Invocation(b"variables\n", env=env)
    expected = Outcome(_listed([f"{key}={value}" for key, value in env.items()]), b"", exited(0))
    assert_same(
        _sorted(ask.host.invoke(invocation)),
        _sorted(expected),
        invocation=invocation,
        leaks=False,
        meaning="the host changes, drops or adds variables of the environment",
    )


def test_variables_keep_their_order(ask: Asking) -> None:
    """A guest of any kind gets its variables in the order in which they were given."""
    ask(
        b"variables\n",
        _listed([f"{key}={value}" for key, value in NOT_SORTED.items()]),
        env=NOT_SORTED,
        meaning="the host keeps variables in a table of its own: sorted, or in no order",
    )


@pytest.mark.parametrize("name", PAYLOADS)
def test_stdin_and_both_streams(ask: Asking, name: str) -> None:
    """A guest of any kind reads these bytes on stdin as they are, and what it writes arrives so on both streams."""
    payload = PAYLOADS[name]
    ask(b"echo\n" + payload, payload, payload, data=True, meaning="the host takes bytes for text")


def test_stdin_that_begins_with_a_byte_order_mark(ask: Asking) -> None:
    """A byte order mark is no less a part of stdin at its very beginning."""
    request = b"\xef\xbb\xbfechoed whole\n"
    ask(request, request, request, meaning="the host drops the byte order mark of stdin")


def test_stdin_holds_nothing_of_an_earlier_one(ask: Asking) -> None:
    """A short stdin after a long one is short."""
    ask(b"echo\n" + b"long " * 30_000, b"long " * 30_000, b"long " * 30_000)
    ask(b"echo\nshort", b"short", b"short", meaning="the host keeps the stdin of the last invocation")


def test_arguments_reach_the_program(run: Asking) -> None:
    """A program of Ruby finds its arguments in ARGV, in their order."""
    source = "ARGV.each { |each| $stdout.write each.b, 0.chr }\np ARGV.size\n"
    args = TEXTS
    run(
        source,
        b"".join(each.encode() + b"\0" for each in args) + b"%d\n" % len(args),
        args=args,
        data=True,
        meaning="the host changes, drops, adds or sorts arguments",
    )


def test_variables_reach_the_program(run: Asking) -> None:
    """A program of Ruby finds its variables in ENV."""
    env = {f"TEXT_{number:02}": text for number, text in enumerate(TEXTS)} | {"lower": "1", "EMPTY": ""}
    source = "ENV.sort.each { |key, value| $stdout.write key.b, '=', value.b, 0.chr }\np ENV.size\n"
    run(
        source,
        b"".join(f"{key}={env[key]}\0".encode() for key in sorted(env)) + b"%d\n" % len(env),
        env=env,
        data=True,
        meaning="the host changes, drops or adds variables of the environment",
    )


@pytest.mark.parametrize("last", ["no_final_newline", "final_newlines", "nul"])
def test_data_reaches_the_program(run: Asking, last: str) -> None:
    """What stands behind `__END__` is read back from DATA, byte for byte; what comes last is lost most easily."""
    payload = b"".join([*PAYLOADS.values(), PAYLOADS[last]])
    run(
        b"$stdout.binmode\nDATA.binmode\n$stdout.write DATA.read\n__END__\n" + payload,
        payload,
        data=True,
        meaning="the host takes stdin for text",
    )


def _listed(texts: list[str]) -> bytes:
    return b"%d \n" % len(texts) + b"".join(text.encode() + b"\0" for text in texts)


def _sorted(outcome: Outcome) -> Outcome:
    """Return the outcome with its variables sorted, the number of them first."""
    count, newline, listed = outcome.stdout.partition(b"\n")
    return replace(outcome, stdout=count + newline + b"\0".join(sorted(listed.split(b"\0"))))
