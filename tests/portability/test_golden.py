"""Golden files: reading, writing, and what is said of broken ones."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from pytest_wasmedge.errors import CorpusError
from pytest_wasmedge.model import Ending, Outcome, exited, host_failed, out_of_memory, timed_out, trapped
from pytest_wasmedge.portability.golden import format_golden, read_golden

ENDINGS = [exited(0), exited(1), exited(255), trapped(), timed_out(), out_of_memory()]
NASTY = [
    b"",
    b"\n",
    b"\n\n",
    b"a\r\nb\r\n",
    b"\r",
    b"\0",
    b"'",
    b"it's\n",
    b"it's'",
    b"''",
    b"'''",
    b"a'''b\n",
    b'"""',
    b'"',
    b"\\",
    b"\\u0041\n",
    b"\x7f",
    b"\x1b[1m",
    b"\t\x0b\x0c",
    b"\xff\xfe",
    b"\xed\xa0\x80",
    b"\xc3",
    "\u0085\n".encode(),
    "\u2028\u2029".encode(),
    "\ufeffx".encode(),
    "\U0010ffff\U000e0001\r".encode(),
    "é ü 日本 🎉\n".encode(),
    b"stdout = 1\n[table]\n# no comment",
    bytes(range(256)),
    bytes(range(128)),
]


def test_a_golden_file_reads_like_the_output() -> None:
    """Plain text stands in the file as it is, with its lines."""
    assert format_golden(Outcome(b"1\n2\n", b"", exited(0))) == (
        "ending = \"exited(0)\"\nstdout = '''\n1\n2\n'''\nstderr = \"\"\n"
    )


def test_text_that_would_not_show_is_escaped() -> None:
    """Control characters, and quotes that would end the text, make it one escaped line; letters stay."""
    assert format_golden(Outcome(b"a\r\n\t\x1b\"'\\\xc3\xa9", "it's\u2028'".encode(), trapped())) == (
        'ending = "trapped"\n'
        'stdout = "a\\r\\n\\t\\u001B\\"\'\\\\é"\n'
        "stderr = \"it's\\u2028'\"\n"
    )  # fmt: skip


def test_bytes_that_are_not_utf8_are_hexadecimal() -> None:
    """Binary output keeps every byte."""
    assert format_golden(Outcome(b"\xff\x00", b"", exited(1))) == (
        'ending = "exited(1)"\nstdout_hex = "ff00"\nstderr = ""\n'
    )


def test_the_words_of_a_trap_are_not_written() -> None:
    """A golden file holds for every engine, so none of their words is in it."""
    assert format_golden(Outcome(b"", b"", trapped("unreachable"))).splitlines()[0] == 'ending = "trapped"'


def test_a_failed_host_is_no_expectation() -> None:
    """A host that died must not become what others are held against."""
    with pytest.raises(CorpusError) as caught:
        format_golden(Outcome(b"", b"", host_failed("connection reset"), runtime="bun"))
    assert str(caught.value) == (
        "a failed host is no expectation: bun says 'connection reset'. Run the case again."
    )


@pytest.mark.parametrize("ending", ENDINGS, ids=str)
def test_every_ending_comes_back(tmp_path: Path, ending: Ending) -> None:
    """What was written is what is read, for each kind of ending."""
    assert_round_trip(tmp_path, Outcome(b"", b"", ending))


@pytest.mark.parametrize("data", NASTY, ids=repr)
def test_nasty_bytes_come_back(tmp_path: Path, data: bytes) -> None:
    """Bytes that quoting, newlines or encodings could spoil are unharmed, on either stream."""
    assert_round_trip(tmp_path, Outcome(data, b"x", exited(0)))
    assert_round_trip(tmp_path, Outcome(b"", data, exited(0)))


def test_any_bytes_come_back(tmp_path: Path) -> None:
    """Six hundred made-up streams, half of them binary, half text with quotes and controls, are unharmed."""
    chance = random.Random(2026)
    letters = "ab'\"\\\n\r\t\0\x7f\x85\u2028é\ufeff\U0001f389"
    for _ in range(300):
        text = "".join(chance.choices(letters, k=chance.randrange(12))).encode()
        assert_round_trip(tmp_path, Outcome(text, chance.randbytes(chance.randrange(6)), exited(0)))


def assert_round_trip(folder: Path, outcome: Outcome) -> None:
    path = folder / "case.golden"
    text = format_golden(outcome)
    path.write_bytes(text.encode())
    assert read_golden(path) == outcome, text
    assert text.endswith("\n")


FILES = {
    "/data": None,
    "/data/a'b\n.txt": b"text\n",
    "/data/bytes": b"\xff\0",
    "/data/empty": b"",
    "/data/link": "../a b",
}


def test_files_come_back(tmp_path: Path) -> None:
    """What a guest left in its folders: files of text and bytes, folders, links."""
    assert_round_trip(tmp_path, Outcome(b"", b"", exited(0), files=FILES))


REWRITE = "correct it, or delete the file and write it again with --wasm-update-golden."


def error_of(folder: Path, golden: str | bytes) -> str:
    """Return what read_golden says against this text."""
    (folder / "a.golden").write_bytes(golden.encode() if isinstance(golden, str) else golden)
    with pytest.raises(CorpusError) as caught:
        read_golden(folder / "a.golden")
    return str(caught.value).replace(f"{folder}/", "")


@pytest.mark.parametrize(
    ("golden", "message"),
    [
        (
            'stdout = ""\nstderr = ""',
            f"ending is None, not exited(N), trapped, timed_out, out_of_memory; {REWRITE}",
        ),
        (
            '\nending = "exited(-1)"\nstdout = ""\nstderr = ""',
            f"ending is 'exited(-1)', not exited(N), trapped, timed_out, out_of_memory; {REWRITE}",
        ),
        ('ending = "host_failed"\nstdout = ""\nstderr = ""', "ending is 'host_failed'"),
        ('ending = "trapped"\nstdout = ""\n', f"stderr is missing; {REWRITE}"),
        ('ending = "trapped"\nstderr = ""\nstdout = 1\n', "stdout must be one string, stdout or stdout_hex"),
        ('ending = "trapped"\nstdout = ""\nstderr = ""\nstderr_hex = ""\n', "stderr must be one string"),
        ('ending = "trapped"\nstdout_hex = "0g"\nstderr = ""\n', "stdout_hex is not hexadecimal"),
        (
            'ending = "trapped"\nstdout = ""\nstderr = ""\nstatus = 1',
            'a golden file has no "status"; write one of: ',
        ),
        ('ending = "trapped"\nstdout = """', "this is not TOML: "),
        (b'ending = "trapped"\nstdout = "\xff"', "byte 0xff is not UTF-8; save the file as UTF-8."),
    ],
)
def test_a_broken_golden_file(tmp_path: Path, golden: str | bytes, message: str) -> None:
    """File and fault are named, and what to do."""
    error = error_of(tmp_path, golden)

    assert error.startswith("a.golden:")
    assert message in error


@pytest.mark.parametrize(
    ("golden", "place"),
    [
        ('\nending = "gone"\nstdout = ""\nstderr = ""', "a.golden:2: ending"),
        ('ending = "trapped"\nstdout_hex = "0g"\nstderr = ""\n', "a.golden:2: stdout_hex"),
        ('ending = "trapped"\nstdout = ""\nstderr = ""\nstatus = 1', "a.golden:4: a golden file has no"),
        ('ending = "trapped"\nstdout = oops', "a.golden:2: this is not TOML: invalid value"),
        (b'ending = "trapped"\nstdout = "\xff"', "a.golden:2: byte 0xff is not UTF-8"),
    ],
)  # fmt: skip
def test_the_line_of_the_fault_is_named(tmp_path: Path, golden: str | bytes, place: str) -> None:
    """The message leads to the line."""
    assert error_of(tmp_path, golden).startswith(place)
