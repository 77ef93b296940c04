"""Which files are pictures: formats that Pillow or an installed plugin reads, and what else is met in folders."""

from __future__ import annotations

import contextlib
import functools
import importlib
import sys
from pathlib import Path

from PIL import Image, ImageFile

_STUBS = {"MPEG"}  # opened by Pillow, never read
APPLE_DOUBLE = b"\0\x05\x16\x07"
_RAW = "a camera's RAW file: develop it to TIFF, PNG or JPEG first"
_HEIF = "HEIF: install pillow-heif to read it"
_JXL = "JPEG XL: install pillow-jxl-plugin to read it"
_DRAWING = "a drawing or document: render it to PNG first"
_KNOWN_STARTS = {
    b"\xff\x0a": _JXL,
    b"\0\0\0\x0cJXL ": _JXL,
    b"FUJIFILMCCD-RAW": _RAW,
    b"IIRO": _RAW,
    b"IIRS": _RAW,
    b"IIU\0": _RAW,
    b"FOVb": _RAW,
    APPLE_DOUBLE: "macOS's notes about a file, not a picture: leave it out",
    b"%PDF": _DRAWING,
    b"<svg": _DRAWING,
    b"<?xml": _DRAWING,
    b"v/1\x01": "OpenEXR: convert it to PNG first",
    b"gimp xcf": "GIMP's own format: export it to PNG first",
}
_KNOWN_BRANDS = {b"heic": _HEIF, b"heix": _HEIF, b"hevc": _HEIF, b"mif1": _HEIF, b"msf1": _HEIF, b"crx ": _RAW}


@functools.cache
def register_plugins() -> None:
    """Teach Pillow the formats of pillow-heif and pillow-jxl-plugin where these are installed."""
    with contextlib.suppress(ImportError, OSError, AttributeError):
        importlib.import_module("pillow_heif").register_heif_opener()
    with contextlib.suppress(ImportError, OSError, AttributeError):
        importlib.import_module("pillow_jxl")


def readable_endings() -> set[str]:
    """Endings, in small letters, of the files that can be read, `.lic` aside. Loads all of Pillow's plugins."""
    Image.init()
    register_plugins()
    return {ending for ending, name in Image.registered_extensions().items() if _is_read(name)} - {".lic"}


def _is_read(name: str) -> bool:
    """Whether a format is opened and its pixels too: some are stubs that await a handler."""
    if name not in Image.OPEN or name in _STUBS:
        return False
    factory: object = Image.OPEN[name][0]
    if not isinstance(factory, type) or not issubclass(factory, ImageFile.StubImageFile):
        return True
    return getattr(sys.modules[factory.__module__], "_handler", None) is not None


def is_apple_double(path: Path) -> bool:
    """Whether a file is macOS's companion (`._a.jpg`) of another on a foreign disk: no picture, whatever its ending."""
    if not path.name.startswith("._"):
        return False
    try:
        with path.open("rb") as file:
            return file.read(len(APPLE_DOUBLE)) == APPLE_DOUBLE
    except OSError:
        return False


def what_it_is(head: bytes) -> str | None:
    """What a file that Pillow does not read is, and what to do, by its first 16 bytes; None where it is not known."""
    if head[4:8] == b"ftyp":
        return _KNOWN_BRANDS.get(head[8:12])
    return next((known for start, known in _KNOWN_STARTS.items() if head.startswith(start)), None)
