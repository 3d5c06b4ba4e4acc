"""Reading a contract: what it says, and the one message with the line for everything that cannot be meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_wasmedge.contract.entries import Ceiling, Contract
from pytest_wasmedge.contract.limits import ArtifactLimit, ImportRule, parse_size
from pytest_wasmedge.contract.read import load_contract
from pytest_wasmedge.errors import ContractError
from pytest_wasmedge.latency.units import FloorMultiple, ms

EXAMPLE = """# what we promise
[ceilings.wasmtime]
"cold/code-cache" = "25ms"
"warm/tiny" = "10ms"  # half of it is the network

[ceilings."*"]
"warm/tiny" = "1.5s"

[ceilings.node]
"cold/no-cache" = "3.5x floor"

[artifact]
bytes = "20 MB"
gzip_bytes = "5 MB"
functions = 30000
memory_pages = 8192
imports = ["wasi_snapshot_preview1.*"]

[[known]]
case = "errors/deep_*"
runtimes = [
  "deno >=2.8,<3",
  "node",
]
field = "stderr"
reason = "the stack is smaller"
issue = "https://example.org/1"

[[known]]
draft = true
case = "numbers/nan"
runtimes = ["bun"]
field = ["stdout", "leak"]
"""


def read(folder: Path, text: str) -> Contract:
    """Return the contract of this text."""
    path = folder / "portability.toml"
    path.write_text(text)
    return load_contract(path)


def known(**changes: str) -> str:
    """Return a [[known]] entry of six lines; changed values are TOML, and an empty one leaves its key out."""
    values = {
        "case": '"a"',
        "runtimes": '["node"]',
        "field": '"stderr"',
        "reason": '"why"',
        "issue": '"https://example.org/1"',
    } | changes
    return "[[known]]\n" + "".join(f"{key} = {value}\n" for key, value in values.items() if value)


def test_a_contract_is_read(tmp_path: Path) -> None:
    """Ceilings, limits and known divergences are as written, each with its lines."""
    contract = read(tmp_path, EXAMPLE)
    path = tmp_path / "portability.toml"

    assert contract.ceilings == (
        Ceiling("wasmtime", "cold/code-cache", ms(25), 3),
        Ceiling("wasmtime", "warm/tiny", ms(10), 4),
        Ceiling("*", "warm/tiny", ms(1500), 7),
        Ceiling("node", "cold/no-cache", FloorMultiple(3.5), 10),
    )
    assert contract.limits.bytes == ArtifactLimit(20_000_000, f"{path}:13")
    assert contract.limits.functions == ArtifactLimit(30000, f"{path}:15")
    assert contract.limits.imports == ImportRule(("wasi_snapshot_preview1.*",), f"{path}:17")
    (entry,) = contract.known
    assert (entry.case, [str(each) for each in entry.runtimes]) == (
        "errors/deep_*",
        ["deno <3,>=2.8", "node"],
    )
    assert (entry.fields, entry.reason, entry.issue) == (
        ("stderr",),
        "the stack is smaller",
        "https://example.org/1",
    )
    assert (entry.first_line, entry.last_line) == (19, 27)


def test_a_draft_is_read_and_excuses_nothing(tmp_path: Path) -> None:
    """A draft may lack reason and issue; it is kept apart from what is known, so it excuses nothing."""
    contract = read(tmp_path, EXAMPLE)

    (draft,) = contract.drafts
    assert (draft.case, draft.fields, draft.first_line, draft.last_line) == (
        "numbers/nan",
        ("stdout", "leak"),
        29,
        33,
    )
    assert contract.known_for("numbers/nan", "bun", "1.3.0") == []


def test_a_ceiling_of_two_limits(tmp_path: Path) -> None:
    """A kind can have a duration and a multiple of the floor, in any order, each with its line."""
    contract = read(tmp_path, '[ceilings.node]\n"cold/no-cache" = [\n  "3.5x floor",\n  "25ms",\n]\n')

    assert contract.ceilings_of("node", "cold/no-cache") == (
        Ceiling("node", "cold/no-cache", FloorMultiple(3.5), 3),
        Ceiling("node", "cold/no-cache", ms(25), 4),
    )


@pytest.mark.parametrize("text", ["", "# nothing\n", "\ufeff[artifact]\n"])
def test_an_empty_contract_promises_nothing(tmp_path: Path, text: str) -> None:
    """An empty file, and one that an editor began with a byte order mark, are contracts."""
    contract = read(tmp_path, text)

    assert contract == Contract(tmp_path / "portability.toml")


TWICE = known() + "\n" + known(field='["stdout", "stderr"]', runtimes='["bun",\n "node"]')

FAULTS = [
    # The file as a whole.
    ("a = 1\nb = [\n", 2, "this is not TOML: invalid value; correct it"),
    ('[artifact]\nbytes = "x\n', 2, "this is not TOML: illegal character"),
    ("[artifact]\nbytes = 1\nbytes = 2\n", 3, "this key is given twice; delete one of the two."),
    ("\n[artifact]\n[artifact]\n", 3, "this is not TOML: cannot declare ('artifact',) twice"),
    ("\n[artefact]\n", 2, 'a contract has no "artefact"; did you mean artifact?'),
    ("version = 2\n", 1, 'a contract has no "version"; write one of: ceilings, artifact, work, known.'),
    # Ceilings.
    ("ceilings = 25\n", 1, "ceilings is an integer; write a table [ceilings.RUNTIME]."),
    (
        '[ceilings]\nnode = "25ms"\n',
        2,
        '"node" is not a table of ceilings; write [ceilings."node"] and below it "warm/tiny" = "10ms".',
    ),
    (
        '[ceilings]\n"warm/html" = "25ms"\n',
        2,
        '"warm/html" is not a table of ceilings; write [ceilings."*"] and below it "warm/html" = "10ms".',
    ),
    ('[ceilings.""]\n', 1, 'the runtime\'s name is empty; name it, or write [ceilings."*"].'),
    (
        '[ceilings.node]\n"warm/tinny" = "25ms"\n',
        2,
        'there is no kind of ceiling "warm/tinny"; did you mean warm/tiny?',
    ),
    (
        '[ceilings.node]\n\n"x" = "25ms"\n',
        3,
        'there is no kind of ceiling "x"; write one of: cold/no-cache, ',
    ),
    (
        '[ceilings.node]\n"warm/tiny" = 25\n',
        2,
        'warm/tiny is an integer; write it with its unit: "25ms".',
    ),
    ('[ceilings.node]\n"warm/tiny" = true\n', 2, "warm/tiny is true or false; write it with its unit"),
    ('[ceilings.node]\n"warm/tiny" = 07:32:00\n', 2, "warm/tiny is a date or time; write it with"),
    ('[ceilings.node]\n"warm/tiny" = "25 msec"\n', 2, "'msec' is no unit: write a number with us, ms or s"),
    ('[ceilings.node]\n"warm/tiny" = ""\n', 2, "'' is no latency: write a number with us, ms or s"),
    (
        f'[ceilings.node]\n"warm/tiny" = "{"9" * 400}ms"\n',
        2,
        "ms' is no latency: write a number with us, ms or s",
    ),
    (
        '[ceilings.node]\n"warm/tiny" = "0ms"\n',
        2,
        'a ceiling of "0ms" always fails; write the longest time allowed.',
    ),
    (
        '[ceilings.node]\n"warm/tiny" = "3x floor"\n',
        2,
        '"warm/tiny" has no floor, so "3x floor" means nothing;',
    ),
    (
        '[ceilings.node]\n"cold/evicted" = "0.9x floor"\n',
        2,
        '"0.9x floor" is less than the host alone takes; write a multiple of 1 or more.',
    ),
    (
        '[ceilings.node]\n"cold/code-cache" = "31ms"\n"cold/no-cache" = "30ms"\n',
        2,
        "cold/code-cache may take 31ms, longer than cold/no-cache with 30ms (line 3); lower this one or raise",
    ),
    (
        '[ceilings.node]\n"cold/no-cache" = [\n"25ms",\n"30ms"]\n',
        4,
        '"30ms" is a second duration for cold/no-cache; delete one of the two.',
    ),
    (
        '[ceilings.node]\n"cold/no-cache" = ["2x floor", "25ms", "3x floor"]\n',
        2,
        '"3x floor" is a second multiple of the floor for cold/no-cache; delete one of the two.',
    ),
    (
        '[ceilings.node]\n"warm/tiny" = []\n',
        2,
        "warm/tiny has no limit; write a duration, a multiple, or both",
    ),
    ('[ceilings.node]\n"warm/tiny" = [\n3]\n', 3, "warm/tiny is an integer; write it with its unit"),
    ('[ceilings.node]\n"warm/tiny" = ["2x floor"]\n', 2, '"warm/tiny" has no floor, so "2x floor" means'),
    (
        '[ceilings.node]\n"cold/code-cache" = ["2x floor", "31ms"]\n"cold/no-cache" = ["30ms", "9x floor"]\n',
        2,
        "cold/code-cache may take 31ms, longer than cold/no-cache with 30ms (line 3); lower this one or raise",
    ),
    # The artifact.
    ("artifact = []\n", 1, "artifact is an array; write a table [artifact]."),
    ("[artifact]\n\ngzip_byte = 1\n", 3, '[artifact] has no "gzip_byte"; did you mean gzip_bytes?'),
    ("[artifact]\nbytes = true\n", 2, "True is no size; write bytes as an integer, or a string"),
    ("[artifact]\nbytes = 1.5\n", 2, "1.5 is no size; write bytes as an integer, or a string"),
    ('[artifact]\nbytes = ""\n', 2, "'' is no size; write bytes as an integer, or a string"),
    ('[artifact]\nbytes = "20"\n', 2, "'20' has no unit; write bytes as an integer, or a string"),
    ('[artifact]\nbytes = "20 mb"\n', 2, '\'20 mb\': "mb" is no unit of size; did you mean "20 MB"?'),
    ('[artifact]\ngzip_bytes = "2 GB"\n', 2, "'2 GB' has the unknown unit GB; write bytes as"),
    ("[artifact]\nbytes = 0\n", 2, "no artifact has bytes of 0; write the most that is allowed."),
    ('[artifact]\nfunctions = "many"\n', 2, "functions is a string; write an integer: functions = 8192."),
    ("[artifact]\nfunctions = -1\n", 2, "no artifact has functions of -1; write the most that is allowed."),
    (
        "[artifact]\nmemory_pages = 65537\n",
        2,
        "65537 pages of 64 KiB are more than 4 GiB; write at most 65536.",
    ),
    ('[artifact]\nimports = "wasi.*"\n', 2, "imports is a string; write an array: imports = ["),
    (
        '[artifact]\nimports = [\n  "a.*",\n  1,\n]\n',
        4,
        "an element of imports is an integer; write strings: imports = [",
    ),
    (
        '[artifact]\nimports = [\n  "a.*", # x\n  "",\n]\n',
        4,
        "imports holds an empty string; delete it, or fill it in.",
    ),
    (
        '[artifact]\npresets = [\n  "fastly-computer",\n]\n',
        3,
        'there is no preset "fastly-computer"; did you mean fastly-compute?',
    ),
    (
        '[artifact]\npresets = ["fastly-compute",\n"fastly-compute"]\n',
        3,
        'the preset "fastly-compute" is given twice; delete one of the two.',
    ),
    # Known divergences.
    ('[known]\ncase = "a"\n', 1, "known is a table; write [[known]], with two brackets."),
    ('known = [\n  "a"\n]\n', 2, "a known divergence is a string; write a table [[known]]."),
    (known() + "feild = 1\n", 7, '[[known]] has no "feild"; did you mean field?'),
    ("\n" + known(case=""), 2, 'this known divergence has no case; add case = "errors/deep_*".'),
    (known(runtimes=""), 1, 'this known divergence has no runtimes; add runtimes = ["deno >=2.8,<3"].'),
    (known(field=""), 1, 'this known divergence has no field; add field = "stderr".'),
    (known(reason=""), 1, 'this known divergence has no reason; add reason = "why it diverges".'),
    (known() + known(issue=""), 7, "this known divergence has no issue; add issue = "),
    (known(case="3"), 2, 'case is an integer; write case = "errors/deep_*".'),
    (known(case='" "'), 2, 'case is empty; write case = "errors/deep_*".'),
    (known(reason='""'), 5, 'reason is empty; write reason = "why it diverges".'),
    (known(issue='""'), 6, 'issue is empty; write issue = "https://…", where it is tracked.'),
    (known(issue='"#3"'), 6, '"#3" is no link; write where it is tracked: "https://…".'),
    (known(draft='"yes"'), 7, "draft is a string; write true, or delete the line."),
    (known(runtimes='"node"'), 3, 'runtimes is a string; write an array: runtimes = ["deno >=2.8,<3"].'),
    (known(runtimes="[]"), 3, 'no runtime is named; name them, or write ["*"] for all.'),
    (known(runtimes='[\n"node",\n"deno 2.8"]'), 5, '"deno 2.8" is no runtime with versions; write "deno" or'),
    (known(runtimes='[\n"deno >=two"]'), 4, '">=two" is no range of versions; write it like ">=2.8,<3" or'),
    (known(runtimes='["* >=2"]'), 3, '"* >=2" has versions for every runtime at once; write "*", or name'),
    (
        known(field="[]"),
        4,
        "no field is named; write one or more of: stdout, stderr, ending, files, leak, start, assertion.",
    ),
    (known(field='"stdrr"'), 4, 'there is no field "stdrr"; did you mean stderr?'),
    (known(field='[\n"leak",\n"leaks"]'), 6, 'there is no field "leaks"; did you mean leak?'),
    (known(field='["leak", "leak"]'), 4, 'the field "leak" is given twice; delete one of the two.'),
    # What differs.
    (known(differs="3"), 7, 'differs is an integer; write differs = "ANSI colours", or { "its text" = "the'),
    (
        known(differs='"ANSI colour"'),
        7,
        'there is no normalisation "ANSI colour"; did you mean ANSI colours?',
    ),
    (
        known(differs='"time of day"'),
        7,
        'there is no normalisation "time of day"; write one of: ANSI colours, line',
    ),
    (known(differs="{}"), 7, 'differs names no text; write differs = "ANSI colours", or {'),
    (known(differs='{ "" = "a" }'), 7, "an empty text cannot be replaced; write differs ="),
    (known() + "\n[known.differs]\na = 3\n", 9, '"a" is an integer; write differs ='),
    (known(differs='{ a = "a" }'), 7, '"a" is replaced by itself; delete it, or write what the reference'),
    (
        known(field='["stderr",\n"leak"]', differs='"line ends"'),
        4,
        'differs is about streams, not about "leak"; name stdout or stderr, where the leak shows.',
    ),
    (
        known(field='"ending"', differs='"line ends"'),
        4,
        'differs is about streams, not about "ending"; write outcome = {…}, or delete differs.',
    ),
    (
        known(outcome='{ stderr = "" }', differs='"line ends"'),
        8,
        "outcome tells all that differs; delete one of the two.",
    ),
    (known(outcome='"x"'), 7, 'outcome is a string; write outcome = { ending = "exited(7)", stdout = "…" }.'),
    (known(outcome="{ stderr = 1 }"), 7, "stderr is an integer; write outcome = {"),
    (known(outcome='{ stdrr = "" }'), 7, 'an outcome has no "stdrr"; did you mean stderr?'),
    (
        known() + '[known.outcome]\nstderr = ""\n\nstdout = ""\n',
        10,
        'field does not name "stdout"; add "stdout" to field, or delete it here.',
    ),
    (
        known(field='"ending"', outcome='{ ending = "exit(7)" }'),
        7,
        '"exit(7)" is no ending; write exited(N), trapped, timed_out, out_of_memory or host_failed, with',
    ),
    (
        known(field='["stderr", "stdout"]', outcome='{ stderr = "" }'),
        4,
        'outcome says nothing about "stdout"; add stdout = "…" to it, or take it out of field.',
    ),
    (
        known(field='["stderr", "leak"]', outcome='{ stderr = "" }'),
        4,
        'outcome says nothing about "leak"; take "leak" out of field; it needs an entry of its own.',
    ),
    (TWICE, 11, 'stderr of "a" on "node" is already known (line 3, for "node"); delete one of the two.'),
    (
        known(runtimes='["deno >=2", "deno"]'),
        3,
        'stderr of "a" on "deno" is already known (line 3, for "deno >=2"); delete one of the two.',
    ),
]


@pytest.mark.parametrize(("text", "line", "message"), FAULTS, ids=[fault[2][:40] for fault in FAULTS])
def test_every_fault_is_one_message_with_its_line(tmp_path: Path, text: str, line: int, message: str) -> None:
    """What cannot be meant is refused in one line: the file, the line, what is wrong, what to do."""
    with pytest.raises(ContractError) as caught:
        read(tmp_path, text)

    said = str(caught.value)
    assert said.startswith(f"{tmp_path / 'portability.toml'}:{line}: ")
    assert message in said
    assert "\n" not in said
    assert said.endswith((".", "?", "io)."))


def test_the_same_case_may_differ_by_version(tmp_path: Path) -> None:
    """Two ranges of versions of one runtime may each have their own reason."""
    contract = read(
        tmp_path, known(runtimes='["deno <2.9"]') + known(runtimes='["deno >=2.9"]', reason='"x"')
    )

    assert [each.reason for each in contract.known_for("a", "deno", "2.9.8")] == ["x"]


@pytest.mark.parametrize("nested", ["a = " + "[" * 5000, "a = " + "{b = " * 5000])
def test_deep_nesting_is_an_error(tmp_path: Path, nested: str) -> None:
    """Absurdly nested text is refused like any other mistake, not with a RecursionError."""
    with pytest.raises(ContractError, match=r"portability\.toml:1: "):
        read(tmp_path, nested)


def test_a_missing_file_says_how_to_get_one(tmp_path: Path) -> None:
    """A contract that is not there is one sentence."""
    with pytest.raises(ContractError) as caught:
        load_contract(tmp_path / "none.toml")

    assert str(caught.value) == (
        f"{tmp_path / 'none.toml'} does not exist; give the path of a contract, "
        "or write one with --wasm-update-contract."
    )


def test_an_unreadable_file_says_why(tmp_path: Path) -> None:
    """A folder in the place of a contract is one sentence."""
    with pytest.raises(ContractError) as caught:
        load_contract(tmp_path)

    assert (
        str(caught.value)
        == f"{tmp_path} cannot be read (Is a directory); check the path and its permissions."
    )


def test_a_file_that_is_not_utf8_says_where(tmp_path: Path) -> None:
    """Bytes that are not UTF-8 are one sentence with their line."""
    path = tmp_path / "portability.toml"
    path.write_bytes(b"[artifact]\n# \xe4\n")

    with pytest.raises(ContractError) as caught:
        load_contract(path)

    assert str(caught.value) == f"{path}:2: byte 0xe4 is not UTF-8; save the file as UTF-8."


@pytest.mark.parametrize(
    ("written", "size_bytes"),
    [
        (7, 7),
        ("1 kB", 1000),
        ("20MB", 20_000_000),
        ("1.5 MB", 1_500_000),
        ("3 KiB", 3072),
        ("64 MiB", 1 << 26),
    ],
)
def test_sizes(written: object, size_bytes: int) -> None:
    """kB and MB count in thousands, KiB and MiB in 1024; a bare integer is bytes."""
    assert parse_size(written) == size_bytes
