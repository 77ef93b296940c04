"""The activation grid, and sums that are exact on it.

Activations are multiples of 2^-12 within +-2048 (24 bits), weights have 16 bits and a power-of-two step. Both are
carried in float64, where every partial sum of a convolution is an integer (in units of the product of the steps)
below 2^53, hence exact in whatever order a library adds. After each layer the result is rounded to the grid (half
to even) and clamped. See docs/format.md, section 3.
"""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn

from lichen.errors import BadCheckpoint

ACTIVATION_BITS = 12  # fractional bits
ACTIVATION_MAX = 2048.0 - 2.0**-ACTIVATION_BITS
ROUNDER = 1.5 * 2.0 ** (52 - ACTIVATION_BITS)
WEIGHT_BITS = 14  # fractional bits of a weight at most; fewer when a layer has weights beyond 2
_PADDING = {"zeros": "constant", "replicate": "replicate"}  # names of nn.Conv2d and of F.pad
WEIGHT_LEVELS = 2**15  # |weight| in steps is below this: signed 16 bits


def round_to_grid(x: Tensor) -> Tensor:
    """Round to the activation grid, elementwise, half to even, and clamp; float64 in and out."""
    return round_to_grid_((x + 0.0).double())


def round_to_grid_(x: Tensor, offset: Tensor | float = ROUNDER) -> Tensor:
    """`round_to_grid` in place, for |x| < 2^39, by adding a number whose last place is the grid's (half to even).

    `offset` is that number, or a tensor of it plus a bias on the grid, which is then added too; x is of any shape.
    """
    return x.add_(offset).sub_(ROUNDER).clamp_(-ACTIVATION_MAX, ACTIVATION_MAX)


def clamp_to_grid(x: Tensor) -> Tensor:
    """x of any shape clamped to the activations' range; as it is where nothing is beyond, which is nearly always."""
    low, high = torch.aminmax(x.permute(0, 2, 3, 1) if x.dim() == 4 else x)  # contiguous, or it copies
    return x.clamp(-ACTIVATION_MAX, ACTIVATION_MAX) if max(-float(low), float(high)) > ACTIVATION_MAX else x


def step_bits(weight: Tensor) -> int:
    """Fractional bits with which the largest of a layer's weights, of any shape, still fits 16 bits.

    Raises `BadCheckpoint` for weights that are not finite.
    """
    largest = float(weight.abs().max()) if weight.numel() else 0.0
    if not math.isfinite(largest):
        raise BadCheckpoint("a weight of the prior is not finite: the weights file is damaged")
    bits = WEIGHT_BITS
    while round(largest * 2**bits) >= WEIGHT_LEVELS:
        bits -= 1
    return bits


def conv_by_taps(padded: Tensor, taps: Tensor) -> Tensor:
    """The convolution of padded (B, H, W, Cin) with taps (k, l, Cin, Cout): (B, H - k + 1, W - l + 1, Cout).

    A matrix product for each tap, over the pixels as they lie in memory: nothing is unfolded. What it computes where
    a row ends and the next begins is dropped.
    """
    (batch, down, across), (side, breadth) = padded.shape[:3], taps.shape[:2]
    height, width = down - side + 1, across - breadth + 1
    count = (height - 1) * across + width
    totals = padded.new_empty(batch, height * across, taps.shape[3])
    for pixels, total in zip(padded.reshape(batch, down * across, -1), totals[:, :count], strict=True):
        for row, column in itertools.product(range(side), range(breadth)):
            first = row * across + column
            part = pixels[first : first + count]
            if first:
                total.addmm_(part, taps[row, column])
            else:
                torch.mm(part, taps[row, column], out=total)
    rows = totals.view(batch, height, across, -1)
    return rows[:, :, :width].contiguous()


def fill_of(conv: nn.Conv2d) -> str:
    """What lies beyond the map for a convolution, as `F.pad` names it. Raises `BadCheckpoint`."""
    if isinstance(conv.padding, str) or conv.padding_mode not in _PADDING or conv.dilation != (1, 1):
        raise BadCheckpoint("a convolution of the prior has padding or dilation that is not supported")
    return _PADDING[conv.padding_mode]
