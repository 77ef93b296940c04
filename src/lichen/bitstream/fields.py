"""The header of a `.lic` file: one description that reads, writes, measures and prints it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Protocol

from lichen.errors import BadFile, TruncatedFile, UnsupportedFile

MAGIC = b"\x8bLC"
VERSION = 1
GREY = 1  # flag bit: the picture comes back as greyscale
FILTERED = 2  # flag bit: behind the latents, in their last stream, a filter of the picture's own is stated
TRELLIS = 4  # flag bit: latents of larger scales are trellis-coded
KNOWN_FLAGS = GREY | FILTERED | TRELLIS


class Cursor:
    """Reads a file's bytes from the front. Raises `TruncatedFile` at its end."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, count: int) -> bytes:
        """The next `count` bytes."""
        if count > len(self.data) - self.at:
            raise TruncatedFile("the file is truncated; get it anew")
        self.at += count
        return self.data[self.at - count : self.at]


class Field(Protocol):
    """How one kind of field is written and read."""

    def write(self, value: Any) -> bytes:
        """The bytes of a value. Raises `ValueError` for one that the field cannot hold."""
        ...

    def read(self, cursor: Cursor) -> Any:
        """The value at the cursor, which moves on. Raises `BadFile` for what no writer writes, `TruncatedFile`."""
        ...


@dataclass(frozen=True)
class Varint:
    """Unsigned LEB128 within [low, high], shortest form only."""

    low: int
    high: int

    def write(self, value: int) -> bytes:
        if not self.low <= value <= self.high:
            raise ValueError(f"{value} is outside {self.low} ... {self.high}")
        out = bytearray()
        while value >= 128:
            out.append(value & 127 | 128)
            value >>= 7
        out.append(value)
        return bytes(out)

    def read(self, cursor: Cursor) -> int:
        value = shift = 0
        while True:
            byte = cursor.take(1)[0]
            value |= (byte & 127) << shift
            if byte < 128:
                break
            shift += 7
            if shift > 35:
                raise BadFile("a number in the file is too long: the file is damaged; get it anew")
        if (byte == 0 and shift) or not self.low <= value <= self.high:
            raise BadFile(f"a number in the file is impossible ({value}): the file is damaged; get it anew")
        return value


@dataclass(frozen=True)
class Raw:
    """A fixed number of bytes."""

    size: int

    def write(self, value: bytes) -> bytes:
        if len(value) != self.size:
            raise ValueError(f"{self.size} bytes wanted, not {len(value)}")
        return value

    def read(self, cursor: Cursor) -> bytes:
        return cursor.take(self.size)


SIDE_MAX = 2**24 - 1


@dataclass(frozen=True)
class Header:
    """What stands before the sections. `quality_index` counts 1/512 of the way between two trained rates."""

    model: int
    weights: bytes
    width: int
    height: int
    quality_index: int
    flags: int


# The description: field by field, in file order. Everything below follows from it.
_LAYOUT: dict[str, Field] = {
    "model": Varint(0, 2**16 - 1),
    "weights": Raw(4),
    "width": Varint(1, SIDE_MAX),
    "height": Varint(1, SIDE_MAX),
    "quality_index": Varint(0, 2**16 - 1),
    "flags": Varint(0, 2**28 - 1),
}
assert tuple(_LAYOUT) == tuple(f.name for f in fields(Header))


def write_header(header: Header) -> bytes:
    """Magic, version and the fields."""
    body = b"".join(codec.write(getattr(header, name)) for name, codec in _LAYOUT.items())
    return MAGIC + bytes([VERSION]) + body


def read_header(cursor: Cursor) -> Header:
    """The inverse of `write_header`. Raises `BadFile`, or `UnsupportedFile` for a newer version."""
    if cursor.data[: len(MAGIC)] != MAGIC[: len(cursor.data)] or not cursor.data:
        raise BadFile("not a .lic file; give one that Lichen wrote")
    cursor.take(len(MAGIC))
    version = cursor.take(1)[0]
    if version != VERSION:
        raise UnsupportedFile(f"the file has format version {version}, this Lichen reads {VERSION}; upgrade it")
    header = Header(**{name: codec.read(cursor) for name, codec in _LAYOUT.items()})
    if header.flags & ~KNOWN_FLAGS:
        raise UnsupportedFile("the file uses features of a newer Lichen; upgrade it")
    return header


def header_size_bytes(header: Header) -> int:
    """How many bytes `write_header` gives."""
    return len(write_header(header))


def describe_header(header: Header) -> dict[str, Any]:
    """The fields as plain values, for people and JSON, by their names in docs/format.md."""
    values = {name: getattr(header, name) for name in _LAYOUT}
    return {name: value.hex() if isinstance(value, bytes) else value for name, value in values.items()}
