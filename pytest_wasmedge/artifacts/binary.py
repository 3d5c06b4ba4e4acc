"""The parts of the WebAssembly binary format that we read and write: sections, numbers, names, limits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pytest_wasmedge.errors import ArtifactError

#: The first bytes of every core module and component.
MAGIC = b"\0asm"
HEADER_BYTES = 8
KINDS = ("function", "table", "memory", "global", "tag")
SECTIONS = (
    "custom", "type", "import", "function", "table", "memory", "global",
    "export", "start", "element", "code", "data", "data count", "tag",
)  # fmt: skip


@dataclass(slots=True)
class Reader:
    """Reads the values of one section from ``at`` on, never past its end; ``called`` names the bytes in messages."""

    data: bytes
    at: int
    end: int
    section: str
    called: str

    def byte(self) -> int:
        """Read one byte."""
        if self.at >= self.end:
            raise self.damaged("ends in the middle of an entry")
        self.at += 1
        return self.data[self.at - 1]

    def number(self) -> int:
        """Read an unsigned LEB128 number of at most 64 bits."""
        value = 0
        for shift in range(0, 70, 7):
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise self.damaged("holds a number that does not end")

    def name(self) -> str:
        """Read a name: its length, then UTF-8."""
        length = self.number()
        if length > self.end - self.at:
            raise self.damaged("ends in the middle of a name")
        raw = self.data[self.at : self.at + length]
        self.at += length
        try:
            return raw.decode()
        except UnicodeDecodeError:
            raise self.damaged("holds a name that is not UTF-8") from None

    def limits(self) -> tuple[int, int | None]:
        """Read the limits of a memory or table."""
        flags = self.byte()
        smallest = self.number()
        largest = self.number() if flags & 1 else None
        if flags & 8:  # custom page sizes: the binary logarithm of the size
            self.number()
        return smallest, largest

    def value_type(self) -> None:
        """Skip a value type."""
        if self.byte() in (0x63, 0x64):  # a typed reference names its heap type
            self.number()

    def damaged(self, what: str) -> ArtifactError:
        """Return the error for what is wrong at the current byte."""
        return ArtifactError(
            f"{self.called} is damaged: its {self.section} section {what} (byte {self.at}). "
            "Copy or build it again."
        )


def sections(data: bytes, called: str) -> Iterator[tuple[int, int, int]]:
    """Yield (number, start, end) of every section's content; a module's numbers index SECTIONS.

    ``called`` names the bytes in messages. Raises ArtifactError for damaged or truncated bytes.
    """
    at = HEADER_BYTES
    while at < len(data):
        if data[at] >= len(SECTIONS):
            raise ArtifactError(
                f"{called} is damaged: there is no section number {data[at]} (byte {at}). Copy or build it again."
            )
        size, start = _section_size(data, at + 1)
        if start < 0 or start + size > len(data):
            raise ArtifactError(
                f"{called} is truncated: it ends inside its {SECTIONS[data[at]]} section, which begins at byte {at}. "
                "Copy or build it again."
            )
        yield data[at], start, start + size
        at = start + size


def _section_size(data: bytes, at: int) -> tuple[int, int]:
    """Return a section's size and the start of its content; (0, -1) if the size is cut off."""
    reader = Reader(data, at, min(at + 5, len(data)), "size", "")
    try:
        return reader.number(), reader.at
    except ArtifactError:
        return 0, -1


def with_section(data: bytes, number: int, content: bytes) -> bytes:
    """Return the module or component with new content in its first section of this number."""
    end_before = HEADER_BYTES
    for found, _, end in sections(data, "the module"):
        if found == number:
            head = data[:end_before] + bytes([number]) + encode_number(len(content))
            return head + content + data[end:]
        end_before = end
    return data


def encode_number(value: int) -> bytes:
    """Return an unsigned LEB128 number."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def encode_name(name: str) -> bytes:
    """Return a name: its length, then UTF-8."""
    raw = name.encode()
    return encode_number(len(raw)) + raw
