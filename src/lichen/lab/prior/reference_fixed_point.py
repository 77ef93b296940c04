"""Fixed-point modules of Global Reference's weights, confidence and combined deviations (Qian 2021)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from lichen.coding.scales import SCALE_MAX, SCALE_MIN
from lichen.lab.fixed_point.functions import look_up
from lichen.lab.fixed_point.grid import clamp_to_grid, round_to_grid, round_to_grid_
from lichen.lab.prior.entropy_parameters import EntropyParameters


class FixedPointWeigh(nn.Module):
    """x (B, n, C) times two factors (B, n, 1) in [0, 1]: exact in float64, and rounded to the grid."""

    def forward(self, x: Tensor, similarity: Tensor, confidence: Tensor) -> Tensor:
        return round_to_grid_(x * round_to_grid_(similarity * confidence))


class FixedPointLogMean(nn.Module):
    """log2 of the mean of two deviations, elementwise, given as log2: by a frozen table of their difference."""

    def forward(self, one: Tensor, other: Tensor) -> Tensor:
        return torch.maximum(one, other) + look_up("log_mean", (one - other).abs())


def _powers(whole: Tensor) -> Tensor:
    """2^-whole for whole numbers from -4 (below log2 of the smallest scale) to 8 (the largest)."""
    powers = torch.tensor([2.0**-i for i in range(-4, 9)], dtype=torch.float64, device=whole.device)
    return powers[(whole + 4).long()]


class FixedPointConfidence(nn.Module):
    """The channels' mean of P(y_hat), (B, n, C) -> (B, n, 1): integers of 2^-24 from frozen tables, one division."""

    def forward(self, y_hat: Tensor, parameters: EntropyParameters) -> Tensor:
        raw_scale = round_to_grid(parameters.raw_scale.clamp(math.log2(SCALE_MIN), math.log2(SCALE_MAX)))
        whole = raw_scale.floor()
        inverse = look_up("halving", raw_scale - whole, 24) * _powers(whole)  # 1 / scale
        distance = (clamp_to_grid(y_hat) - parameters.mean).abs()
        near, far = (round_to_grid((distance + side) * inverse) for side in (-0.5, 0.5))
        tails = look_up("tail", near.abs(), 24)
        mass = torch.where(near < 0, 1 - tails, tails) - look_up("tail", far, 24)
        return round_to_grid(mass.sum(dim=2, keepdim=True) / mass.shape[2])
