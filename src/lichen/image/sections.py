"""What a file carries beside the latents: alpha, ICC profile, EXIF and XMP <-> sections."""

from __future__ import annotations

import io
import zlib
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from lichen.bitstream.container import Container, Kind
from lichen.bitstream.fields import GREY
from lichen.errors import BadFile, BadPicture
from lichen.image.metadata import Metadata
from lichen.image.picture import Picture

_BLOCK_BYTES_MAX = 16_000_000  # of an unpacked ICC, EXIF or XMP block
_DAMAGED = "the file is damaged; get it anew"


def pack_extras(picture: Picture) -> dict[int, bytes]:
    """The sections beside the latents. Raises `BadPicture` when a block is too large to keep."""
    sections: dict[int, bytes] = {}
    if picture.alpha is not None:
        buffer = io.BytesIO()
        Image.fromarray(picture.alpha).save(buffer, "PNG", optimize=True)
        sections[Kind.ALPHA] = buffer.getvalue()
    for kind, block in ((Kind.ICC, picture.icc), (Kind.EXIF, picture.exif), (Kind.XMP, picture.xmp)):
        if block and len(block) > _BLOCK_BYTES_MAX:
            raise BadPicture(f"its {kind.name} block has {len(block)} bytes, too many to keep; strip it first")
        if block:
            sections[kind] = zlib.compress(block, 9)
    return sections


def unpack_extras(container: Container, pixels: NDArray[np.uint8], crop: tuple[int, int, int, int] | None) -> Picture:
    """The decoded pixels, those of `crop` (x, y, width, height), with all that belongs to them. Raises `BadFile`.

    Without a crop they are a thumbnail's, and alpha is left out.
    """
    sections, header = container.sections, container.header
    alpha = None
    if crop is not None and Kind.ALPHA in sections:
        x, y, width, height = crop
        alpha = _unpack_alpha(sections[Kind.ALPHA], (header.width, header.height))[y : y + height, x : x + width]
    kept = unpack_metadata(container)
    return Picture(pixels, bool(container.header.flags & GREY), alpha, kept.icc, exif=kept.exif, xmp=kept.xmp)


def unpack_metadata(container: Container) -> Metadata:
    """The blocks beside the pixels. Raises `BadFile`."""
    return Metadata(*(_unpack_block(container.sections, kind) for kind in (Kind.ICC, Kind.EXIF, Kind.XMP)))


def _unpack_alpha(png: bytes, size: tuple[int, int]) -> NDArray[np.uint8]:
    if png[16:24] != b"".join(side.to_bytes(4, "big") for side in size):  # of IHDR, before Pillow looks
        raise BadFile(f"its alpha has another size than its picture: {_DAMAGED}")
    try:
        with PngImagePlugin.PngImageFile(io.BytesIO(png)) as image:  # unlike Image.open without a limit of its own
            if image.mode == "L" and image.size == size:
                return np.array(image)
    except Exception as error:  # Pillow raises many kinds on damaged files
        raise BadFile(f"its alpha cannot be read ({error}): {_DAMAGED}") from error
    raise BadFile(f"its alpha is not one plane of the picture's size: {_DAMAGED}")


def _unpack_block(sections: Mapping[int, bytes], kind: Kind) -> bytes | None:
    if kind not in sections:
        return None
    unpacker = zlib.decompressobj()
    try:
        block = unpacker.decompress(sections[kind], _BLOCK_BYTES_MAX)
    except zlib.error as error:
        raise BadFile(f"its {kind.name} profile cannot be unpacked: {_DAMAGED}") from error
    if not unpacker.eof or unpacker.unused_data:
        raise BadFile(f"its {kind.name} profile is cut, too large or followed by more: {_DAMAGED}")
    return block
