"""What travels beside the pixels: ICC profile, EXIF block and XMP packet, and the orientation they state."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

from PIL import ExifTags, Image

_EXIF_MARK = b"Exif\0\0"
_ORIENTATION = int(ExifTags.Base.Orientation)
_WHOLE = {3: "H", 4: "I"}  # EXIF's SHORT and LONG: Pillow takes an orientation of either
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Tags of a TIFF file that describe the picture; all others describe how the file is laid out.
_TIFF_KEPT = {269, 270, 271, 272, 274, 282, 283, 296, 305, 306, 315, 316, 18246, *range(40091, 40096), 33432}
_TIFF_NESTED = {int(ExifTags.IFD.Exif), int(ExifTags.IFD.GPSInfo)}


@dataclass(frozen=True)
class Metadata:
    """The blocks of a picture, or None: `exif` begins with `Exif\\0\\0`, `xmp` is its XML."""

    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None

    def info(self) -> dict[str, bytes]:
        """Those that are there, by the names of Pillow's `Image.info`."""
        named = {"icc_profile": self.icc, "exif": self.exif, "xmp": self.xmp}
        return {name: block for name, block in named.items() if block}


def read_metadata(image: Image.Image) -> tuple[Metadata, Image.Transpose | None]:
    """The metadata of a Pillow image, made to say "upright", and the turn that makes the image so.

    A damaged EXIF block is dropped.
    """
    icc = image.info.get("icc_profile") or None
    xmp = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp") or None
    xmp = xmp.encode() if isinstance(xmp, str) else xmp
    try:
        turn = _TURNS.get(image.getexif().get(_ORIENTATION, 1))
        exif = _upright(_exif_of(image))
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, SyntaxError, OSError, struct.error):
        turn = exif = None
    if xmp is not None:
        xmp = re.sub(rb'(tiff:Orientation(?:="|>))[0-9]', rb"\g<1>1", xmp)
    return Metadata(icc, exif, xmp), turn


def _exif_of(image: Image.Image) -> bytes | None:
    """The EXIF block as the file has it; TIFF files, which are one themselves, give a block of their facts."""
    block: bytes | None = image.info.get("exif")
    if block:
        return block if block.startswith(_EXIF_MARK) else _EXIF_MARK + block
    found = image.getexif()
    if image.format != "TIFF":
        return found.tobytes() if "Raw profile type exif" in image.info and len(found) else None
    kept = Image.Exif()
    for tag, value in found.items():
        if tag in _TIFF_KEPT | _TIFF_NESTED:
            kept[tag] = found.get_ifd(tag) if tag in _TIFF_NESTED else value
    return kept.tobytes() if len(kept) else None


def _upright(block: bytes | None) -> bytes | None:
    """The same block with orientation 1, nothing else touched. Raises `struct.error` on a damaged one."""
    if block is None:
        return None
    start = len(_EXIF_MARK)
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(block[start : start + 4])
    if order is None:
        return None
    at = start + struct.unpack_from(order + "I", block, start + 4)[0]
    changed = bytearray(block)
    for entry in range(struct.unpack_from(order + "H", block, at)[0]):
        place = at + 2 + 12 * entry
        tag, kind = struct.unpack_from(order + "HH", block, place)
        if tag == _ORIENTATION and kind in _WHOLE:
            struct.pack_into(order + _WHOLE[kind], changed, place + 8, 1)
    return bytes(changed)
