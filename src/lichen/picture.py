"""Pictures and tensors: padding and arrays; files are in `lichen.files`."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def pad_to(x: Tensor, multiple: int) -> Tensor:
    """Extend (B, C, H, W) at the right and bottom by its edge to multiples; at least one."""
    height, width = x.shape[-2:]
    right, bottom = -width % multiple, -height % multiple
    if not right and not bottom:
        return x
    return F.pad(x, (0, right, 0, bottom), mode="replicate")


def to_uint8(x: Tensor) -> Tensor:
    """Float pixels in [0, 1], clamped and rounded to 0 ... 255."""
    return torch.round(x.clamp(0, 1) * 255).to(torch.uint8)
