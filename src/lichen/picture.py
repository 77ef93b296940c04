"""Pictures <-> tensors: modes, alpha, ICC and EXIF, arrays, padding."""

from __future__ import annotations

import io
import struct
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from torch import Tensor
from torch.nn import functional as F

from lichen.errors import BadInput, BadPicture, PictureTooLarge

SIDE_MAX = 2**24 - 1  # pixels: what a file can state
MAX_PIXELS = 64_000_000  # default limit; about 100 bytes of memory for each pixel

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Picture:
    """A picture ready to be coded, or decoded.

    `pixels` (H, W, 3) uint8; `grey` says that the three channels stand for one; `alpha` (H, W) uint8
    or None; `icc` and `exif` are their blocks or None.
    """

    pixels: Bytes
    grey: bool = False
    alpha: Bytes | None = None
    icc: bytes | None = None
    exif: bytes | None = None


def check_size(width: int, height: int, max_pixels: int) -> None:
    """Raises `PictureTooLarge` beyond the limit, before anything is allocated."""
    # What is computed is the size in whole blocks of 64; a line of pixels costs as much as its blocks.
    blocks = -(-width // 64) * -(-height // 64)
    if width * height > max_pixels or blocks * 64**2 > 2 * max_pixels + 64**2 * 64 or max(width, height) > SIDE_MAX:
        raise PictureTooLarge(
            f"{width} x {height} is beyond the limit of {max_pixels} pixels; raise it with --max-pixels"
        )


def open_picture(source: Path | bytes, max_pixels: int = MAX_PIXELS) -> Picture:
    """Read any file that Pillow reads. Raises `BadPicture` or `PictureTooLarge`."""
    name = "standard input" if isinstance(source, bytes) else str(source)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's hints on odd files; errors still raise
            image = Image.open(io.BytesIO(source) if isinstance(source, bytes) else source)
            check_size(*image.size, max_pixels)
            return from_pil(image)
    except Image.DecompressionBombError as error:
        raise PictureTooLarge(f"{name}: {error}; split it") from error
    except UnidentifiedImageError as error:
        raise BadPicture(f"{name}: not a picture that Pillow can read") from error
    except BadInput:
        raise
    except Exception as error:  # Pillow's plugins raise many kinds on damaged files
        reason = getattr(error, "strerror", None) or error
        raise BadPicture(f"{name}: cannot be read as a picture ({reason})") from error


def from_pil(image: Image.Image) -> Picture:
    """A Pillow image as a `Picture`: orientation applied, profile kept. Raises `BadPicture`."""
    if image.mode not in {"RGB", "L", "LA", "RGBA", "P", "PA", "1"}:
        raise BadPicture(f"mode {image.mode} is not supported; convert it first: image.convert('RGB')")
    if 0 in image.size:
        raise BadPicture("the picture is empty: it needs at least one pixel")
    icc = image.info.get("icc_profile") or None
    image, exif = _upright(image)
    if image.mode in {"P", "PA"}:
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    elif image.mode == "1":
        image = image.convert("L")
    elif image.mode in {"RGB", "L"} and "transparency" in image.info:
        image = image.convert("RGBA" if image.mode == "RGB" else "LA")
    grey = image.mode in {"L", "LA"}
    alpha = np.asarray(image.getchannel("A")) if image.mode in {"LA", "RGBA"} else None
    pixels = np.asarray(image.convert("L").convert("RGB") if grey else image.convert("RGB"))
    return Picture(pixels, grey, alpha, icc, exif)


def _upright(image: Image.Image) -> tuple[Image.Image, bytes | None]:
    """A copy with the orientation applied, and the EXIF block without it; a damaged block is dropped."""
    try:
        turned = ImageOps.exif_transpose(image)
        exif = turned.getexif()
        exif.pop(ExifTags.Base.Orientation, None)
        return turned, exif.tobytes() if len(exif) else None
    except (ValueError, TypeError, KeyError, AttributeError, SyntaxError, struct.error):
        return image.copy(), None


def to_pil(picture: Picture) -> Image.Image:
    """A Pillow image of mode L, LA, RGB or RGBA, with its profile and EXIF in `info`."""
    image = Image.fromarray(_as_grey(picture.pixels) if picture.grey else picture.pixels)
    if picture.alpha is not None:
        image.putalpha(Image.fromarray(picture.alpha))
    if picture.icc:
        image.info["icc_profile"] = picture.icc
    if picture.exif:
        image.info["exif"] = picture.exif
    return image


def _as_grey(pixels: Bytes) -> Bytes:
    """(H, W, 3) -> (H, W): the rounded mean of the three channels."""
    grey: Bytes = ((pixels.astype(np.uint16).sum(axis=2) + 1) // 3).astype(np.uint8)
    return grey


def from_array(array: NDArray[Any]) -> Picture:
    """(H, W), (H, W, 1) or (H, W, 3); uint8, or float in [0, 1]. Raises `BadPicture`."""
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or array.shape[2] not in {1, 3}:
        raise BadPicture(f"an array must be (H, W), (H, W, 1) or (H, W, 3), not {array.shape}")
    if 0 in array.shape:
        raise BadPicture(f"the array is empty: {array.shape}")
    pixels = array if array.dtype == np.uint8 else _from_float(array)
    return Picture(np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3))), array.shape[2] == 1)


def _from_float(array: NDArray[Any]) -> Bytes:
    if not np.issubdtype(array.dtype, np.floating):
        raise BadPicture(f"an array must be uint8 or float in [0, 1], not {array.dtype}")
    if not np.isfinite(array).all():
        raise BadPicture("the array has NaN or infinite values; replace them first")
    if array.min() < 0 or array.max() > 1:
        raise BadPicture("float values must lie in [0, 1]; divide by 255, or pass uint8")
    rounded: Bytes = np.round(array * 255).astype(np.uint8)
    return rounded


def from_tensor(tensor: Tensor) -> Picture:
    """(C, H, W) with C = 1 or 3; uint8, or float in [0, 1]. Raises `BadPicture`."""
    if tensor.ndim != 3 or tensor.shape[0] not in {1, 3}:
        raise BadPicture(f"a tensor must be (C, H, W) with 1 or 3 channels, not {tuple(tensor.shape)}")
    plain = tensor.detach().cpu()
    return from_array((plain.float() if plain.is_floating_point() else plain).permute(1, 2, 0).numpy())


def pad_to(x: Tensor, multiple: int) -> Tensor:
    """Extend (B, C, H, W) at the right and bottom by its edge to whole multiples."""
    height, width = x.shape[-2:]
    right, bottom = -width % multiple, -height % multiple
    if not right and not bottom:
        return x
    return F.pad(x, (0, right, 0, bottom), mode="replicate")


def to_float(pixels: Bytes) -> Tensor:
    """(H, W, 3) uint8 -> (1, 3, H, W) float32 in [0, 1], channels last in memory."""
    return (torch.from_numpy(np.array(pixels)).float() / 255).permute(2, 0, 1)[None]


def to_uint8(x: Tensor) -> Bytes:
    """(1, 3, H, W) float -> (H, W, 3) uint8, clamped and rounded."""
    pixels = torch.round(x[0].clamp(0, 1) * 255).to(torch.uint8)
    array: Bytes = pixels.permute(1, 2, 0).contiguous().cpu().numpy()
    return array
