"""What a caller gives as a picture, in any of its forms -> `Picture`; notices point at the caller's own line."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lichen.errors import PictureNotice
from lichen.image.picture import Picture, from_array, from_pil, from_tensor

if TYPE_CHECKING:
    from torch import Tensor

    AnyPicture = Picture | Image.Image | NDArray[Any] | Tensor

_INSIDE = {"lichen", "torch", "PIL"}  # packages between the caller's line and this module


def as_picture(given: AnyPicture, check_size: Callable[[int, int], object]) -> Picture:
    """A `Picture`; a Pillow image; numpy (H, W[, 1 or 3]) or torch (C, H, W), uint8 or float in [0, 1] -> `Picture`.

    `check_size` is called once with the width and height in pixels and raises where it refuses them: of a Pillow
    image before it is loaded. Raises `BadPicture`, `UsageError`; warns with `PictureNotice` of what was changed.
    """
    if isinstance(given, Image.Image):
        check_size(*given.size)
        return _told(from_pil(given))
    picture = given if isinstance(given, Picture) else _told(_converted(given))
    height, width = picture.pixels.shape[:2]
    check_size(width, height)
    return picture


def _told(picture: Picture) -> Picture:
    """The picture, after its notices."""
    for notice in picture.notices:
        notify(notice)
    return picture


def _converted(given: NDArray[Any] | Tensor) -> Picture:
    return from_array(given) if isinstance(given, np.ndarray) else from_tensor(given)


def notify(notice: str) -> None:
    """Warn with `PictureNotice`, of the nearest line outside of this package, PyTorch and Pillow."""
    frame, depth = sys._getframe(), 1
    while frame.f_back is not None and frame.f_globals.get("__name__", "").split(".")[0] in _INSIDE:
        frame, depth = frame.f_back, depth + 1
    warnings.warn(notice, PictureNotice, stacklevel=depth)
