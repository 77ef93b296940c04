"""Samples that are not 8 bits with black at 0: their range and sense, found from the file, or refused.

Nothing is guessed in silence: where a mode does not state its range, a notice says which was taken.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImagePalette, TiffImagePlugin

from lichen.errors import BadPicture
from lichen.image.peeking import head_of

_BITS, _PHOTOMETRIC, _SUBFILE, _SUB_DIRECTORIES, _PLANAR, _FORMAT, _DNG = 258, 262, 254, 330, 284, 339, 50706
_WHITE_IS_ZERO, _SEPARATE, _SIGNED = 0, 2, 2
_COLOURS = 320
_16_BITS = 65535
_NATIVE = {"F;32BF": "F;32NF", "I;16BS": "I;16NS", "I;32BS": "I;32NS"}  # what libtiff gives, whatever the file's order


def tag_of(image: Image.Image, tag: int, default: Any = None) -> Any:
    """A tag of a TIFF file, which its image knows also when it is loaded."""
    return getattr(image, "tag_v2", {}).get(tag, default)


def raw_mode(image: Image.Image) -> str:
    """How the samples lie in the file, as Pillow calls it; unknown, an empty string, once the image is loaded."""
    tiles = getattr(image, "tile", None) or []
    arguments: Any = tiles[0][3] if tiles else ""
    first = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return first if isinstance(first, str) else ""


def refuse_unreadable(image: Image.Image) -> None:
    """Raises `BadPicture` for files that Pillow opens and reads wrongly: previews of RAW files, signed FITS."""
    if image.format == "TIFF":
        reduced = tag_of(image, _SUBFILE, 0) == 1 and (tag_of(image, _SUB_DIRECTORIES) or image.tag_v2.next)  # type: ignore[attr-defined]
        if reduced or tag_of(image, _DNG) is not None or _is_canon_raw(image):
            raise BadPicture(
                "its first image is only a preview, as in a camera's RAW file: develop it to TIFF, PNG or JPEG first"
            )
    if image.format == "FITS" and image.mode != "L":
        raise BadPicture("FITS samples of more than 8 bits have no black and white of their own; convert it to PNG")


def _is_canon_raw(image: Image.Image) -> bool:
    return head_of(image, 10)[8:] == b"CR"


def mend_tiles(image: Image.Image) -> None:
    """Tell Pillow how the samples of a TIFF file lie where it is mistaken. To be called before the image is loaded.

    In separate planes it takes the first letter of the raw mode for that of a plane: samples of 16 bits are read as
    8, and a single plane loses its sense and depth. Compressed samples come in the machine's order, not the file's. A
    palette of 8 bits a colour becomes black.
    Raises `BadPicture` for planes that it cannot read.
    """
    if image.format != "TIFF":
        return
    colours = tag_of(image, _COLOURS, (_16_BITS,))
    if image.mode == "P" and max(colours) < 256:  # of 8 bits, which Pillow divides by 256
        image.palette = ImagePalette.raw("RGB;L", bytes(colours))
    tiles: list[Any] = getattr(image, "tile", None) or []
    raw = raw_mode(image)
    if tiles and tiles[0][0] == "libtiff":
        if raw in _NATIVE and sys.byteorder == "little":
            _set_raw_modes(image, [_NATIVE[raw]] * len(tiles))
    elif tiles and tag_of(image, _PLANAR, 1) == _SEPARATE:
        whole = _whole_raw_mode(image)
        letters = [tile[3][0] for tile in tiles]
        if len(tag_of(image, _BITS, (1,))) == 1:
            _set_raw_modes(image, [whole] * len(tiles))
        elif whole.endswith((";16L", ";16B")) and set(letters) <= set("RGBA"):
            _set_raw_modes(image, [letter + whole[-4:] for letter in letters])
        elif not whole.isalpha() or not whole.isupper():
            raise BadPicture("its samples lie in separate planes of an unusual kind; convert it to interleaved ones")


def _whole_raw_mode(image: Image.Image) -> str:
    """The raw mode of a TIFF file if its samples lay together; empty where Pillow has none."""
    key = (
        image.tag_v2.prefix,  # type: ignore[attr-defined]
        tag_of(image, _PHOTOMETRIC, 0),
        (*tag_of(image, _FORMAT, (1,))[:1],),
        tag_of(image, 266, 1),
        tag_of(image, _BITS, (1,)),
        tag_of(image, 338, ()),
    )
    return TiffImagePlugin.OPEN_INFO.get(key, ("", ""))[1]


def _set_raw_modes(image: Image.Image, modes: list[str]) -> None:
    image.tile = [  # type: ignore[attr-defined]
        tile._replace(args=(mode, *tile.args[1:]))
        for tile, mode in zip(image.tile, modes, strict=True)  # type: ignore[attr-defined]
    ]


def to_grey(image: Image.Image, raw: str, bits: int = 8) -> tuple[Image.Image, tuple[str, ...]]:
    """A loaded image of mode I, I;16 or F -> L, or LA with a transparent key; and notices.

    `raw` is the `raw_mode` that it had, `bits` what its file says of them where Pillow does not, else 8. Raises
    `BadPicture` for samples whose black and white are not known.
    """
    samples = np.asarray(image)
    white_is_zero = tag_of(image, _PHOTOMETRIC) == _WHITE_IS_ZERO
    if image.mode == "F":
        grey, notice = _from_float(samples)
        return Image.fromarray(255 - grey if white_is_zero else grey), (notice,)
    top, notice = _top(image, raw, samples)
    wide = samples.astype(np.uint32)
    grey = ((wide * 255 + top // 2) // top).astype(np.uint8)
    result = Image.fromarray(255 - grey if white_is_zero else grey)
    key = image.info.get("transparency")
    if isinstance(key, int):
        result.putalpha(Image.fromarray(np.where(samples == key, 0, 255).astype(np.uint8)))
    return result, (deep_notice(bits) if bits > 8 else notice,)


def deep_notice(bits: int) -> str:
    """What is said of samples of more than 8 bits."""
    return f"{bits} bits a sample became 8"


def _top(image: Image.Image, raw: str, samples: NDArray[Any]) -> tuple[int, str]:
    """The sample that is white (black is 0), and a notice of what was taken. Raises `BadPicture`."""
    lowest, highest = int(samples.min()), int(samples.max())
    if lowest < 0:
        raise BadPicture("negative samples have no black and white of their own; scale them to 0 ... 255 first")
    if raw.startswith("I;12") or tag_of(image, _BITS) == (12,):
        return 4095, deep_notice(12)
    signed = tag_of(image, _FORMAT, (1,))[0] == _SIGNED
    if not signed and (image.mode.startswith("I;16") or raw.startswith("I;16") or image.format == "PPM"):
        return _16_BITS, deep_notice(16)
    if highest <= 255:
        return 255, f"samples of mode {image.mode} were taken for 0 ... 255"
    if highest > _16_BITS or (signed and tag_of(image, _BITS) == (16,)):
        raise BadPicture("signed or 32-bit samples have no range of their own; scale them to 0 ... 255 first")
    return _16_BITS, f"samples of mode {image.mode} were taken for 0 ... 65535"


def _from_float(samples: NDArray[Any]) -> tuple[NDArray[np.uint8], str]:
    """Mode F of 0 ... 1 -> uint8, and a notice. Raises `BadPicture` for any other range."""
    if not np.isfinite(samples).all():
        raise BadPicture("it has NaN or infinite samples; replace them first")
    lowest, highest = float(samples.min()), float(samples.max())
    if lowest < 0 or highest > 1:
        raise BadPicture(
            f"float samples of {lowest:g} ... {highest:g} have no black and white of their own; scale them to 0 ... 1,"
            " or if they are meant for 0 ... 255 convert the image first: image.convert('L')"
        )
    return np.round(samples * 255).astype(np.uint8), "samples of mode F were taken for 0 ... 1"


def refuse_signed_bytes(image: Image.Image) -> None:
    """Raises `BadPicture` for a TIFF file of signed 8-bit samples that has negative ones, which Pillow reads as 128 on.

    `image` is loaded.
    """
    if tag_of(image, _FORMAT, (1,))[0] == _SIGNED and image.mode == "L" and np.asarray(image).max() > 127:
        raise BadPicture("negative samples have no black and white of their own; scale them to 0 ... 255 first")
