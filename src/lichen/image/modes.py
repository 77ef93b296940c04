"""Pillow's many modes -> the four that Lichen codes (L, LA, RGB, RGBA), with a notice of what changes."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image, ImageCms

from lichen.errors import BadPicture

_AS_THEY_ARE = {"L", "LA", "RGB", "RGBA", "1", "P", "PA"}
_BY_PILLOW = {"YCbCr", "HSV", "RGBX", "RGBa", "La"}  # Pillow's own conversion is right
_KEY_SCALE = {"L;2": 85, "L;4": 17}  # PNG: Pillow widens the samples but not the transparent key


def plain(image: Image.Image, raw: str) -> tuple[Image.Image, tuple[str, ...]]:
    """The image (of several, the first) in mode L, LA, RGB or RGBA, and notices for the user.

    `raw` is its `raw_mode`. Raises `BadPicture` for modes without a meaning as colour.
    """
    notices = [] if image.format == "MPO" or not getattr(image, "is_animated", False) else [_frames(image)]
    if image.mode.startswith("I") or ";16" in raw:
        notices.append("16 bits a sample became 8")
    if image.mode in {"CMYK", "LAB"}:
        notices.append(f"{image.mode} became RGB")
        image = _managed(image)
    elif image.mode in _BY_PILLOW:
        notices.append(f"mode {image.mode} became RGB")
        image = image.convert("LA" if image.mode == "La" else "RGBA" if image.mode == "RGBa" else "RGB")
    elif image.mode == "I" or image.mode.startswith("I;16"):
        image = _from_16_bits(image)
    elif image.mode not in _AS_THEY_ARE:
        raise BadPicture(f"mode {image.mode} is not supported; convert it first: image.convert('RGB')")
    if raw.startswith("LA;16"):  # Pillow has no LA of 16 bits
        image = image.convert("LA")
    return _with_alpha(image, raw), tuple(notices)


def raw_mode(image: Image.Image) -> str:
    """How the samples lie in the file, as Pillow calls it; unknown, an empty string, once the image is loaded."""
    tiles = getattr(image, "tile", None) or []
    arguments: Any = tiles[0][3] if tiles else ""
    first = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return first if isinstance(first, str) else ""


def _frames(image: Image.Image) -> str:
    return f"of {getattr(image, 'n_frames', 'several')} frames the first is kept"


def _with_alpha(image: Image.Image, raw: str) -> Image.Image:
    """Palettes and bits widened; a transparent colour becomes an alpha channel."""
    key = image.info.get("transparency")
    if image.mode in {"P", "PA"}:
        return image.convert("RGBA" if image.has_transparency_data else "RGB")
    if image.mode == "1":
        image = image.convert("L")
    if key is None or image.mode not in {"L", "RGB"}:
        return image
    pixels = np.asarray(image)
    if image.mode == "L":
        hidden = pixels == key * _KEY_SCALE.get(raw, 1)
    else:
        hidden = (pixels == [part >> 8 if ";16" in raw else part for part in key]).all(axis=2)
    image = image.copy()
    image.putalpha(Image.fromarray(np.where(hidden, 0, 255).astype(np.uint8)))
    return image


def _from_16_bits(image: Image.Image) -> Image.Image:
    """0 ... 65535 -> L, rounded; with a transparent key -> LA. Larger values are refused."""
    samples, key = np.asarray(image).astype(np.int64), image.info.get("transparency")
    if samples.min() < 0 or samples.max() > 65535:
        raise BadPicture("32-bit samples have no range of their own; scale them to 0 ... 255 first")
    grey = Image.fromarray(((samples + 128) // 257).astype(np.uint8))
    if isinstance(key, int):
        grey.putalpha(Image.fromarray(np.where(samples == key, 0, 255).astype(np.uint8)))
    return grey


def _managed(image: Image.Image) -> Image.Image:
    """CMYK or LAB -> sRGB, by its profile if it has a sound one."""
    icc = image.info.get("icc_profile")
    try:
        if image.mode == "LAB":
            profile = ImageCms.createProfile("LAB")
        elif icc:
            profile = ImageCms.ImageCmsProfile(io.BytesIO(icc)).profile
        else:
            return image.convert("RGB")
        target = ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(image, profile, target, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError) as error:
        if image.mode == "LAB":
            raise BadPicture(f"LAB cannot be converted here ({error}); convert it to RGB first") from error
        converted = image.convert("RGB")
    if converted is None:
        raise BadPicture(f"mode {image.mode} cannot be converted; convert it to RGB first")
    return converted
