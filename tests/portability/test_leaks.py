"""Leak detectors: each finds what was planted, and nothing in what Ruby prints by itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_wasmedge.model import Ending, Leak, Outcome, exited, timed_out
from pytest_wasmedge.portability.detectors import DETECTORS
from pytest_wasmedge.portability.leaks import REPORTED, assert_no_leaks, find_leaks

ROOT_S_CACHE = "/".join(("", "root", ".cache", "x"))

PLANTED = [
    ("raw pointer", "cannot coerce 0x55d0c2a4f010 into Integer", "0x55d0c2a4f010"),
    ("raw pointer", "at 0x7ffc12, dead", "0x7ffc12"),
    ("raw pointer", "#<Object:0x0000a1b2> lives at 0x0000a1b2", "0x0000a1b2"),
    ("Rust PhantomData", "Token { kind: Eof, marker: PhantomData<&str> }", "PhantomData<&str>"),
    ("Rust PhantomData", "Lexer(PhantomData)", "PhantomData"),
    ("Rust enum", "expected Some(3), got nil", "Some(3), got nil"),
    ("Rust enum", 'Err("no such file")', 'Err("no such file")'),
    ("Rust enum", "syntax error: Ok(Token)", "Ok(Token)"),
    ("Rust enum", "Span { end: None, start: 1 }", "None, start: 1 }"),
    ("Rust struct dump", "unexpected Span { lo: 3, hi: 4 }", "Span { lo: 3, hi: 4 }"),
    ("Rust struct dump", "ParseError {\n    kind: Eof,\n}", "ParseError {\n    kind: Eof,"),
    ("Rust panic", "thread 'main' panicked at src/main.rs:4:5:", None),
    ("Rust panic", "thread '<unnamed>' (4711) panicked at lib:1", None),
    ("Rust panic", "note: run with `RUST_BACKTRACE=1` to see more", "RUST_BACKTRACE"),
    ("Rust panic", "called `Option::unwrap()` on a `None` value", None),
    ("native source position", "failed in crates/runtime/src/vm.rs:120:9", "crates/runtime/src/vm.rs:120:9"),
    ("native source position", "Assertion failed: p != NULL (gc.c: mark: 12)", None),
    ("C source position", "Assertion Failed: vm.c:412:rb_vm_call: cfp", "vm.c:412"),
    ("C source position", "malloc.c:2379: sysmalloc: broken", "malloc.c:2379"),
    ("C source position", "#3 mark (objspace=0) at ../../gc/default.c:91", "../../gc/default.c:91"),
    ("C source position", "[BUG] unreachable (include/ruby/value.h:17)", "include/ruby/value.h:17"),
    ("frame of the artifact", "<internal:worker>:159: warning: x", "<internal:worker>:159"),
    ("frame of the artifact", "main.rb:1:in 'f'\n\tfrom <internal:boot>:2:in 'run'", "<internal:boot>:2"),
    ("frame of the artifact", "#<Method: Kernel#caller() <internal:worker>:58>", None),
    ("host path", "cannot open /home/anna/dist/ruby.wasm", "/home/anna/dist/ruby.wasm"),
    ("host path", "from /Users/anna/x.rb:3:in 'f'", "/Users/anna/x.rb"),
    ("host path", "'/tmp/tmpab12/main.rb' is gone", "/tmp/tmpab12/main.rb"),
    ("host path", f"({ROOT_S_CACHE})", ROOT_S_CACHE),
    ("host path", "/private/var/folders/zz/T/x", "/private/var/folders/zz/T/x"),
    ("host path", "/nix/store/abc-node/bin/node", "/nix/store/abc-node/bin/node"),
    ("host path", "/usr/lib/x86_64-linux-gnu/libc.so.6", "/usr/lib/x86_64-linux-gnu/libc.so.6"),
    ("Windows path", r"cannot open C:\Users\anna\x.wasm", r"C:\Users\anna\x.wasm"),
    ("Windows path", r'"D:\\Temp\\x.rb"', r"D:\\Temp\\x.rb"),
    ("file URL", "import of file:///srv/app/glue.mjs failed", "file:///srv/app/glue.mjs"),
    ("package path", "x/node_modules/@bjorn3/browser_wasi_shim/wasi.js", None),
    ("package path", "lib/site-packages/wasmtime/_ffi.py", "site-packages/wasmtime/_ffi.py"),
    ("package path", "/rustc/a1b2c3d4e5/library/core", "/rustc/a1b2c3d4e5/library/core"),
    ("package path", "x/.cargo/registry/src/y", ".cargo/registry/src/y"),
    ("engine backtrace", "error while executing at wasm backtrace:", "error while executing at wasm"),
    ("engine backtrace", "    0:  0x3f - <unknown>!<wasm function 123>", None),
    ("engine backtrace", "at wasm://wasm/0078e4f6:wasm-function[12]:0x3f", None),
    ("engine backtrace", "in .wasm-function[9]", None),
    ("engine trap", "wasm trap: out of bounds memory access", "wasm trap: out of bounds memory access"),
    ("engine trap", "RuntimeError: unreachable", "RuntimeError: unreachable"),
    ("engine trap", "RuntimeError: Out of bounds memory access (evaluating 'f()')", None),
    ("engine trap", "RangeError: Maximum call stack size exceeded", None),
    ("engine name", "wasmtime::runtime::func::Func::call", "wasmtime::runtime"),
    ("engine name", "wasmtime_wasi::p1::fd_write", "wasmtime_wasi::p1"),
    ("engine name", "v8::internal::Isolate", "v8::internal"),
    ("JavaScript frame", "TypeError: x\n    at run (file:///srv/glue.mjs:10:5)", None),
    ("JavaScript frame", "    at async Promise.all (index 0)\n    at async main (glue.js:1:2)", None),
    ("JavaScript frame", "    at Object.<anonymous> (x.js:3:1)", "    at Object.<anonymous> (x.js:3:1)"),
    ("JavaScript frame", "    at Array.map (<anonymous>)", "    at Array.map (<anonymous>)"),
    ("JavaScript module", "run@http://127.0.0.1:4000/page.mjs:12:9", "@http://127.0.0.1:4000/page.mjs:12:9"),
    ("JavaScript module", "(node:internal/modules/run_main)", "node:internal/modules/run_main"),
    ("JavaScript module", "ext:core/01_core.js:3", "ext:core/01_core.js"),
    ("ANSI escape", "main.rb: \x1b[1mboom\x1b[m", "\x1b[1m"),
    ("ANSI escape", "\x1b]0;title\x07", "\x1b]0;title"),
    ("replaced character", "caf\ufffd", "\ufffd"),
]  # fmt: skip

CLEAN = [
    "#<Object:0x000055d0c2a4f010>",
    "#<Foo::Bar:0x00000001 @a=1, @b=#<Foo:0x00000002>>",
    "#<Proc:0x0000a1b2c3d4 main.rb:3 (lambda)>",
    "#<Proc:0x0000a1b2c3d4(&:upcase) (lambda)>",
    "#<Class:0x0000a1b2c3d4>",
    "#<#<Class:0x0000a1b2c3d4>:0x0000a1b2c3d5 @x=1>",
    "#<#<Module:0x0000a1b2c3d4>::Foo:0x0000a1b2c3d5>",
    "#<Class:#<Object:0x0000a1b2c3d4>>",
    "#<Enumerator: #<Enumerator::Generator:0x0000a1b2c3d4>:each>",
    "#<Thread:0x0000a1b2c3d4 run>",
    "#<Été:0x0000a1b2c3d4>",
    "undefined method 'x' for an instance of #<Class:0x0000a1b2c3d4>",
    "0xff 0x1f 0xabc",
    "0x1.999999999999ap-4",
    "color: 0xfeed",
    "#<RuntimeError: unreachable>",
    "main.rb:1:in '<main>': unreachable (RuntimeError)",
    "main.rb:1:in 'Integer#/': divided by 0 (ZeroDivisionError)",
    "<internal:kernel>:168:in 'Kernel#loop'",
    "<internal:/usr/local/lib/ruby/4.0.0/rubygems/core_ext/kernel_require.rb>:136:in 'Kernel#require'",
    "<internal:prelude>:5:in 'Binding#irb'",
    "#<Method: Object(Kernel)#loop() <internal:kernel>:150>",
    "<internal:",
    "main.rb:3:in 'A.c': 12 (RuntimeError)",
    "a.c: 12, b.h:x",
    "abc:12: see a.cs:4: and a.ch:5:",
    "/usr/lib/ruby/vendor_ruby",
    "No such file or directory @ rb_sysopen - nope.txt (Errno::ENOENT)",
    "https://example.org/home/anna/tmp/x",
    "a/home/b ~/tmp/x ../tmp/y",
    'puts "C:\\n"',
    '{a: 1, "b" => nil}',
    "#<struct Point x=1, y=2>",
    "#<data Point x=1, y=2>",
    "#<Set: {1, 2}>",
    "Something(1) NotOk(2) Awesome(3)",
    "value: Nonet, x",
    "stack level too deep (SystemStackError)",
    "  at noon: 12",
    "    at the end of line 3",
    "anna@example.org:12",
    "[1, 2] at 3:4",
    "wasm is fine, wasmtime too",
    "artifact.wasm",
    "\\e[1m",
    "  1 | def f(\n    |      ^ unexpected end-of-input",
    "é ü 日本 🎉",
]


def leaks_in(text: str | bytes, source: bytes = b"p 1", ending: Ending | None = None) -> tuple[Leak, ...]:
    data = text.encode() if isinstance(text, str) else text
    return find_leaks(Outcome(b"", data, ending or exited(1)), source)


@pytest.mark.parametrize(("detector", "text", "found"), PLANTED)
def test_a_planted_leak_is_found(detector: str, text: str, found: str | None) -> None:
    """Each kind of leak is found by its own detector, on either stream."""
    (leak, *_) = [leak for leak in leaks_in(text) if leak.detector == detector]

    assert found is None or leak.text == found
    assert text.encode()[leak.offset :].startswith(leak.text.encode())
    on_stdout = find_leaks(Outcome(text.encode(), b"", exited(0)), b"p 1")
    assert (detector, "stdout") in [(leak.detector, leak.field) for leak in on_stdout]


def test_every_detector_has_a_planted_leak() -> None:
    """No row of the table is untested, and no two have one name."""
    names = [detector.name for detector in DETECTORS]

    assert sorted(names) == sorted({name for name, _, _ in PLANTED})


@pytest.mark.parametrize("text", CLEAN)
def test_what_ruby_prints_is_no_leak(text: str) -> None:
    """Inspected objects, Ruby's own messages and harmless look-alikes are clean."""
    assert leaks_in(text) == ()


@pytest.mark.parametrize(("detector", "text", "found"), PLANTED)
def test_text_of_the_source_is_no_leak(detector: str, text: str, found: str | None) -> None:
    """A program may print whatever stands in it literally."""
    assert [
        leak for leak in leaks_in(text, b"puts <<X\n" + text.encode() + b"\nX") if leak.detector == detector
    ] == []


def test_the_excerpt_shows_the_line() -> None:
    """A leak tells detector, stream, place, text and the line around it."""
    (leak,) = leaks_in("fine\nin 0x55d0c2a4f010 here\nfine\n")

    assert leak == Leak("raw pointer", "stderr", 8, "0x55d0c2a4f010", "in 0x55d0c2a4f010 here")
    assert str(leak) == (
        "stderr leaks raw pointer: '0x55d0c2a4f010' at byte 8, in 'in 0x55d0c2a4f010 here'"
    )  # fmt: skip


def test_assert_no_leaks_names_every_leak() -> None:
    """The message begins with the runtime; clean outcomes raise nothing."""
    assert_no_leaks(Outcome(b"fine\n", b"", exited(0)), b"p 1")

    with pytest.raises(AssertionError) as caught:
        assert_no_leaks(Outcome(b"PhantomData", b"", exited(0), runtime="deno"), b"p 1")
    assert str(caught.value) == (
        "deno: stdout leaks Rust PhantomData: 'PhantomData' at byte 0, in 'PhantomData'"
    )  # fmt: skip


def test_the_excerpt_of_a_long_line_is_cut() -> None:
    """A leak in a line of a megabyte is shown with what is around it, and no more."""
    (leak,) = leaks_in("x " * 250_000 + "0x55d0c2a4f010" + " y" * 250_000)

    assert len(leak.excerpt) == 122
    assert leak.excerpt.startswith("…")
    assert leak.excerpt.endswith("…")
    assert "0x55d0c2a4f010" in leak.excerpt


def test_the_ruby_worker_with_planted_rust() -> None:
    """A SyntaxError that shows a pointer and PhantomData is reported for both."""
    text = "main.rb:1: syntax error at Token { ty: PhantomData, at: 0x55d0c2a4f010 } (SyntaxError)"

    assert {leak.detector for leak in leaks_in(text)} == {
        "raw pointer",
        "Rust PhantomData",
        "Rust struct dump",
    }


@pytest.mark.parametrize("source", [b'puts "0x%08x" % n', b'puts "%#x" % n', b'puts "0x#{n.to_s(16)}"'])
def test_a_program_may_format_hexadecimal_numbers(source: bytes) -> None:
    """A source that formats numbers as hexadecimal asks for them."""
    assert leaks_in("0x00bc614e", source) == ()


@pytest.mark.parametrize("source", [b'puts "\\e[1mx"', b'puts "\\x1b[1mx"', b'print 27.chr, "[1m"'])
def test_a_program_may_colour_its_output(source: bytes) -> None:
    """A source that writes escapes asks for them."""
    assert leaks_in("\x1b[1mx", source) == ()


def test_a_program_may_name_a_folder_itself() -> None:
    """Paths below a folder that the source names are its own; others are not."""
    source = b'File.read(File.join("/tmp/", name))'

    assert leaks_in("No such file - /tmp/a.txt", source) == ()
    assert [leak.text for leak in leaks_in("No such file - /home/a.txt", source)] == ["/home/a.txt"]


def test_a_program_may_name_a_c_file_itself() -> None:
    """Positions in a file that the source names are its own, whatever the line; those in others are not."""
    source = b'lines.each { |n| puts "parse.c:#{n}: here" }'

    assert leaks_in("parse.c:120: here", source) == ()
    assert [leak.text for leak in leaks_in("array.c:120: here", source)] == ["array.c:120"]


def test_a_program_may_replace_characters() -> None:
    """U+FFFD is no leak where the source makes it."""
    assert leaks_in("a\ufffd", b'puts "a\\xff".scrub') == ()
    assert [leak.detector for leak in leaks_in("a\ufffd", b'print "a\\xff"')] == ["replaced character"]


def test_paths_of_this_machine() -> None:
    """Folders that the caller knows are found wherever they are, but not as parts of other names."""
    text = b"open /srv/ci/build/7/x.wasm failed; /srv/ci/build/77 and data/srv/ci/build/7 are others"

    leaks = find_leaks(Outcome(text, b"", exited(0)), host_paths=[Path("/srv/ci/build/7"), "/", ""])

    assert [(leak.detector, leak.text) for leak in leaks] == [
        ("path of this machine", "/srv/ci/build/7/x.wasm")
    ]
    own = b"File.read('/srv/ci/build/7/x.wasm')"
    assert find_leaks(Outcome(text, b"", exited(0)), own, host_paths=["/srv/ci/build/7"]) == ()


def test_bytes_that_are_not_utf8() -> None:
    """Output that is not UTF-8 is reported unless the source is not either, or makes bytes."""
    assert leaks_in(b"ok \xff\n") == (
        Leak("bytes that are not UTF-8", "stderr", 3, "\\xff", "ok \\xff"),
    )  # fmt: skip
    for source in (b'print "\\xff"', b"print [255].pack('C')", b"print 255.chr", b"echo \xfe"):
        assert leaks_in(b"ok \xff\n", source) == ()


def test_data_is_not_searched_for_what_random_bytes_hold() -> None:
    """ESC [ comes by chance in binary output; text, and data for longer patterns, are searched."""
    source = b"print [255].pack('C'), x"

    assert leaks_in(b"\xff \x1b[1m \xef\xbf\xbd", source) == ()
    assert [leak.detector for leak in leaks_in(b"\x1b[1m", source)] == ["ANSI escape"]
    assert [leak.detector for leak in leaks_in(b"\xff PhantomData", source)] == ["Rust PhantomData"]


def test_a_letter_cut_by_a_time_limit() -> None:
    """Stopped in the middle of a letter is no wrong encoding; ended in the middle of one is."""
    assert leaks_in(b"caf\xc3", ending=timed_out()) == ()
    assert [leak.offset for leak in leaks_in(b"caf\xc3", ending=exited(0))] == [3]


def test_double_encoded_text() -> None:
    """A letter of the source that comes out encoded twice is found, by way of Latin-1 or Windows-1252."""
    source = "puts 'é €'".encode()

    assert [leak.text for leak in leaks_in("cafÃ©", source)] == ["Ã©"]
    assert [leak.text for leak in leaks_in("5 \u00e2\u201a\u00ac", source)] == ["\u00e2\u201a\u00ac"]
    assert leaks_in("cafÃ©", b"puts 'x'") == ()
    assert leaks_in("cafÃ©", "puts 'Ã©', 'é'".encode()) == ()
    assert leaks_in("cafÃ©", "puts 'é'.force_encoding('BINARY').encode('UTF-8')".encode()) == ()


def test_few_of_each_kind_are_reported() -> None:
    """A stream full of one leak is told in a few lines, and does not hide other kinds."""
    leaks = leaks_in("0x55d0c2a4f010\n" * 1000 + "PhantomData")

    assert [leak.detector for leak in leaks] == ["raw pointer"] * REPORTED + ["Rust PhantomData"]


BAIT = [
    "#<Object:0x0000a1b2c3d4>\n", "0x", "#<", "#<a", "#<#<Class:0x1>", "a", "a/", "a.rs:", "a.c:", "A {", "{ ", "{\n",
    " ", "\t at ", "    at x\n", "@http:", "/tmp", "/home//", "C:\\", "node_modules", "wasm ", "wasmtime_",
    "<internal:", "RuntimeError: ", "thread '", "Assertion failed: (", ": None", "Some(", "\x1b", "Ã©",
]  # fmt: skip


@pytest.mark.parametrize("bait", BAIT)
def test_look_alikes_without_end(bait: str) -> None:
    """A megabyte made to tempt a detector is searched in linear time: this test ends."""
    for text in (bait * (1_000_000 // len(bait)), (bait + "\n") * (1_000_000 // len(bait))):
        assert len(leaks_in(text, "puts 'é'".encode())) <= 2 * REPORTED
