"""The container of a `.lic` file: a header and checked sections. Bytes and integers only."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from lichen.bitstream.fields import Cursor, Header, Varint, read_header, write_header
from lichen.errors import BadFile, UnsupportedFile

_MORE = 0x80  # tag bit: another section follows
_LENGTH = Varint(0, 2**35 - 1)
_CHECK_BYTES = 4


class Kind(IntEnum):
    """Section kinds. Odd ones are critical, even ones may be skipped by a reader that lacks them."""

    LATENTS = 1
    ICC = 2
    ALPHA = 3
    EXIF = 4
    XMP = 6


@dataclass(frozen=True)
class Container:
    """A parsed file: its header and its sections' payloads by kind, unknown ancillary ones left out."""

    header: Header
    sections: Mapping[int, bytes]


def write_container(container: Container) -> bytes:
    """The bytes of a file, sections in ascending order of kind."""
    header = write_header(container.header)
    out, check = [header], zlib.crc32(header)
    kinds = sorted(container.sections)
    for kind in kinds:
        payload = container.sections[kind]
        tag = kind | (_MORE if kind != kinds[-1] else 0)
        section = bytes([tag]) + _LENGTH.write(len(payload)) + payload
        check = zlib.crc32(section, check)
        out += [section, check.to_bytes(_CHECK_BYTES, "little")]
    return b"".join(out)


def read_container(data: bytes) -> Container:
    """Parse and check a whole file. Raises `BadFile` or `UnsupportedFile`.

    Allocates nothing beyond the file's own size, whatever its header claims.
    """
    cursor = Cursor(data)
    header = read_header(cursor)
    check = zlib.crc32(data[: cursor.at])
    sections: dict[int, bytes] = {}
    more = True
    while more:
        start = cursor.at
        tag = cursor.take(1)[0]
        kind, more = tag & ~_MORE, bool(tag & _MORE)
        payload = cursor.take(_LENGTH.read(cursor))
        check = zlib.crc32(memoryview(data)[start : cursor.at], check)
        if cursor.take(_CHECK_BYTES) != check.to_bytes(_CHECK_BYTES, "little"):
            raise BadFile("a checksum does not match: the file is damaged; get it anew")
        if kind in sections:
            raise BadFile("a section appears twice: the file is damaged; get it anew")
        sections[kind] = payload
    if cursor.at != len(data):
        raise BadFile("bytes follow the end of the file; get it anew")
    return Container(header, _known(sections))


def _known(sections: dict[int, bytes]) -> dict[int, bytes]:
    known = {int(kind) for kind in Kind}
    critical = [kind for kind in sections if kind % 2 and kind not in known]
    if critical:
        raise UnsupportedFile(f"the file needs a newer Lichen (section kind {critical[0]}); upgrade it")
    if Kind.LATENTS not in sections:
        raise BadFile("the file has no latents: it is damaged; get it anew")
    return {kind: payload for kind, payload in sections.items() if kind in known}
