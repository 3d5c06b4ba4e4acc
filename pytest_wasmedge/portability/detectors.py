"""The table of what must never show in guest-visible text; each row finds one kind of leak."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pytest_wasmedge.portability.encodings import is_data

# How many different texts of one detector are looked up in the source before it gives up: this bounds the
# cost of a program that prints thousands of its own.
_EXAMINED = 200


@dataclass(frozen=True, slots=True)
class Detector:
    """Finds one kind of leak.

    ``pattern`` is run over a stream only if one of ``needles`` is in it: that makes megabytes cheap. A match
    of its group ``own`` is what guests print themselves. A match is no leak if its group ``word`` (without
    one, all of it) stands in the source, nor is any if ``excused_by`` finds that the source asks for it.
    Patterns so short that random bytes hold them are ``in_text_only``: not looked for in data.
    """

    name: str
    why: str
    needles: tuple[bytes, ...]
    pattern: re.Pattern[bytes]
    excused_by: re.Pattern[bytes] | None = None
    in_text_only: bool = False

    def find(self, data: bytes, source: bytes) -> Iterator[tuple[int, bytes]]:
        """Yield offset and text of each leak in one stream."""
        if not any(needle in data for needle in self.needles):
            return
        if self.excused_by is not None and self.excused_by.search(source):
            return
        if self.in_text_only and is_data(data, source):
            return
        has_word = "word" in self.pattern.groupindex
        excused: set[bytes] = set()
        for match in self.pattern.finditer(data):
            telling = (match["word"] or match[0]) if has_word else match[0].strip()
            if match.lastgroup == "own" or telling in excused:
                continue
            if telling not in source:
                yield match.start(), match[0]
            elif len(excused) == _EXAMINED:
                return
            else:
                excused.add(telling)


def machine_paths(paths: Iterable[str | Path]) -> tuple[Detector, ...]:
    """Return a detector for paths of this machine, none if there are none to look for."""
    texts = sorted({str(path).rstrip("/\\") for path in paths} - {""}, key=len, reverse=True)
    if not texts:
        return ()
    alternatives = "|".join(map(re.escape, texts))
    return (
        _detector(
            "path of this machine",
            "no guest can know it, so a host has told",
            texts,
            rf"(?<![\w./-])(?:{alternatives})(?![\w-]){_PATH_REST}",
        ),
    )


def _detector(
    name: str,
    why: str,
    needles: Iterable[str],
    pattern: str,
    excused_by: str | None = None,
    in_text_only: bool = False,
) -> Detector:
    return Detector(
        name,
        why,
        tuple(needle.encode() for needle in needles),
        re.compile(pattern.encode(), re.MULTILINE),
        re.compile(excused_by.encode()) if excused_by else None,
        in_text_only,
    )


# Where a path ends: at a blank, and at what Ruby and engines put behind one.
_PATH_REST = r"[^\s\"'`<>()\[\]{},;:|]{0,200}"

# `#<Foo::Bar:0x…`, `#<#<Class:0x…>:0x…`, `#<#<Module:0x…>::Foo:0x…`: how Ruby itself shows an object.
_RUBY_OBJECT = (
    r"#<(?:[\w:\x80-\xff]{1,200}|#<(?:Class|Module):0x[0-9a-f]{1,16}>(?:::[\w\x80-\xff]{1,200}){0,9})"
    r":0x[0-9a-f]{1,16}"
)

# Every pattern begins with a literal, or with a lookbehind that lets it begin at few places, and has bounded
# repetitions: none takes more than linear time.
DETECTORS: tuple[Detector, ...] = (
    _detector(
        "raw pointer",
        "an address changes from run to run and tells about the host's memory",
        ["0x"],
        rf"(?P<own>{_RUBY_OBJECT})|(?<![\w&])0x[0-9a-fA-F]{{6,16}}(?![\w.])",
        # The source formats numbers as hexadecimal.
        r"0x[\"'%#]|%[-+ 0#\d.]*[xXpaA]",
    ),
    _detector(
        "Rust PhantomData",
        "a Rust value was printed with {:?}",
        ["PhantomData"],
        r"\bPhantomData\b(?:<[^>\n]{0,100}>)?",
    ),
    _detector(
        "Rust enum",
        "a Rust Option or Result was printed with {:?}",
        ["Some(", "Ok(", "Err(", ": None"],
        r"(?<![\w.:#])(?P<word>(?:Some|Ok|Err)(?=\([\w\"'(\[{&-])|(?<=\w: )None(?= ?[,}\n]))[^\n]{0,80}",
    ),
    _detector(
        "Rust struct dump",
        "a Rust struct was printed with {:?}",
        [" { ", " {\n"],
        r"\b[A-Z]\w{0,99} \{(?: |\n {1,40})[a-z_]\w{0,99}: [^\n]{0,100}",
    ),
    _detector(
        "Rust panic",
        "Rust code panicked; the text differs by build",
        ["panicked at", "RUST_BACKTRACE", "::unwrap()"],
        r"thread '[^'\n]{0,100}' (?:\(\d{1,20}\) )?panicked at[^\n]{0,100}|\bRUST_BACKTRACE\b"
        r"|called `(?:Option|Result)::unwrap\(\)`[^\n]{0,100}",
    ),
    _detector(
        "native source position",
        "a file and line of the source that the engine or the artifact was built from",
        [".rs:", ".cc:", ".cpp:", "Assertion failed: "],
        r"(?<![\w./\\-])[\w./\\-]{1,200}\.(?:rs|cc|cpp):\d{1,9}(?::\d{1,9})?"
        r"|Assertion failed: [^\n]{0,200}\([\w./\\-]{1,200}: \w{1,100}: \d{1,9}\)",
    ),
    _detector(
        "host path",
        "a path of the machine that ran or built the artifact",
        [
            *(f"/{folder}/" for folder in ("home", "root", "Users", "tmp", "var", "nix/store", "opt")),
            "/usr/lib",
            "/workspace",
        ],
        r"(?<![\w.~/%-])(?P<word>(?:/private)?/(?:home|root|Users|tmp|nix/store|opt/hostedtoolcache|workspaces?"
        rf"|var/(?:folders|lib|tmp|run|cache|log)|usr/lib(?:32|64)?(?!/ruby))/){_PATH_REST}",
    ),
    _detector(
        "Windows path",
        "a path of the machine that ran or built the artifact",
        [":\\"],
        r"(?<!\w)[A-Za-z]:\\{1,2}(?:Users|Windows|Program Files|ProgramData|Temp)\\{1,2}[^\s\"']{0,200}",
    ),
    _detector(
        "file URL",
        "a path of the machine that ran the artifact",
        ["file:///"],
        r"file:///[^\s\"'<>)]{1,200}",
    ),
    _detector(
        "package path",
        "a file that a package manager put on the host",
        ["node_modules/", ".cargo/", "/rustc/", "-packages/"],
        r"(?:\bnode_modules/|\.cargo/(?:registry|git)/|/rustc/(?=[0-9a-f]{6})|\b(?:site|dist)-packages/)"
        rf"{_PATH_REST}",
    ),
    _detector(
        "engine backtrace",
        "frames of the WebAssembly engine",
        ["wasm", "<unknown>!"],
        r"wasm backtrace:|error while executing at wasm|<wasm function \d{1,9}>|wasm://wasm/[^\s)]{0,100}"
        r"|wasm-function\[\d{1,9}\](?::0x[0-9a-f]{1,16})?|\.wasm-function\b|@\[wasm code\]"
        r"|<unknown>!\S{1,100}",
    ),
    _detector(
        "engine trap",
        "the engine's own wording of a trap: it belongs into the ending",
        ["wasm", "WebAssembly.", "RuntimeError: ", "RangeError: Max", "InternalError: too"],
        r"wasm trap: ?[^\n]{0,100}|wasm `unreachable` instruction executed|\bWebAssembly\.RuntimeError\b"
        # A Ruby program may raise RuntimeError with these words, but they then stand in its source.
        r"|(?<!#<)\bRuntimeError: (?P<word>[Uu]nreachable|memory access out of bounds|[Oo]ut of bounds"
        r"|index out of bounds|table index is out of bounds|null function|indirect call)[^\n]{0,100}"
        r"|\bRangeError: Maximum call stack size exceeded|\bInternalError: too much recursion",
    ),
    _detector(
        "engine name",
        "a symbol of the engine's own code",
        ["wasmtime", "wasmer", "cranelift", "v8::", "workerd::"],
        r"\b(?:wasmtime|wasmer|cranelift|v8|workerd)(?:_\w{1,50})?::\w{1,100}",
    ),
    _detector(
        "JavaScript frame",
        "a line of the host's JavaScript stack",
        [" at ", "\tat "],
        r"^[ \t]{1,20}at [^\n]{0,200}?(?:\S:\d{1,9}:\d{1,9}\)?|\(native\)|<anonymous>\)?)[ \t\r]*$",
    ),
    _detector(
        "JavaScript module",
        "a part of the host's JavaScript",
        ["@http", "@file:", "@blob:", "@[native code]", "node:internal/", "ext:"],
        r"@(?:https?|file|blob)://?\S{1,200}:\d{1,9}|@\[native code\]|\bnode:internal/[\w/]{1,100}"
        r"|\bext:(?:core|runtime|deno_\w{1,30}|cli)/[\w./]{1,100}",
    ),
    _detector(
        "ANSI escape",
        "the guest was made to believe that it writes to a terminal",
        ["\x1b[", "\x1b]"],
        r"\x1b(?:\[[0-?]{0,50}[ -/]{0,10}[@-~]|\][^\x07\x1b\n]{0,100})",
        r"\x1b|\\e|\\x1[bB]|\\0?33|\\u\{?0*1[bB]|\b27\b|\b0x1[bB]\b|highlight: *true",
        in_text_only=True,
    ),
    _detector(
        "replaced character",
        "bytes that are not UTF-8 were decoded on their way, and are lost",
        ["\ufffd"],
        "\ufffd",
        r"(?i:fffd)|scrub|replace|65533",
        in_text_only=True,
    ),
)
