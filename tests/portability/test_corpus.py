"""Cases and golden files: reading, writing, and what is said of broken ones."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from pytest_wasmedge.errors import CorpusError
from pytest_wasmedge.model import Ending, Outcome, exited, host_failed, out_of_memory, timed_out, trapped
from pytest_wasmedge.portability.corpus import format_golden, load_corpus, read_golden, write_golden

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


def error_of(path: Path) -> str:
    """Return what load_corpus says against a corpus in which one thing is wrong."""
    with pytest.raises(CorpusError) as caught:
        load_corpus(path)
    return str(caught.value).replace(str(path), "corpus")


def corpus_with(root: Path, **files: str | bytes) -> Path:
    """Write files named ``name_suffix`` as ``name.suffix``."""
    for name, content in files.items():
        data = content.encode() if isinstance(content, str) else content
        (root / name.replace("_", ".")).write_bytes(data)
    return root


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


def test_a_corpus_is_loaded_in_order(tmp_path: Path) -> None:
    """Cases are named by their path in the corpus, sorted, whole source and golden file included."""
    (tmp_path / "errors").mkdir()
    (tmp_path / "errors" / "late.rb").write_bytes(b"# Ends late.\n# timeout_s: 60\nsleep\n")
    (tmp_path / "errors" / "late.golden").write_text('ending = "timed_out"\nstdout = ""\nstderr = ""\n')
    (tmp_path / "early.rb").write_bytes(b"# Ends early.\nexit\n")

    early, late = load_corpus(tmp_path)

    assert (early.name, early.summary, early.timeout_s, early.golden) == ("early", "Ends early.", None, None)
    assert early.source == b"# Ends early.\nexit\n"
    assert early.path == tmp_path / "early.rb"
    assert (late.name, late.summary, late.timeout_s) == ("errors/late", "Ends late.", 60.0)
    assert late.golden == Outcome(b"", b"", timed_out())


@pytest.mark.parametrize(
    "head",
    [
        "#!/usr/bin/env ruby\n",
        "# frozen_string_literal: true\n",
        "# encoding: utf-8\n",
        "# -*- coding: utf-8 -*-\n",
        "\ufeff",
        "#!ruby\n# frozen-string-literal: true\n",
        "# -*- coding: utf-8 -*- ",
        "# encoding: utf-8 -- ",
    ],
)
def test_what_is_meant_for_ruby_is_not_the_summary(tmp_path: Path, head: str) -> None:
    """A shebang and magic comments may stand above the sentence."""
    (case,) = load_corpus(corpus_with(tmp_path, a_rb=head + "# Says it.\r\n#\n# timeout_s: 1.5\np 1\n"))

    assert (case.summary, case.timeout_s) == ("Says it.", 1.5)


def test_comments_below_the_header_are_only_comments(tmp_path: Path) -> None:
    """The header ends at the first line that is no comment."""
    (case,) = load_corpus(corpus_with(tmp_path, a_rb="# Time: as text.\n\n# timeout_s: 1\np 1\n"))

    assert (case.summary, case.timeout_s) == ("Time: as text.", None)


def test_a_golden_file_is_written_beside_its_case(tmp_path: Path) -> None:
    """write_golden makes what load_corpus then finds."""
    (case,) = load_corpus(corpus_with(tmp_path, a_rb="# Says it.\np 1\n"))

    write_golden(case, Outcome(b"1\r\n", b"", exited(0)))

    assert (tmp_path / "a.golden").read_bytes() == b'ending = "exited(0)"\nstdout = "1\\r\\n"\nstderr = ""\n'
    assert load_corpus(tmp_path)[0].golden == Outcome(b"1\r\n", b"", exited(0))


REWRITE = "Correct it, or delete the file and write it again from a run."


@pytest.mark.parametrize(
    ("golden", "message"),
    [
        (
            'stdout = ""\nstderr = ""',
            f"ending is None, not exited(N), trapped, timed_out, out_of_memory. {REWRITE}",
        ),
        (
            '\nending = "exited(-1)"\nstdout = ""\nstderr = ""',
            f"ending is 'exited(-1)', not exited(N), trapped, timed_out, out_of_memory. {REWRITE}",
        ),
        ('ending = "host_failed"\nstdout = ""\nstderr = ""', "ending is 'host_failed'"),
        ('ending = "trapped"\nstdout = ""\n', f"stderr is missing. {REWRITE}"),
        ('ending = "trapped"\nstderr = ""\nstdout = 1\n', "stdout must be one string, stdout or stdout_hex"),
        ('ending = "trapped"\nstdout = ""\nstderr = ""\nstderr_hex = ""\n', "stderr must be one string"),
        ('ending = "trapped"\nstdout_hex = "0g"\nstderr = ""\n', "stdout_hex is not hexadecimal"),
        ('ending = "trapped"\nstdout = ""\nstderr = ""\nstatus = 1', "unknown key status"),
        ('ending = "trapped"\nstdout = """', "not TOML: "),
        (b'ending = "trapped"\nstdout = "\xff"', "byte 0xff is not UTF-8; save the file as UTF-8."),
    ],
)
def test_a_broken_golden_file(tmp_path: Path, golden: str | bytes, message: str) -> None:
    """File and fault are named, and what to do."""
    error = error_of(corpus_with(tmp_path, a_rb="# Says it.\n", a_golden=golden))

    assert error.startswith("corpus/a.golden")
    assert message in error


@pytest.mark.parametrize(
    ("golden", "place"),
    [
        ('\nending = "gone"\nstdout = ""\nstderr = ""', "corpus/a.golden, line 2: ending"),
        ('ending = "trapped"\nstdout_hex = "0g"\nstderr = ""\n', "corpus/a.golden, line 2: stdout_hex"),
        ('ending = "trapped"\nstdout = ""\nstderr = ""\nstatus = 1', "corpus/a.golden, line 4: unknown"),
        ('ending = "trapped"\nstdout = oops', "corpus/a.golden: not TOML: Invalid value (at line 2,"),
        (b'ending = "trapped"\nstdout = "\xff"', "corpus/a.golden:2: byte 0xff is not UTF-8"),
    ],
)  # fmt: skip
def test_the_line_of_the_fault_is_named(tmp_path: Path, golden: str | bytes, place: str) -> None:
    """The message leads to the line."""
    assert error_of(corpus_with(tmp_path, a_rb="# Says it.\n", a_golden=golden)).startswith(place)


NO_HEADER = "no header. Begin the case with one sentence: `# What it shows.`"
NO_LIMIT = "is no time limit. Write it in seconds: `# timeout_s: 60`."


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("", f"line 1: {NO_HEADER}"),
        ("p 1\n# Late.\n", f"line 1: {NO_HEADER}"),
        ("# timeout_s: 5\np 1", f"line 2: {NO_HEADER}"),
        ("# Says it.\n# timeout_s: 1m\n", f"line 2: `timeout_s: 1m` {NO_LIMIT}"),
        ("# Says it.\n# timeout_s: 0\n", f"line 2: `timeout_s: 0` {NO_LIMIT}"),
        ("# Says it.\n#\n# timeout: 5\n", f"line 3: `timeout: 5` {NO_LIMIT}"),
    ],
)
def test_a_broken_header(tmp_path: Path, source: str, message: str) -> None:
    """File, line and remedy are named; a misspelt time limit is not taken for a comment."""
    assert error_of(corpus_with(tmp_path, a_rb=source)) == f"corpus/a.rb, {message}"


def test_a_golden_file_without_case(tmp_path: Path) -> None:
    """A golden file left behind by a renamed case is not overlooked."""
    error = error_of(corpus_with(tmp_path, a_rb="# Says it.\n", b_golden=""))

    assert error == "corpus/b.golden has no case b.rb beside it. Delete or rename it."


def test_a_corpus_without_cases(tmp_path: Path) -> None:
    """An empty or missing corpus is an error: nothing run is not all passed."""
    assert error_of(tmp_path) == "corpus corpus holds no case: a case is a *.rb file in it. Correct the path."
    assert error_of(tmp_path / "gone") == (
        "corpus corpus is not a folder: a case is a *.rb file in it. Correct the path."
    )
