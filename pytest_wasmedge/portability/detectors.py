"""The table of what must never be in guest-visible text; each row detects one kind of leak."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from pytest_wasmedge.portability.encodings import is_data

# The most different texts of one detector that are looked up in the source: this bounds the cost of a program that
# prints thousands of them itself.
_EXAMINED = 200


class Detector:
    """Finds one kind of leak.

    ``pattern`` is run over a stream only if one of ``needles`` is in it, so that megabytes are cheap. What its group
    ``own`` matches is printed by guests themselves. A match is no leak if its group ``word`` (without one, all of
    it) is in the source, and no match is if ``excused_by`` finds that the source asks for it. Detectors that random
    bytes could trigger are ``in_text_only``: they skip data.
    """

    def __init__(
        self,
        name: str,
        needles: Iterable[str],
        pattern: str,
        excused_by: str = "",
        in_text_only: bool = False,
    ) -> None:
        self.name = name
        self._needles = [needle.encode() for needle in needles]
        self._pattern = re.compile(pattern.encode(), re.MULTILINE)
        self._excused_by = re.compile(excused_by.encode()) if excused_by else None
        self._in_text_only = in_text_only

    def find(self, data: bytes, source: bytes) -> Iterator[tuple[int, bytes]]:
        """Yield offset and text of each leak in one stream."""
        if not any(needle in data for needle in self._needles):
            return
        if self._excused_by is not None and self._excused_by.search(source):
            return
        if self._in_text_only and is_data(data, source):
            return
        has_word = "word" in self._pattern.groupindex
        excused: set[bytes] = set()
        for match in self._pattern.finditer(data):
            word = (match["word"] or match[0]) if has_word else match[0].strip()
            if match.lastgroup == "own" or word in excused:
                continue
            if word not in source:
                yield match.start(), match[0]
            elif len(excused) == _EXAMINED:
                return
            else:
                excused.add(word)


def machine_paths(paths: Iterable[str | Path]) -> tuple[Detector, ...]:
    """Return a detector of these paths of this machine, which no guest can know; empty if there are none."""
    texts = sorted({str(path).rstrip("/\\") for path in paths} - {""}, key=len, reverse=True)
    if not texts:
        return ()
    pattern = rf"(?<![\w./-])(?:{'|'.join(map(re.escape, texts))})(?![\w-]){_PATH_REST}"
    return (Detector("path of this machine", texts, pattern),)


# A path ends at a blank, or at a character that Ruby and engines put after one.
_PATH_REST = r"[^\s\"'`<>()\[\]{},;:|]{0,200}"

# `#<Foo::Bar:0x…`, `#<#<Class:0x…>:0x…`, `#<#<Module:0x…>::Foo:0x…`: how Ruby itself shows an object.
_RUBY_OBJECT = (
    r"#<(?:[\w:\x80-\xff]{1,200}|#<(?:Class|Module):0x[0-9a-f]{1,16}>(?:::[\w\x80-\xff]{1,200}){0,9})"
    r":0x[0-9a-f]{1,16}"
)

# The files in `<internal:…>` that CRuby 3.0 to 4.0 has. It names files of libraries so, too, but those are paths.
_RUBY_INTERNAL = (
    "array|ast|dir|gc|gem_prelude|hash|io|jit_hook|jit_undef|kernel|marshal|nilclass|numeric|pack|pathname_builtin"
    "|prelude|ractor|rjit|rjit_c|symbol|thread_sync|timev|trace_point|warning|yjit|yjit_hook|zjit"
)

# Every pattern begins with a literal, or with a lookbehind that rarely matches, and bounds its repetitions: none
# takes more than linear time.
DETECTORS: tuple[Detector, ...] = (
    # An address changes from run to run, and says something about the host's memory.
    Detector(
        "raw pointer",
        ["0x"],
        rf"(?P<own>{_RUBY_OBJECT})|(?<![\w&])0x[0-9a-fA-F]{{6,16}}(?![\w.])",
        # The source formats numbers as hexadecimal.
        r"0x[\"'%#]|%[-+ 0#\d.]*[xXpaA]",
    ),
    # A Rust value was printed with {:?}.
    Detector("Rust PhantomData", ["PhantomData"], r"\bPhantomData\b(?:<[^>\n]{0,100}>)?"),
    # A Rust Option or Result was printed with {:?}.
    Detector(
        "Rust enum",
        ["Some(", "Ok(", "Err(", ": None"],
        r"(?<![\w.:#])(?P<word>(?:Some|Ok|Err)(?=\([\w\"'(\[{&-])|(?<=\w: )None(?= ?[,}\n]))[^\n]{0,80}",
    ),
    Detector(
        "Rust struct dump", [" { ", " {\n"], r"\b[A-Z]\w{0,99} \{(?: |\n {1,40})[a-z_]\w{0,99}: [^\n]{0,100}"
    ),
    # The text differs by build.
    Detector(
        "Rust panic",
        ["panicked at", "RUST_BACKTRACE", "::unwrap()"],
        r"thread '[^'\n]{0,100}' (?:\(\d{1,20}\) )?panicked at[^\n]{0,100}|\bRUST_BACKTRACE\b"
        r"|called `(?:Option|Result)::unwrap\(\)`[^\n]{0,100}",
    ),
    # A file and line of the source that the engine or the artifact was built from.
    Detector(
        "native source position",
        [".rs:", ".cc:", ".cpp:", "Assertion failed: "],
        r"(?<![\w./\\-])[\w./\\-]{1,200}\.(?:rs|cc|cpp):\d{1,9}(?::\d{1,9})?"
        r"|Assertion failed: [^\n]{0,200}\([\w./\\-]{1,200}: \w{1,100}: \d{1,9}\)",
    ),
    # The same, of C: as CRuby, libc and debuggers word it, so that something follows the number.
    Detector(
        "C source position",
        [".c:", ".h:"],
        r"(?<![\w./\\-])(?P<word>[\w./\\-]{1,200}\.[ch]):\d{1,9}(?=[:)\r]|$)",
    ),
    # The file name of code that belongs to an artifact, not to its guest. CRuby gives such names to those of its own
    # methods that are written in Ruby: they are the language's.
    Detector(
        "frame of the artifact",
        ["<internal:"],
        rf"<internal:(?!(?:{_RUBY_INTERNAL})>)\w{{1,100}}>(?::\d{{1,9}})?",
    ),
    Detector(
        "host path",
        [
            *(f"/{folder}/" for folder in ("home", "root", "Users", "tmp", "var", "nix/store", "opt")),
            "/usr/lib",
            "/workspace",
        ],
        r"(?<![\w.~/%-])(?P<word>(?:/private)?/(?:home|root|Users|tmp|nix/store|opt/hostedtoolcache|workspaces?"
        rf"|var/(?:folders|lib|tmp|run|cache|log)|usr/lib(?:32|64)?(?!/ruby))/){_PATH_REST}",
    ),
    Detector(
        "Windows path",
        [":\\"],
        r"(?<!\w)[A-Za-z]:\\{1,2}(?:Users|Windows|Program Files|ProgramData|Temp)\\{1,2}[^\s\"']{0,200}",
    ),
    Detector("file URL", ["file:///"], r"file:///[^\s\"'<>)]{1,200}"),
    Detector(
        "package path",
        ["node_modules/", ".cargo/", "/rustc/", "-packages/"],
        r"(?:\bnode_modules/|\.cargo/(?:registry|git)/|/rustc/(?=[0-9a-f]{6})|\b(?:site|dist)-packages/)"
        rf"{_PATH_REST}",
    ),
    Detector(
        "engine backtrace",
        ["wasm", "<unknown>!"],
        r"wasm backtrace:|error while executing at wasm|<wasm function \d{1,9}>|wasm://wasm/[^\s)]{0,100}"
        r"|wasm-function\[\d{1,9}\](?::0x[0-9a-f]{1,16})?|\.wasm-function\b|@\[wasm code\]"
        r"|<unknown>!\S{1,100}",
    ),
    # The engine's own words for a trap belong in the ending.
    Detector(
        "engine trap",
        ["wasm", "WebAssembly.", "RuntimeError: ", "RangeError: Max", "InternalError: too"],
        r"wasm trap: ?[^\n]{0,100}|wasm `unreachable` instruction executed|\bWebAssembly\.RuntimeError\b"
        # A Ruby program may raise RuntimeError with these words, but then they are in its source.
        r"|(?<!#<)\bRuntimeError: (?P<word>[Uu]nreachable|memory access out of bounds|[Oo]ut of bounds"
        r"|index out of bounds|table index is out of bounds|null function|indirect call)[^\n]{0,100}"
        r"|\bRangeError: Maximum call stack size exceeded|\bInternalError: too much recursion",
    ),
    Detector(
        "engine name",
        ["wasmtime", "wasmer", "cranelift", "v8::", "workerd::"],
        r"\b(?:wasmtime|wasmer|cranelift|v8|workerd)(?:_\w{1,50})?::\w{1,100}",
    ),
    Detector(
        "JavaScript frame",
        [" at ", "\tat "],
        r"^[ \t]{1,20}at [^\n]{0,200}?(?:\S:\d{1,9}:\d{1,9}\)?|\(native\)|<anonymous>\)?)[ \t\r]*$",
    ),
    Detector(
        "JavaScript module",
        ["@http", "@file:", "@blob:", "@[native code]", "node:internal/", "ext:"],
        r"@(?:https?|file|blob)://?\S{1,200}:\d{1,9}|@\[native code\]|\bnode:internal/[\w/]{1,100}"
        r"|\bext:(?:core|runtime|deno_\w{1,30}|cli)/[\w./]{1,100}",
    ),
    # The guest was made to believe that it writes to a terminal.
    Detector(
        "ANSI escape",
        ["\x1b[", "\x1b]"],
        r"\x1b(?:\[[0-?]{0,50}[ -/]{0,10}[@-~]|\][^\x07\x1b\n]{0,100})",
        r"\x1b|\\e|\\x1[bB]|\\0?33|\\u\{?0*1[bB]|\b27\b|\b0x1[bB]\b|highlight: *true",
        in_text_only=True,
    ),
    # Bytes that are not UTF-8 were decoded on their way, and are lost.
    Detector("replaced character", ["\ufffd"], "\ufffd", r"(?i:fffd)|scrub|replace|65533", in_text_only=True),
)
