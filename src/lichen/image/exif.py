"""The EXIF block of a picture: its orientation set to upright in place, and what was edited since it was read.

An EXIF block is a small TIFF file after the mark `Exif\\0\\0` (CIPA DC-008, 4.5): a header of 8 bytes, then
directories of 12-byte entries (tag, type, count, value or its offset). Offsets count from the header.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Container, Mapping
from dataclasses import dataclass, replace
from typing import Any

from PIL import ExifTags, Image

MARK = b"Exif\0\0"
ORIENTATION = int(ExifTags.Base.Orientation)
EXIF_IFD, GPS_IFD = int(ExifTags.IFD.Exif), int(ExifTags.IFD.GPSInfo)
_INTEROP_IFD = int(ExifTags.IFD.Interop)
DAMAGED = "its EXIF block is damaged and was left out"
_ORDERS = {b"II*\0": "<", b"MM\0*": ">", b"II\0*": "<", b"MM*\0": ">"}  # the latter two are wrong, and read by Pillow
_HEADERS = {"<": b"II*\0", ">": b"MM\0*"}
_HEADER_BYTES, _ENTRY_BYTES = 8, 12
_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 129: 1}
_WHOLE = {3: "H", 4: "I"}  # SHORT and LONG
_THUMBNAIL_OFFSET, _THUMBNAIL_BYTES = 513, 514
_SIDES, _PIXEL_SIDES = (256, 257), (0xA002, 0xA003)  # width and height, as the first and the EXIF directory state them
_RAISED = (  # by Pillow on damaged blocks and on values that it cannot write
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    Warning,
    struct.error,
)
# Tags of a TIFF file that describe the picture; all others describe how the file is laid out.
_TIFF_KEPT = {269, 270, 271, 272, 274, 282, 283, 296, 305, 306, 315, 316, 18246, *range(40091, 40096), 33432}


def without_marks(block: bytes) -> bytes:
    """The TIFF part of a block, whatever number of marks stands before it."""
    return re.sub(rb"^(Exif\0\0)+", b"", block)


def upright(block: bytes, turned: bool, sideways: bool = False) -> tuple[bytes | None, tuple[str, ...]]:
    """The same block with orientation 1, nothing else touched; None where it has no readable directory.

    Every entry of the orientation, whatever its type, becomes the SHORT 1. A directory that states more entries than
    there are is closed behind the last whole one, and entries whose value lies outside of the block are taken out.
    With `turned`, the picture was not upright before, and its embedded thumbnail, which still is not, is blanked. With
    `sideways` width and height have changed places, and those that are stated do. Also returns notices of what was
    lost.
    """
    body = bytearray(without_marks(block))
    order = _ORDERS.get(bytes(body[:4]))
    if order is None or len(body) < _HEADER_BYTES + 2:
        return None, (DAMAGED,) if body else ()
    body[:4] = _HEADERS[order]
    at = struct.unpack_from(order + "I", body, 4)[0]
    if not _HEADER_BYTES <= at <= len(body) - 2:
        return None, (DAMAGED,)
    stated = struct.unpack_from(order + "H", body, at)[0]
    entries, following = _entries(body, at, order)
    notices: list[str] = []
    are_all = len(entries) == stated
    entries = [entry for entry in entries if _is_within(entry, order, len(body), unknown=are_all)]
    if len(entries) < stated:
        notices.append(f"its EXIF block is damaged: {len(entries)} of {stated} entries were kept")
        following = following if are_all else 0
    if not entries:
        return None, (DAMAGED,) if stated else ()
    if turned and following and _blank_thumbnail(body, following, order):
        notices.append("its EXIF thumbnail, which was not turned, was left out")
        following = 0
    if sideways:
        entries = _exchanged(entries, *_SIDES, order)
        _exchange_within(body, entries, order)
    one = struct.pack(order + "HHIHH", ORIENTATION, 3, 1, 1, 0)
    kept = [one if struct.unpack_from(order + "H", entry)[0] == ORIENTATION else entry for entry in entries]
    directory = struct.pack(order + "H", len(kept)) + b"".join(kept) + struct.pack(order + "I", following)
    body[at : at + len(directory)] = directory
    return MARK + bytes(body), tuple(notices)


def _exchanged(entries: list[bytes], width: int, height: int, order: str) -> list[bytes]:
    """The entries of a directory, the values of these two tags exchanged where both are there."""
    tags = [struct.unpack_from(order + "H", entry)[0] for entry in entries]
    if tags.count(width) != 1 or tags.count(height) != 1:
        return entries
    across, down = tags.index(width), tags.index(height)
    found = list(entries)
    found[across], found[down] = entries[across][:2] + entries[down][2:], entries[down][:2] + entries[across][2:]
    return found


def _exchange_within(body: bytearray, entries: list[bytes], order: str) -> None:
    """Exchange the stated width and height of the picture in the EXIF directory, which an entry points to."""
    for entry in entries:
        tag, _, _, at = struct.unpack(order + "HHII", entry)
        if tag == EXIF_IFD and _HEADER_BYTES <= at <= len(body) - 2:
            inner = b"".join(_exchanged(_entries(body, at, order)[0], *_PIXEL_SIDES, order))
            body[at + 2 : at + 2 + len(inner)] = inner


def _entries(body: bytearray, at: int, order: str) -> tuple[list[bytes], int]:
    """The whole entries of the directory at this offset, and the offset of the next one or 0."""
    first = at + 2
    if at + 2 > len(body):
        return [], 0
    count = min(struct.unpack_from(order + "H", body, at)[0], (len(body) - first) // _ENTRY_BYTES)
    end = first + count * _ENTRY_BYTES
    following = struct.unpack_from(order + "I", body, end)[0] if end + 4 <= len(body) else 0
    return [bytes(body[place : place + _ENTRY_BYTES]) for place in range(first, end, _ENTRY_BYTES)], following


def _is_within(entry: bytes, order: str, length: int, unknown: bool) -> bool:
    """Whether the value of an entry lies within the block, at which Pillow stops reading; `unknown`: of other types."""
    _, kind, count, value = struct.unpack(order + "HHII", entry)
    if kind not in _TYPE_BYTES:
        return unknown
    size = _TYPE_BYTES[kind] * count
    return bool(size <= 4 or value + size <= length)


def _blank_thumbnail(body: bytearray, at: int, order: str) -> bool:
    """Overwrite the JPEG of the directory at this offset with zeros; False where there is none."""
    found = {}
    for entry in _entries(body, at, order)[0]:
        tag, kind = struct.unpack_from(order + "HH", entry)
        found[tag] = struct.unpack_from(order + _WHOLE.get(kind, "I"), entry, 8)[0]
    start, size = found.get(_THUMBNAIL_OFFSET, 0), found.get(_THUMBNAIL_BYTES, 0)
    if not start or not size or start + size > len(body):
        return False
    body[start : start + size] = bytes(size)
    return True


@dataclass(frozen=True)
class CurrentExif:
    """What EXIF says of an image now: its block as bytes or None, its orientation (1 ... 8) or None, and notices.

    `gps_removed`: the file had a GPS position, and somebody took it out.
    """

    block: bytes | None
    orientation: object = None
    notices: tuple[str, ...] = ()
    gps_removed: bool = False


def current_exif(image: Image.Image, given: bytes | None = None) -> CurrentExif:
    """The EXIF block of an image as `image.getexif()` says now, or the `given` one (empty for none).

    As long as nobody changed what `getexif` returns, these are the file's own bytes. TIFF files, which have no block,
    give one of the tags that describe the picture. Bytes that were put into `image.info` later count as they are.
    """
    stored = _stored_block(image)
    try:
        live = image.getexif()
    except _RAISED:
        live = Image.Exif()
    found = _stated_by(given) if given is not None else _current(image, stored, live)
    loaded = getattr(live, "_loaded_exif", None)
    had_gps = any(_has_gps(block) for block in (stored, loaded)) or GPS_IFD in getattr(image, "tag_v2", ())
    return replace(found, gps_removed=had_gps and not _has_gps(found.block))


def _current(image: Image.Image, stored: bytes | None, live: Image.Exif) -> CurrentExif:
    loaded, orientation = getattr(live, "_loaded_exif", None), live.get(ORIENTATION)
    if orientation is None and stored is not None:
        orientation = _unseen_orientation(stored)
    if stored is not None and stored != loaded and without_marks(stored) != loaded:
        return _stated_by(stored)
    try:
        if stored is None and image.format == "TIFF":
            return CurrentExif(_written(live, _TIFF_KEPT), orientation)
        if stored is None and loaded is not None:  # it was taken out of `image.info`
            return CurrentExif(None, orientation)
        if _facts(live) == _facts(_read(stored)):
            return CurrentExif(stored, orientation)
        return CurrentExif(_written(live), orientation)
    except _RAISED:  # values that Pillow cannot write
        return CurrentExif(None, orientation, (DAMAGED,))


def _stated_by(block: bytes) -> CurrentExif:
    """The same of a block alone."""
    try:
        orientation = _read(block).get(ORIENTATION)
    except _RAISED:
        orientation = None
    return CurrentExif(block or None, _unseen_orientation(block) if orientation is None else orientation)


def _unseen_orientation(block: bytes) -> int | None:
    """An orientation that Pillow does not see, as it stops at a damaged entry, and other viewers do."""
    try:
        seen = ORIENTATION in _read(block)
    except _RAISED:
        seen = False
    return None if seen else _plain_orientation(block)


def _plain_orientation(block: bytes) -> int | None:
    """The orientation that the first directory states as SHORT or LONG."""
    body = bytearray(without_marks(block))
    order = _ORDERS.get(bytes(body[:4]))
    if order is None or len(body) < _HEADER_BYTES:
        return None
    for entry in _entries(body, struct.unpack_from(order + "I", body, 4)[0], order)[0]:
        tag, kind = struct.unpack_from(order + "HH", entry)
        if tag == ORIENTATION and kind in _WHOLE:
            return int(struct.unpack_from(order + _WHOLE[kind], entry, 8)[0])
    return None


def _has_gps(block: bytes | None) -> bool:
    try:
        return bool(_read(block).get_ifd(GPS_IFD))
    except _RAISED:
        return False


def _read(block: bytes | None) -> Image.Exif:
    exif = Image.Exif()
    if block is not None:
        exif.load(without_marks(block))
    return exif


def _stored_block(image: Image.Image) -> bytes | None:
    """The bytes of the block in `image.info`; also those that ImageMagick writes as text into PNG files."""
    block = image.info.get("exif")
    if isinstance(block, bytes):
        return block or None
    for name in ("Raw profile type exif", "Raw profile type APP1"):
        raw = raw_profile(image.info.get(name))
        if raw is not None and without_marks(raw)[:4] in _ORDERS:
            return raw
    return None


def raw_profile(text: object) -> bytes | None:
    """The bytes of a "Raw profile type ..." text of a PNG file: a name, a length, then hexadecimal lines."""
    if not isinstance(text, str):
        return None
    lines = text.strip("\n").split("\n")
    try:
        return bytes.fromhex("".join(lines[2:]))
    except ValueError:
        return None


def _facts(exif: Image.Exif) -> list[Any]:
    """What an `Exif` states, its orientation aside, comparable: rational numbers of 0 / 0 do not equal themselves."""
    own = [_fact(exif, tag) for tag in sorted(exif) if tag != ORIENTATION]
    nested = (_nested(exif, ifd) for ifd in (EXIF_IFD, GPS_IFD))
    return own + [sorted(_fact(directory, tag) for tag in directory) for directory in nested]


def _nested(exif: Image.Exif, ifd: int) -> dict[int, Any]:
    """A directory within, empty where there is none. One that was assigned Pillow's `get_ifd` cannot take."""
    value = exif.get(ifd)
    if isinstance(value, Mapping):
        return dict(value)
    if value is None and ifd not in getattr(exif, "_ifds", ()):
        return {}  # asked for, Pillow would note it as there
    return dict(exif.get_ifd(ifd))


def _fact(directory: Mapping[int, Any], tag: int) -> tuple[int, str]:
    try:
        return tag, repr(directory[tag])
    except _RAISED:  # too short for its type, for example
        return tag, "unreadable"


def _written(found: Image.Exif, tags: Container[int] = range(2**16)) -> bytes | None:
    """Those `tags` of an `Exif`, and its directories, as a block; None where it states nothing."""
    kept = Image.Exif()
    kept.endian = found.endian
    for tag, value in found.items():
        if tag in tags and tag not in {EXIF_IFD, GPS_IFD}:
            kept[tag] = value
    for ifd in (EXIF_IFD, GPS_IFD):
        directory = _nested(found, ifd)
        if _INTEROP_IFD in directory:
            directory[_INTEROP_IFD] = found.get_ifd(_INTEROP_IFD)
        if directory:
            kept[ifd] = directory
    return kept.tobytes() if len(kept) else None
