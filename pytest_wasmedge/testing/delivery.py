"""Faults in what reaches the guest: arguments, environment, stdin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from itertools import pairwise

from pytest_wasmedge.model import Host, Invocation, Outcome
from pytest_wasmedge.testing.fault import Fault, Invoke, Plant
from pytest_wasmedge.testing.planting import args, asked, each_arg, each_value, env, stdin

#: The variable that the fault ``leaks_environment`` shows to guests.
LEAKED_NAME = "HOST_SECRET_TOKEN"

_ARGUMENTS = ("argument", "argv")
_VARIABLES = ("variable", "environment", "env")
_STDIN = ("stdin", "input")


def latin1(text: str) -> str:
    """Return UTF-8 taken for Latin-1."""
    return text.encode().decode("latin-1")


def ascii_only(text: str) -> str:
    """Return the text with a question mark in the place of each character that is not ASCII."""
    return text.encode("ascii", "replace").decode()


def _arguments(name: str, sentence: str, plant: Plant) -> Fault:
    return Fault(name, "delivery", sentence, plant, _ARGUMENTS)


def _variables(name: str, sentence: str, plant: Plant) -> Fault:
    return Fault(name, "delivery", sentence, plant, _VARIABLES)


def _stdin(name: str, sentence: str, plant: Plant) -> Fault:
    return Fault(name, "delivery", sentence, plant, _STDIN)


def _without_one_in(size: int, data: bytes) -> bytes:
    """Drop the last byte of each whole chunk that more follows."""
    chunks = [data[at : at + size] for at in range(0, len(data), size)]
    return b"".join([*(chunk[:-1] for chunk, _ in pairwise(chunks)), *chunks[-1:]])


def _with_previous_stdin(host: Host) -> Invoke:
    previous = b""

    def invoke(invocation: Invocation) -> Outcome:
        nonlocal previous
        stdin, previous = previous + invocation.stdin, invocation.stdin
        return host.invoke(replace(invocation, stdin=stdin))

    return invoke


def _with_final_newline(data: bytes) -> bytes:
    return data if not data or data.endswith(b"\n") else data + b"\n"


def _two_variables_swapped(variables: Mapping[str, str]) -> Mapping[str, str]:
    return dict(zip(variables, [*variables.values()][::-1], strict=True))


FAULTS = (
    _arguments("drops_arguments", "passes no arguments on", args(lambda values: ())),
    _arguments("reverses_arguments", "passes the arguments in reverse", args(lambda values: values[::-1])),
    _arguments("sorts_arguments", "sorts the arguments", args(sorted)),
    _arguments(
        "drops_repeated_arguments", "passes equal arguments once", args(lambda v: [*dict.fromkeys(v)])
    ),
    _arguments("trims_arguments", "trims blanks around arguments", each_arg(str.strip)),
    _arguments("drops_empty_arguments", "drops empty arguments", args(lambda v: [*filter(None, v)])),
    _arguments(
        "splits_arguments",
        "splits arguments at blanks",
        args(lambda values: [part for value in values for part in (value.split(" ") if value else [""])]),
    ),
    _arguments("joins_arguments", "passes all arguments as one", args(lambda v: [" ".join(v)] if v else ())),
    _arguments(
        "arguments_as_latin1",
        "takes the UTF-8 of arguments for Latin-1 and encodes it again",
        each_arg(latin1),
    ),
    _arguments(
        "arguments_as_ascii",
        "replaces what is not ASCII in arguments by question marks",
        each_arg(ascii_only),
    ),
    _arguments("adds_an_argument", "adds an argument of its own", args(lambda v: [*v, "--"])),
    _arguments(
        "repeats_last_argument",
        "passes the last argument twice",
        args(lambda values: [*values, *values[-1:]]),
    ),
    _arguments("passes_four_arguments", "passes no more than four arguments", args(lambda v: v[:4])),
    _arguments("passes_64_arguments", "passes no more than 64 arguments", args(lambda values: values[:64])),
    _arguments("cuts_arguments", "cuts arguments after 255 characters", each_arg(lambda value: value[:255])),
    _arguments(
        "drops_argument_newlines", "drops line breaks in arguments", each_arg(lambda v: v.replace("\n", ""))
    ),
    _arguments(
        "unquotes_arguments", "removes quotation marks from arguments", each_arg(lambda v: v.replace('"', ""))
    ),
    _arguments(
        "unescapes_arguments", "removes backslashes from arguments", each_arg(lambda v: v.replace("\\", ""))
    ),
    _arguments(
        "swallows_dashed_arguments",
        "takes arguments that begin with a dash for its own",
        args(lambda values: [value for value in values if not value.startswith("-")]),
    ),
    _variables("drops_environment", "passes no variables on", env(lambda variables: {})),
    _variables(
        "drops_empty_variables",
        "drops every variable whose value is empty",
        env(lambda variables: {name: value for name, value in variables.items() if value}),
    ),
    _variables(
        "cuts_values_at_equals",
        "cuts the value of a variable at an equals sign",
        each_value(lambda value: value.partition("=")[0]),
    ),
    _variables(
        "upper_cases_names",
        "turns the names of variables into upper case",
        env(lambda variables: {name.upper(): value for name, value in variables.items()}),
    ),
    _variables(
        "cuts_values_at_newline",
        "cuts the value of a variable at its first line break",
        each_value(lambda value: value.partition("\n")[0]),
    ),
    _variables("trims_values", "trims blanks around the values of variables", each_value(str.strip)),
    _variables(
        "cuts_values", "cuts values of variables after 1,023 characters", each_value(lambda v: v[:1023])
    ),
    _variables("sorts_environment", "sorts the variables by name", env(lambda v: dict(sorted(v.items())))),
    _variables(
        "reverses_environment", "passes the variables in reverse", env(lambda v: dict([*v.items()][::-1]))
    ),
    _variables(
        "swaps_values",
        "gives variables the values of others, the last one to the first",
        env(_two_variables_swapped),
    ),
    _variables(
        "values_as_latin1", "takes the UTF-8 of values for Latin-1 and encodes it again", each_value(latin1)
    ),
    _variables(
        "values_as_ascii", "replaces what is not ASCII in values by question marks", each_value(ascii_only)
    ),
    _variables(
        "expands_values",
        "expands $NAME in the values of variables",
        env(lambda variables: {name: _expanded(value, variables) for name, value in variables.items()}),
    ),
    _variables("adds_path", "adds a PATH", env(lambda v: {**v, "PATH": "/usr/bin:/bin"})),
    _variables("adds_home", "adds a HOME", env(lambda variables: {**variables, "HOME": "/home/worker"})),
    _variables(
        "leaks_environment",
        "shows a secret of its own environment",
        env(lambda v: {**v, LEAKED_NAME: "hunter2"}),
    ),
    _variables(
        "inherits_when_empty",
        "passes its own environment on where the guest is given none",
        env(lambda variables: variables or {"LANG": "C.UTF-8", "PATH": "/usr/bin:/bin"}),
    ),
    _variables(
        "keeps_old_variables", "keeps variables of earlier invocations", lambda host: _keeping_variables(host)
    ),
    _stdin(
        "adds_newline_to_stdin", "ends stdin with a line break that was not there", stdin(_with_final_newline)
    ),
    _stdin(
        "drops_newline_of_stdin",
        "drops the line break at the end of stdin",
        stdin(lambda data: data.removesuffix(b"\n")),
    ),
    _stdin(
        "stdin_crlf_to_lf", "turns CRLF on stdin into LF", stdin(lambda data: data.replace(b"\r\n", b"\n"))
    ),
    _stdin(
        "stdin_lf_to_crlf", "turns LF on stdin into CRLF", stdin(lambda data: data.replace(b"\n", b"\r\n"))
    ),
    _stdin(
        "stdin_ends_at_nul", "takes a NUL for the end of stdin", stdin(lambda data: data.partition(b"\0")[0])
    ),
    _stdin(
        "stdin_ends_at_control_z",
        "takes a Control-Z for the end of stdin",
        stdin(lambda d: d.partition(b"\x1a")[0]),
    ),
    _stdin(
        "drops_stdin_bom",
        "drops a byte order mark at the start of stdin",
        stdin(lambda data: data.removeprefix(b"\xef\xbb\xbf")),
    ),
    _stdin(
        "stdin_as_text",
        "decodes stdin as UTF-8 and replaces what is none",
        stdin(lambda data: data.decode("utf-8", "replace").encode()),
    ),
    _stdin(
        "stdin_in_seven_bits",
        "clears the high bit of stdin",
        stdin(lambda d: bytes(byte & 0x7F for byte in d)),
    ),
    _stdin("cuts_stdin_at_64k", "cuts stdin after 64 KiB", stdin(lambda data: data[: 64 << 10])),
    _stdin("cuts_stdin_at_1m", "cuts stdin after 1 MiB", stdin(lambda data: data[: 1 << 20])),
    _stdin(
        "stdin_loses_at_4096", "loses a byte of stdin at each 4,096", stdin(partial(_without_one_in, 4096))
    ),
    _stdin(
        "stdin_loses_at_65536", "loses a byte of stdin at each 65,536", stdin(partial(_without_one_in, 65536))
    ),
    _stdin(
        "stdin_loses_whole_chunk",
        "loses the last byte of stdin if its length is a multiple of 4,096",
        stdin(lambda data: data[:-1] if data and len(data) % 4096 == 0 else data),
    ),
    _stdin("repeats_stdin", "puts the stdin of the previous invocation before", _with_previous_stdin),
    _stdin(
        "drops_stdin_beside_arguments",
        "gives no stdin where there are arguments",
        asked(lambda each: replace(each, stdin=b"") if each.args else each),
    ),
)


def _expanded(value: str, variables: Mapping[str, str]) -> str:
    for name, other in variables.items():
        value = value.replace(f"${name}", other)
    return value


def _keeping_variables(host: Host) -> Invoke:
    kept: dict[str, str] = {}

    def invoke(invocation: Invocation) -> Outcome:
        kept.update(invocation.env)
        return host.invoke(replace(invocation, env=dict(kept)))

    return invoke
