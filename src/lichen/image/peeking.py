"""What Pillow does not tell of a file, read from it beside Pillow, which afterwards finds it as it was."""

from __future__ import annotations

import struct

from PIL import Image

HEAD_BYTES = 2**16
_TRAILER_BYTES = 4096
_PNG_START = 8


def head_of(image: Image.Image, size_bytes: int = HEAD_BYTES) -> bytes:
    """The first bytes of the file of an image; none once that is closed, as most are when the image is loaded."""
    file = getattr(image, "fp", None)
    if file is None or file.closed:
        return b""
    before = file.tell()
    try:
        file.seek(0)
        return bytes(file.read(size_bytes))
    finally:
        file.seek(before)


def has_video_trailer(image: Image.Image) -> bool:
    """Whether the file of an image ends as Samsung's do that have a video behind the picture; not once it is closed."""
    file = getattr(image, "fp", None)
    if file is None or file.closed or image.format not in {"JPEG", "MPO"}:
        return False
    before = file.tell()
    try:
        file.seek(-min(_TRAILER_BYTES, file.seek(0, 2)), 2)
        return b"MotionPhoto_Data" in file.read()
    finally:
        file.seek(before)


def png_chunk_of(image: Image.Image, name: bytes) -> bytes | None:
    """The body of the first chunk of this name before the samples of a PNG file; None also where that is closed."""
    file = getattr(image, "fp", None)
    if file is None or file.closed:
        return None
    before = file.tell()
    try:
        file.seek(_PNG_START)
        while len(head := file.read(8)) == 8:
            length, found = struct.unpack(">I4s", head)
            if found in {b"IDAT", b"IEND"}:
                return None
            if found == name:
                return bytes(file.read(min(length, HEAD_BYTES)))
            file.seek(length + 4, 1)
        return None
    finally:
        file.seek(before)


def bits_of(image: Image.Image) -> int:
    """Bits a sample of a file whose samples its decoder makes 8 bits without a word: AVIF and HEIF; 8 for others."""
    bits = image.info.get("bit_depth")  # pillow-heif's
    if image.format == "AVIF":
        head = head_of(image)
        at = head.find(b"av1C")  # AV1 Codec ISO Media File Format Binding, 2.3: bits 6 and 5 of its third byte
        if 0 <= at < len(head) - 7:
            deep, deepest = head[at + 6] & 0x40, head[at + 6] & 0x20
            bits = 12 if deep and deepest else 10 if deep else 8
    return bits if isinstance(bits, int) else 8
