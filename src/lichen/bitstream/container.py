"""The container of a `.lic` file: a header and checked sections. Bytes and integers only."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from lichen.bitstream.fields import Cursor, Header, Varint, read_header, write_header
from lichen.errors import BadFile, TruncatedFile, UnsupportedFile

_MORE = 0x80  # tag bit: another section follows
_LENGTH = Varint(0, 2**35 - 1)
_CHECK_BYTES = 4
_GROUPS_MAX = 1024


class Kind(IntEnum):
    """Section kinds. Odd ones are critical, even ones may be skipped by a reader that lacks them."""

    LATENTS = 1
    ICC = 2
    ALPHA = 3
    EXIF = 4
    XMP = 6
    GROUP = 7  # may be repeated


@dataclass(frozen=True)
class Container:
    """A parsed file: its header and its sections' payloads by kind, unknown ancillary ones left out.

    `groups` are the payloads of the latents' channel groups in order, in files that have no section `LATENTS`.
    """

    header: Header
    sections: Mapping[int, bytes] = field(default_factory=dict)
    groups: tuple[bytes, ...] = ()

    @property
    def latents(self) -> tuple[bytes, ...]:
        """The streams of the latents: one, or one for each channel group."""
        return self.groups or (self.sections[Kind.LATENTS],)


def write_container(container: Container) -> bytes:
    """The bytes of a file, sections in ascending order of kind."""
    header = write_header(container.header)
    out, check = [header], zlib.crc32(header)
    sections = sorted(container.sections.items()) + [(int(Kind.GROUP), payload) for payload in container.groups]
    for place, (kind, payload) in enumerate(sections, 1):
        tag = kind | (_MORE if place < len(sections) else 0)
        section = bytes([tag]) + _LENGTH.write(len(payload)) + payload
        check = zlib.crc32(section, check)
        out += [section, check.to_bytes(_CHECK_BYTES, "little")]
    return b"".join(out)


def read_container(data: bytes) -> Container:
    """Parse and check a whole file. Raises `BadFile` (`TruncatedFile` for one that is cut) or `UnsupportedFile`.

    Allocates nothing beyond the file's own size, whatever its header claims.
    """
    found = _Found(Cursor(data))
    found.look(None)
    if found.cut:
        hope = f"; {len(found.groups)} of its channel groups arrived, which `first` decodes" if found.groups else ""
        raise TruncatedFile(f"the file is truncated: get it anew{hope}")
    if found.cursor.at != len(data):
        raise BadFile("bytes follow the end of the file; get it anew")
    return found.container()


def read_arrived(data: bytes, count: int | None = None) -> Container:
    """As `read_container` of a file that may be cut: its first `count` channel groups, or those that arrived whole.

    What follows is not looked at. Raises `TruncatedFile` where too few arrived.
    """
    found = _Found(Cursor(data))
    found.look(count)
    if found.cut and len(found.groups) < (count or 1):
        raise TruncatedFile(f"the file is truncated, {len(found.groups)} of its channel groups arrived: get it anew")
    return found.container()


class _Found:
    """What has been found in a file so far; `cut` says that it ended too early."""

    def __init__(self, cursor: Cursor) -> None:
        self.cursor, self.header = cursor, read_header(cursor)
        self.check = zlib.crc32(cursor.data[: cursor.at])
        self.sections: dict[int, bytes] = {}
        self.groups: list[bytes] = []
        self.cut = False

    def look(self, count: int | None) -> None:
        """Go on to the end of the file, or of this many channel groups. Raises `BadFile` on damage."""
        more = True
        try:
            while more and len(self.groups) != count:
                more = self._section()
        except TruncatedFile:
            self.cut = True

    def _section(self) -> bool:
        """Take a section; whether another one follows."""
        cursor, start = self.cursor, self.cursor.at
        tag = cursor.take(1)[0]
        payload = cursor.take(_LENGTH.read(cursor))
        self.check = zlib.crc32(memoryview(cursor.data)[start : cursor.at], self.check)
        if cursor.take(_CHECK_BYTES) != self.check.to_bytes(_CHECK_BYTES, "little"):
            raise BadFile("a checksum does not match: the file is damaged; get it anew")
        self._keep(tag & ~_MORE, payload)
        return bool(tag & _MORE)

    def _keep(self, kind: int, payload: bytes) -> None:
        if kind == Kind.GROUP and len(self.groups) < _GROUPS_MAX:
            self.groups.append(payload)
        elif kind in self.sections or self.groups:
            raise BadFile("a section appears twice or after the last: the file is damaged; get it anew")
        else:
            self.sections[kind] = payload

    def container(self) -> Container:
        """All of it. Raises `UnsupportedFile` on a section that may not be skipped, `BadFile` without latents."""
        known = {int(kind) for kind in Kind}
        critical = [kind for kind in self.sections if kind % 2 and kind not in known]
        if critical:
            raise UnsupportedFile(f"the file needs a newer Lichen (section kind {critical[0]}); upgrade it")
        if bool(self.groups) == (Kind.LATENTS in self.sections):
            raise BadFile("the file has no latents, or two kinds of them: it is damaged; get it anew")
        kept = {kind: payload for kind, payload in self.sections.items() if kind in known}
        return Container(self.header, kept, tuple(self.groups))
