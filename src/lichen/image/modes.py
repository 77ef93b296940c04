"""Pillow's many modes -> the four that Lichen codes (L, LA, RGB, RGBA), with a notice of what changes."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from lichen.errors import BadPicture
from lichen.image.samples import deep_notice, refuse_signed_bytes, to_grey

_AS_THEY_ARE = {"L", "LA", "RGB", "RGBA", "1", "P", "PA"}
_BY_PILLOW = {"YCbCr": "RGB", "HSV": "RGB", "RGBX": "RGB", "RGBa": "RGBA", "La": "LA"}  # Pillow's conversion is right
_KEY_SCALES = {"L;2": 85, "L;4": 17}  # PNG: Pillow widens the samples but not the transparent key


def plain(image: Image.Image, raw: str, bits: int = 8) -> tuple[Image.Image, tuple[str, ...]]:
    """A loaded image in mode L, LA, RGB or RGBA, and notices for the user.

    `raw` is the `raw_mode` that it had, `bits` what its file says of them where Pillow does not, else 8. Raises
    `BadPicture` for modes and samples without a meaning as colour.
    """
    if image.mode in {"I", "F"} or image.mode.startswith("I;16"):
        return to_grey(image, raw, bits)
    bits = 16 if ";16" in raw else bits
    notices = (deep_notice(bits),) if bits > 8 else ()
    if image.mode in {"CMYK", "LAB"}:
        return _managed(image), (*notices, f"{image.mode} became RGB")
    if image.mode in _BY_PILLOW:
        return image.convert(_BY_PILLOW[image.mode]), (*notices, f"mode {image.mode} became {_BY_PILLOW[image.mode]}")
    if image.mode not in _AS_THEY_ARE:
        raise BadPicture(f"mode {image.mode} is not supported; convert it first: image.convert('RGB')")
    refuse_signed_bytes(image)
    if raw.startswith("LA;16"):  # Pillow has no LA of 16 bits
        return image.convert("LA"), notices
    if image.format == "TGA" and image.mode in {"LA", "RGBA"} and image.getchannel("A").getextrema()[1] == 0:
        return image.convert(image.mode[:-1]), (*notices, "its alpha of 0 everywhere was left out")  # means none there
    return _with_alpha(image, raw), notices


def frames_notice(image: Image.Image) -> tuple[str, ...]:
    """What is said of an image of several frames, of which the one that it is at was read.

    It moves the image and puts it back; where the other frames are damaged it is left where it was, if it can be.
    """
    here, damaged = 0, ""
    try:
        if image.format == "MPO" and not _has_views(image):
            return ()
        here = image.tell()
        if not getattr(image, "is_animated", False):
            return ()
        count = str(getattr(image, "n_frames", "several"))
    except Exception:  # Pillow's plugins raise many kinds on damaged files
        count, damaged = "several", ", some damaged,"
        _seek(image, here)
    which = "the first" if here == 0 else f"number {here + 1}"
    return (f"of {count} frames{damaged} {which} is kept",)


def _seek(image: Image.Image, frame: int) -> None:
    try:
        image.seek(frame)
    except Exception:  # as above
        return


def _has_views(image: Image.Image) -> bool:
    """Whether a JPEG file of several pictures (MPO) has others than previews of its first."""
    entries = getattr(image, "mpinfo", {}).get(0xB002, ())
    return any("Thumbnail" not in entry["Attribute"]["MPType"] for entry in entries[1:])


def _with_alpha(image: Image.Image, raw: str) -> Image.Image:
    """Palettes and bits widened; a transparent colour becomes an alpha channel. Raises `BadPicture` for odd keys."""
    if image.mode in {"P", "PA"}:
        return image.convert("RGBA" if image.has_transparency_data else "RGB")
    if image.mode == "1":
        image = image.convert("L")
    key = image.info.get("transparency")
    if key is None or image.mode not in {"L", "RGB"}:
        return image
    hidden = _hidden(np.asarray(image), key, raw)
    image = image.copy()
    image.putalpha(Image.fromarray(np.where(hidden, 0, 255).astype(np.uint8)))
    return image


def _hidden(pixels: NDArray[np.uint8], key: object, raw: str) -> NDArray[np.bool_]:
    """Where the pixels (H, W) or (H, W, 3) have the colour of the key. Raises `BadPicture` for keys of another kind."""
    if pixels.ndim == 2 and isinstance(key, int):
        return np.asarray(pixels == key * _key_scale(pixels, key, raw))
    if pixels.ndim == 3 and isinstance(key, tuple | list) and len(key) == 3 and all(isinstance(p, int) for p in key):
        deep = ";16" in raw or max(key) > 255
        return np.asarray((pixels == [part >> 8 if deep else part for part in key]).all(axis=2))
    raise BadPicture(
        f"its transparency {key!r} is not a colour of its mode; take it out: del image.info['transparency']"
    )


def _key_scale(pixels: NDArray[np.uint8], key: int, raw: str) -> int:
    """By what a grey key is to be multiplied: known from the raw mode, or found where the image was loaded before."""
    if raw:
        return _KEY_SCALES.get(raw, 1)
    for bits, scale in ((2, 85), (4, 17)):
        if 0 < key < 2**bits and not (pixels % scale).any():
            return scale
    return 1


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
