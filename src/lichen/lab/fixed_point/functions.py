"""Fixed-point twins of layers beside plain convolutions: transposed ones, and functions as tables."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable
from importlib import resources
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lichen.errors import BadCheckpoint
from lichen.lab.fixed_point.convert import (
    ACTIVATION_BITS,
    ACTIVATION_MAX,
    ROUNDER,
    snap,
    snap_,
    step_bits,
    summed,
    within,
)
from lichen.lab.prior.families import SCALE_MAX, SCALE_MIN, Belief


class ExactDeconv(nn.Module):
    """The fixed-point twin of a ConvTranspose2d: (B, Cin, h, w) -> (B, Cout, h', w') float64 on the grid.

    The outputs of each phase of the stride are a plain convolution with every stride-th tap, backwards.
    """

    taps: Tensor  # (k, l, Cin, Cout)
    offset: Tensor

    def __init__(self, conv: nn.ConvTranspose2d) -> None:
        super().__init__()
        if conv.groups != 1 or conv.dilation != (1, 1) or not isinstance(conv.padding, tuple):
            raise BadCheckpoint("a transposed convolution of the prior has groups or dilation; it is not supported")
        if max(conv.stride[0] - conv.kernel_size[0], conv.stride[1] - conv.kernel_size[1]) > 0:
            raise BadCheckpoint("a transposed convolution of the prior has a kernel below its stride; not supported")
        weight = conv.weight.detach().double()
        bits = step_bits(weight)
        bias = snap(torch.zeros(conv.out_channels) if conv.bias is None else conv.bias.detach())
        taps = torch.round(weight * 2.0**bits) / 2.0**bits
        self.register_buffer("taps", taps.permute(2, 3, 0, 1).contiguous())
        self.register_buffer("offset", bias + ROUNDER)
        self.stride, self.padding, self.more = conv.stride, conv.padding, conv.output_padding
        units = taps.abs().sum(dim=(0, 2, 3)) * ACTIVATION_MAX + bias.abs()
        if float(units.max()) * 2.0 ** (bits + ACTIVATION_BITS) >= 2.0**53:
            raise BadCheckpoint("a layer of the prior is too large for exact arithmetic; retrain it")

    def forward(self, x: Tensor) -> Tensor:
        pixels = within(x).permute(0, 2, 3, 1)
        height, width = (
            (side - 1) * stride - 2 * padding + taps + more
            for side, stride, padding, taps, more in zip(
                x.shape[2:], self.stride, self.padding, self.taps.shape, self.more, strict=False
            )
        )
        out = pixels.new_empty(x.shape[0], height, width, self.taps.shape[3])
        for row, column in itertools.product(range(self.stride[0]), range(self.stride[1])):
            target = out[:, row :: self.stride[0], column :: self.stride[1]]
            above, rows = self._phase(0, row, x.shape[2], target.shape[1])
            beside, columns = self._phase(1, column, x.shape[3], target.shape[2])
            target.copy_(summed(F.pad(pixels, (0, 0, *beside, *above)), self.taps[rows][:, columns]))
        return snap_(out, self.offset).permute(0, 3, 1, 2)

    def _phase(self, axis: int, phase: int, inputs: int, outputs: int) -> tuple[tuple[int, int], list[int]]:
        """Of one axis: what to pad before and after its inputs, and which taps make the outputs of one phase."""
        stride, shifted = self.stride[axis], phase + self.padding[axis]
        taps = range(shifted % stride, self.taps.shape[axis], stride)
        first, last = ((shifted - tap) // stride for tap in (taps[-1], taps[0]))  # inputs seen by output 0
        return (-first, outputs + last - inputs), list(reversed(taps))


@functools.cache
def function_table(name: str, bits: int) -> Tensor:
    """A frozen function of x >= 0 at multiples of 2^-12, in units of 2^-bits, up to where it stays constant."""
    path = resources.files("lichen.lab.fixed_point") / "functions.npz"
    with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
        return torch.from_numpy(stored[name].astype(np.float64)) * 2.0**-bits


def look_up(name: str, x: Tensor, bits: int = ACTIVATION_BITS) -> Tensor:
    """The frozen function of x >= 0 on the grid; beyond its table its last value."""
    table = function_table(name, bits).to(x.device)
    index = (x * 2**ACTIVATION_BITS).clamp_(max=len(table) - 1).long()
    return table[index]


class ExactHalfTanh(nn.Module):
    """tanh(x) / 2 of an activation on the grid, by a frozen table."""

    def forward(self, x: Tensor) -> Tensor:
        x = snap(x)
        return torch.sign(x) * look_up("half_tanh", x.abs())


class ExactWeigh(nn.Module):
    """x times two factors in [0, 1]: a product of grid values is exact in float64, and snapped."""

    def forward(self, x: Tensor, similarity: Tensor, confidence: Tensor) -> Tensor:
        return snap_(x * snap_(similarity * confidence))


class ExactLogMean(nn.Module):
    """log2 of the mean of two deviations that are given as log2, by a frozen table of their difference."""

    def forward(self, one: Tensor, other: Tensor) -> Tensor:
        return torch.maximum(one, other) + look_up("log_mean", (one - other).abs())


def _powers(whole: Tensor) -> Tensor:
    """2^-whole for whole numbers from -4 (below log2 of the smallest scale) to 8 (the largest)."""
    powers = torch.tensor([2.0**-i for i in range(-4, 9)], dtype=torch.float64, device=whole.device)
    return powers[(whole + 4).long()]


class ExactConfidence(nn.Module):
    """The channels' mean of P(y_hat), (B, n, C) -> (B, n, 1): integers of 2^-24 from frozen tables, one division."""

    def forward(self, y_hat: Tensor, belief: Belief) -> Tensor:
        raw = snap(belief.raw.clamp(math.log2(SCALE_MIN), math.log2(SCALE_MAX)))
        whole = raw.floor()
        inverse = look_up("halving", raw - whole, 24) * _powers(whole)  # 1 / scale
        distance = (within(y_hat) - belief.mean).abs()
        near, far = (snap((distance + side) * inverse) for side in (-0.5, 0.5))
        tails = look_up("tail", near.abs(), 24)
        mass = torch.where(near < 0, 1 - tails, tails) - look_up("tail", far, 24)
        return snap(mass.sum(dim=2, keepdim=True) / mass.shape[2])


TWINS: dict[type[nn.Module], Callable[[Any], nn.Module]] = {nn.ConvTranspose2d: ExactDeconv}
