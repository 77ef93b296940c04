"""Functions as frozen tables, and the fixed-point modules of the papers' non-linear parts."""

from __future__ import annotations

import functools
from importlib import resources

import numpy as np
import torch
from torch import Tensor, nn

from lichen.lab.fixed_point.grid import ACTIVATION_BITS, round_to_grid


@functools.cache
def function_table(name: str, bits: int) -> Tensor:
    """A frozen function of x >= 0, (n,): at multiples of 2^-12, in units of 2^-bits, up to where it stays constant."""
    path = resources.files("lichen.lab.fixed_point") / "functions.npz"
    with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
        return torch.from_numpy(stored[name].astype(np.float64)) * 2.0**-bits


def look_up(name: str, x: Tensor, bits: int = ACTIVATION_BITS) -> Tensor:
    """The frozen function of x >= 0 on the grid, elementwise; beyond its table its last value."""
    table = function_table(name, bits).to(x.device)
    index = (x * 2**ACTIVATION_BITS).clamp_(max=len(table) - 1).long()
    return table[index]


class FixedPointHalfTanh(nn.Module):
    """tanh(x) / 2, elementwise, of an activation on the grid, by a frozen table."""

    def forward(self, x: Tensor) -> Tensor:
        x = round_to_grid(x)
        return torch.sign(x) * look_up("half_tanh", x.abs())
