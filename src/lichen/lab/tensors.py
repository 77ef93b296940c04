"""Arrays of pixels <-> tensors of the networks, and their extension to whole blocks. Pure functions, any device."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

Bytes = NDArray[np.uint8]


def to_float(pixels: Bytes) -> Tensor:
    """(H, W, 3) uint8 -> (1, 3, H, W) float32 in [0, 1] on the CPU, channels last in memory."""
    return (torch.from_numpy(np.array(pixels)).to(torch.float32) / 255).permute(2, 0, 1)[None]


def to_uint8(x: Tensor) -> Bytes:
    """(1, 3, H, W) float -> (H, W, 3) uint8, clamped to [0, 1], times 255 and rounded."""
    pixels = x[0].clamp(0, 1).mul_(255).round_().to(torch.uint8)
    array: Bytes = pixels.permute(1, 2, 0).contiguous().cpu().numpy()
    return array


def pad_to(x: Tensor, multiple: int) -> Tensor:
    """Extend (B, C, H, W) at the right and bottom by its edge to whole multiples."""
    height, width = x.shape[-2:]
    return extend_to(x, height + -height % multiple, width + -width % multiple)


def extend_to(x: Tensor, height: int, width: int) -> Tensor:
    """Extend (B, C, H, W) at the right and bottom by its edge to this size."""
    right, bottom = width - x.shape[-1], height - x.shape[-2]
    if not right and not bottom:
        return x
    return F.pad(x, (0, right, 0, bottom), mode="replicate")


def product(first: NDArray[Any], second: NDArray[Any]) -> NDArray[Any]:
    """The product (n, m) of matrices (n, k) and (k, m) by PyTorch: numpy's threads would hold up PyTorch's."""
    with torch.autocast("cpu", enabled=False):  # the calling program's is not asked for
        found: NDArray[Any] = (torch.from_numpy(first) @ torch.from_numpy(second)).numpy()
    return found
