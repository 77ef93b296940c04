"""Files and blocks made byte by byte, for what Pillow does not write."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from numpy.typing import NDArray
from PIL import Image

ORIENTATION = 274


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    """An image as the bytes of a file in one of Pillow's formats."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(depth: int, colour: int, rows: list[bytes], width: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG file of packed rows, with chunks before the samples."""
    header = struct.pack(">IIBBBBB", width, len(rows), depth, colour, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row for row in rows))
    parts = [png_chunk(b"IHDR", header), *(png_chunk(*c) for c in chunks)]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts) + png_chunk(b"IDAT", body) + png_chunk(b"IEND", b"")


def rgb_png(pixels: NDArray[np.uint8], *chunks: tuple[bytes, bytes]) -> bytes:
    """(H, W, 3) or (H, W) uint8 as a PNG file with chunks before the samples."""
    return png(8, 2 if pixels.ndim == 3 else 0, [row.tobytes() for row in pixels], pixels.shape[1], *chunks)


def with_segments(jpeg: bytes, *segments: tuple[int, bytes]) -> bytes:
    """A JPEG file with segments (marker, body) behind its start."""
    bodies = b"".join(struct.pack(">HH", 0xFF00 | marker, len(body) + 2) + body for marker, body in segments)
    return jpeg[:2] + bodies + jpeg[2:]


def entry(tag: int, kind: int, value: bytes, order: str = "<", count: int = 1) -> bytes:
    """An entry of a directory, its value (or its offset) of up to four bytes."""
    return struct.pack(order + "HHI", tag, kind, count) + value.ljust(4, b"\0")


def exif_block(*entries: bytes, order: str = "<", stated: int | None = None, following: int = 0) -> bytes:
    """An EXIF block of one directory that states so many entries."""
    head = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(order + "I", 8)
    count = struct.pack(order + "H", len(entries) if stated is None else stated)
    return b"Exif\0\0" + head + count + b"".join(entries) + struct.pack(order + "I", following)


def short(tag: int, value: int, order: str = "<") -> bytes:
    return entry(tag, 3, struct.pack(order + "H", value), order)


def tiff(data: bytes, width: int, height: int, order: str = "<", **tags: int | tuple[int, ...]) -> bytes:
    """An uncompressed TIFF file of one strip (several with `t273`); `tags` are `t258=16` and the like.

    Values are written as LONG; without other word 8 bits a sample, one sample, black is zero.
    """
    facts: dict[int, int | tuple[int, ...]] = {256: width, 257: height, 258: 8, 259: 1, 262: 1, 277: 1, 278: height}
    facts |= {int(name[1:]): value for name, value in tags.items()}
    facts.setdefault(273, 8)
    facts.setdefault(279, len(data))
    start = 8 + len(data)
    entries, behind = b"", start + 2 + 12 * len(facts) + 4
    outside = b""
    for tag, value in sorted(facts.items()):
        values = value if isinstance(value, tuple) else (value,)
        packed = struct.pack(f"{order}{len(values)}I", *values)
        if len(packed) > 4:
            outside, packed = outside + packed, struct.pack(order + "I", behind + len(outside))
        entries += struct.pack(order + "HHI", tag, 4, len(values)) + packed
    head = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(order + "I", start)
    return head + data + struct.pack(order + "H", len(facts)) + entries + bytes(4) + outside
