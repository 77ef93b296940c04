"""Decoded pictures -> the bytes of a file in any format that Pillow writes, with their metadata."""

from __future__ import annotations

import io
from typing import Any

from PIL import Image, PngImagePlugin

from lichen.errors import OutputError, UsageError

_HOLDS = {  # formats and the blocks that Pillow writes into them
    "PNG": {"icc_profile", "exif", "xmp"},
    "JPEG": {"icc_profile", "exif", "xmp"},
    "WEBP": {"icc_profile", "exif", "xmp"},
    "AVIF": {"icc_profile", "exif", "xmp"},
    "TIFF": {"icc_profile", "exif", "xmp"},
}
_XMP_TAG = 700  # of TIFF
_PNG_LEVEL = 3  # of zlib: 34 ms where its 6 takes 85, for 1.5 % more bytes (8 decoded Kodak pictures)


def writable_format(ending: str) -> str:
    """Pillow's name of the format with this ending. Raises `UsageError` when it cannot be written."""
    Image.preinit()  # the usual formats: all of them take a tenth of a second
    name = Image.EXTENSION.get(ending.lower()) or Image.registered_extensions().get(ending.lower())
    if name is None or name not in Image.SAVE or name == "LIC":
        raise UsageError(f"no picture format for the ending {ending!r}; try .png, .jpg or .webp")
    return name


def render(image: Image.Image, ending: str) -> tuple[bytes, tuple[str, ...]]:
    """The bytes of a file for this ending, and notices of what it cannot hold. Raises `OutputError`."""
    name = writable_format(ending)
    if name == "JPEG" and image.mode in {"LA", "RGBA"}:
        raise OutputError("JPEG has no transparency; decode to .png or .webp")
    blocks = {key: image.info[key] for key in ("icc_profile", "exif", "xmp") if image.info.get(key)}
    held = _HOLDS.get(name, set())
    notices = tuple(f"{name} cannot hold its {key.partition('_')[0].upper()}" for key in blocks if key not in held)
    options = {key: block for key, block in blocks.items() if key in held}
    buffer = io.BytesIO()
    try:
        image.save(buffer, name, **_options(name, options))
    except Exception as error:  # Pillow's writers raise many kinds on odd EXIF
        raise OutputError(f"Pillow cannot write this picture as {name} ({error}); try .png") from error
    return buffer.getvalue(), notices + _check_written(buffer, name, image)


def _check_written(buffer: io.BytesIO, name: str, image: Image.Image) -> tuple[str, ...]:
    """Some writers change a picture and say nothing: size (ICO), transparency (PPM), colours (GIF)."""
    try:
        with Image.open(buffer) as written:
            size, mode = written.size, written.mode
    except Exception:  # formats that Pillow writes and does not read
        return ()
    if size != image.size:
        raise OutputError(f"{name} cannot hold {image.width} x {image.height} pixels; try .png")
    if image.mode in {"LA", "RGBA"} and mode in {"L", "RGB"}:
        raise OutputError(f"{name} has no transparency; decode to .png or .webp")
    return (f"{name} keeps 256 colours at most",) if mode == "P" and image.mode in {"RGB", "RGBA"} else ()


def _options(name: str, blocks: dict[str, bytes]) -> dict[str, Any]:
    """What Pillow's writer of this format wants: the blocks in its own words, no loss where it has a choice."""
    options: dict[str, Any] = dict(blocks)
    if name == "WEBP":
        options |= {"lossless": True, "exact": True}  # exact: colours also where nothing of them is seen
    if name == "AVIF":
        options |= {"quality": 95, "subsampling": "4:4:4"}
    if name == "JPEG":
        options["quality"] = 95
    if name == "PNG":
        options["compress_level"] = _PNG_LEVEL
        if "xmp" in options:
            options["pnginfo"] = text = PngImagePlugin.PngInfo()
            text.add_itxt("XML:com.adobe.xmp", options.pop("xmp").decode("utf-8", "replace"))
    if name == "TIFF" and "xmp" in options:
        tags = Image.Exif()
        tags.load(options.get("exif", b""))
        tags[_XMP_TAG] = options.pop("xmp")
        options["exif"] = tags
    return options
