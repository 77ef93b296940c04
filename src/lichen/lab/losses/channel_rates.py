"""Which channels of a latent cost bits: the rate of each under its Gaussian, as a coder would have it."""

from __future__ import annotations

import torch
from torch import Tensor

from lichen.coding.scales import SCALE_MIN

PROBABILITY_MIN = 2.0**-24  # of a symbol, as the range coder has it


def gaussian_bits(residual: Tensor, scale: Tensor) -> Tensor:
    """-log2 of the probability of integers `residual` under a Gaussian of mean 0, rounded; elementwise."""
    distance = residual.abs()
    probability = torch.special.ndtr((0.5 - distance) / scale) - torch.special.ndtr((-0.5 - distance) / scale)
    return -torch.log2(probability.clamp(min=PROBABILITY_MIN))


@torch.no_grad()
def channel_bits(y: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    """The bits (C,) that round(y - mean) costs in each channel, over all pictures: (B, C, h, w) each, no gradient."""
    return gaussian_bits((y - mean).round(), scale.clamp(min=SCALE_MIN)).sum(dim=(0, 2, 3))
