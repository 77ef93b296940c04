"""Fixed-point twins of layers beside plain convolutions: transposed ones, and functions as tables."""

from __future__ import annotations

import functools
import math
from importlib import resources

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lichen.errors import BadCheckpoint
from lichen.prior.density import SCALE_MAX, SCALE_MIN, Belief
from lichen.prior.exact import ACTIVATION_BITS, ACTIVATION_MAX, snap, snap_, step_bits, within

UNFOLDED = 2**23  # numbers that a transposed convolution may unfold at a time: 64 MB


class ExactDeconv(nn.Module):
    """The fixed-point twin of a ConvTranspose2d: (B, Cin, h, w) -> (B, Cout, h', w') float64 on the grid."""

    weight: Tensor
    bias: Tensor

    def __init__(self, conv: nn.ConvTranspose2d) -> None:
        super().__init__()
        if conv.groups != 1 or conv.dilation != (1, 1) or not isinstance(conv.padding, tuple):
            raise BadCheckpoint("a transposed convolution of the prior has groups or dilation; it is not supported")
        weight = conv.weight.detach().double()
        bits = step_bits(weight)
        bias = torch.zeros(conv.out_channels) if conv.bias is None else conv.bias.detach()
        self.register_buffer("weight", torch.round(weight * 2.0**bits) / 2.0**bits)
        self.register_buffer("bias", snap(bias))
        self.stride, self.padding, self.more = conv.stride, conv.padding, conv.output_padding
        units = self.weight.abs().sum(dim=(0, 2, 3)) * ACTIVATION_MAX + self.bias.abs()
        if float(units.max()) * 2.0 ** (bits + ACTIVATION_BITS) >= 2.0**53:
            raise BadCheckpoint("a layer of the prior is too large for exact arithmetic; retrain it")

    def forward(self, x: Tensor) -> Tensor:
        x = within(x)
        unfolded = self.weight[0, 0].numel() * x.shape[2] * x.shape[3]  # for each output channel
        parts = self.weight.split(max(UNFOLDED // unfolded, 1), dim=1)
        products = [F.conv_transpose2d(x, part, None, self.stride, self.padding, self.more) for part in parts]
        product = products[0] if len(products) == 1 else torch.cat(products, dim=1)
        return snap_(product.add_(self.bias[:, None, None]))


@functools.cache
def function_table(name: str, bits: int) -> Tensor:
    """A frozen function of x >= 0 at multiples of 2^-12, in units of 2^-bits, up to where it stays constant."""
    path = resources.files("lichen.prior") / "functions.npz"
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
