"""Fixed-point twins of layers beside plain convolutions: transposed ones, and functions as tables."""

from __future__ import annotations

import functools
from importlib import resources

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lichen.errors import BadCheckpoint
from lichen.prior.exact import ACTIVATION_BITS, ACTIVATION_MAX, snap, snap_, step_bits, within


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
        product = F.conv_transpose2d(within(x), self.weight, None, self.stride, self.padding, self.more)
        return snap_(product.add_(self.bias[:, None, None]))


@functools.cache
def function_table(name: str) -> Tensor:
    """A frozen function of x >= 0 at multiples of 2^-12, on the grid, up to where it stays constant (float64)."""
    path = resources.files("lichen.prior") / "functions.npz"
    with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
        return torch.from_numpy(stored[name].astype(np.float64)) * 2.0**-ACTIVATION_BITS


def look_up(name: str, x: Tensor) -> Tensor:
    """The frozen function of x >= 0 on the grid; beyond its table its last value."""
    table = function_table(name).to(x.device)
    index = (x * 2**ACTIVATION_BITS).long().clamp_(max=len(table) - 1)
    return table[index]


class ExactHalfTanh(nn.Module):
    """tanh(x) / 2 of an activation on the grid, by a frozen table."""

    def forward(self, x: Tensor) -> Tensor:
        x = snap(x)
        return torch.sign(x) * look_up("half_tanh", x.abs())
