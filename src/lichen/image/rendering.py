"""Decoded pictures -> the bytes of a file in any format that Pillow writes, with their metadata."""

from __future__ import annotations

import io
from typing import Any

from PIL import Image, PngImagePlugin

from lichen.errors import OutputError, UsageError
from lichen.image.profiles import space_of, to_srgb

_BLOCKS = {"icc_profile": "ICC", "exif": "EXIF", "xmp": "XMP"}  # names in Pillow's `info`, and ours
_HOLD_ALL = {"PNG", "JPEG", "WEBP", "AVIF", "TIFF"}  # formats into which Pillow writes all three
_COLOUR_ONLY = {"WEBP", "AVIF"}  # formats without grey samples: a profile of theirs is one of RGB
_KEEP_OPAQUE = {"PNG", "TIFF", "TGA", "QOI", "SGI", "DDS", "JPEG2000"}  # an alpha of 255 everywhere stays there
_JPEG_MARKER_BYTES = 65533  # of a segment; one block must fit into it
_JPEG_BYTES_MAX = {"exif": _JPEG_MARKER_BYTES, "xmp": _JPEG_MARKER_BYTES - len(b"http://ns.adobe.com/xap/1.0/\0")}
_XMP_TAG = 700  # of TIFF
JPEG_QUALITY = 95  # where none is asked for
_PNG_LEVEL = 3  # of zlib: 34 ms where its 6 takes 85, for 1.5 % more bytes (8 decoded Kodak pictures)


def writable_format(ending: str) -> str:
    """Pillow's name of the format with this ending. Raises `UsageError` when it cannot be written."""
    Image.preinit()  # the usual formats: all of them take a tenth of a second
    name = Image.EXTENSION.get(ending.lower()) or Image.registered_extensions().get(ending.lower())
    if name is None or name not in Image.SAVE or name == "LIC":
        raise UsageError(f"no picture format for the ending {ending!r}; try .png, .jpg or .webp")
    return name


def render(image: Image.Image, ending: str, jpeg_quality: int = JPEG_QUALITY) -> tuple[bytes, tuple[str, ...]]:
    """The bytes of a file for this ending, JPEG at this quality, and notices of what it cannot hold.

    `image` has mode L, LA, RGB or RGBA, and its profile, EXIF and XMP in `info`. An alpha of 255 everywhere may be
    left out. Raises `OutputError` where transparency, the size or the picture itself would be lost.
    """
    name = writable_format(ending)
    if image.mode in {"LA", "RGBA"} and name not in _KEEP_OPAQUE and _is_opaque(image):
        image = _without_alpha(image)
    if name == "JPEG" and image.mode in {"LA", "RGBA"}:
        raise OutputError("JPEG has no transparency; decode to .png or .webp")
    blocks, notices = _held(name, {key: image.info[key] for key in _BLOCKS if image.info.get(key)})
    if "icc_profile" in blocks:
        image, blocks, said = _with_fitting_profile(image, name, blocks)
        notices += said
    data, said = _written(image, name, blocks, jpeg_quality)
    return data, notices + said + _check_written(data, name, image)


def _is_opaque(image: Image.Image) -> bool:
    return image.getchannel("A").getextrema()[0] == 255


def _without_alpha(image: Image.Image) -> Image.Image:
    return image.convert("L" if image.mode == "LA" else "RGB")


def _held(name: str, blocks: dict[str, bytes]) -> tuple[dict[str, bytes], tuple[str, ...]]:
    """Those blocks that the format can hold, and notices of the others."""
    if name not in _HOLD_ALL:
        return {}, tuple(f"{name} cannot hold its {_BLOCKS[key]}" for key in blocks)
    limits = _JPEG_BYTES_MAX if name == "JPEG" else {}
    long = [key for key, block in blocks.items() if len(block) > limits.get(key, len(block))]
    notices = tuple(f"{name} cannot hold its {_BLOCKS[key]} of {len(blocks[key])} bytes" for key in long)
    return {key: block for key, block in blocks.items() if key not in long}, notices


def _with_fitting_profile(
    image: Image.Image, name: str, blocks: dict[str, bytes]
) -> tuple[Image.Image, dict[str, bytes], tuple[str, ...]]:
    """The image, its blocks and notices, such that profile and samples fit each other and the format.

    Formats of colour alone cannot have a grey profile, and Pillow does not open a PNG file with one of more than a
    megabyte: then the samples are converted to sRGB by it. A grey PNG file cannot have a profile of RGB: it becomes
    RGB.
    """
    icc, is_grey = blocks["icc_profile"], image.mode in {"L", "LA"}
    others = {key: block for key, block in blocks.items() if key != "icc_profile"}
    if name == "PNG" and is_grey and space_of(icc) == "RGB":
        return image.convert("RGBA" if image.mode == "LA" else "RGB"), blocks, ()
    if name == "PNG" and len(icc) > PngImagePlugin.MAX_TEXT_CHUNK:
        reason = f"PNG cannot hold its ICC of {len(icc)} bytes"
    elif name in _COLOUR_ONLY and space_of(icc) == "GRAY":
        reason = f"{name} cannot hold its grey ICC"
    else:
        return image, blocks, ()
    converted = to_srgb(image, icc)
    if converted is None:
        return image, others, (reason,)
    return converted, others, (f"{reason}: converted to sRGB",)


def _written(
    image: Image.Image, name: str, blocks: dict[str, bytes], jpeg_quality: int
) -> tuple[bytes, tuple[str, ...]]:
    """The bytes of a file, without EXIF where Pillow cannot write that, and notices. Raises `OutputError`."""
    left_out = [key for key in _BLOCKS if key in image.info and key not in blocks]
    if left_out:  # some writers fall back on `info`
        image = image.copy()
        image.info = {key: value for key, value in image.info.items() if key not in left_out}
    buffer = io.BytesIO()
    try:
        image.save(buffer, name, **_options(name, blocks, jpeg_quality))
    except Exception as error:  # Pillow's writers raise many kinds on odd EXIF
        if "exif" in blocks:
            others = {key: block for key, block in blocks.items() if key != "exif"}
            data, notices = _written(image, name, others, jpeg_quality)
            return data, (f"{name} cannot hold its EXIF ({error})", *notices)
        raise OutputError(f"Pillow cannot write this picture as {name} ({error}); try .png") from error
    return buffer.getvalue(), ()


def _check_written(data: bytes, name: str, image: Image.Image) -> tuple[str, ...]:
    """Some writers change a picture and say nothing: size (ICO), transparency (PPM), colours (GIF)."""
    if name not in Image.OPEN:  # PDF, for example, is only written
        return ()
    try:
        with Image.open(io.BytesIO(data)) as written:
            size, mode = written.size, written.mode
    except Exception as error:  # Pillow's plugins raise many kinds
        raise OutputError(f"what Pillow wrote as {name} cannot be opened again ({error}); try .png") from error
    if size != image.size:
        raise OutputError(f"{name} cannot hold {image.width} x {image.height} pixels; try .png")
    if image.mode in {"LA", "RGBA"} and mode in {"L", "RGB"} and not _is_opaque(image):
        raise OutputError(f"{name} has no transparency; decode to .png or .webp")
    return (f"{name} keeps 256 colours at most",) if mode == "P" and image.mode in {"RGB", "RGBA"} else ()


def _options(name: str, blocks: dict[str, bytes], jpeg_quality: int) -> dict[str, Any]:
    """What Pillow's writer of this format wants: the blocks in its own words, no loss where it has a choice."""
    options: dict[str, Any] = dict(blocks)
    if name == "WEBP":
        options |= {"lossless": True, "exact": True}  # exact: colours also where nothing of them is seen
    if name == "AVIF":
        options |= {"quality": 95, "subsampling": "4:4:4"}
    if name == "JPEG":
        options["quality"] = jpeg_quality
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
