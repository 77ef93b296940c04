"""Hyper transforms of the default model: y to z and z_hat to features, z at a quarter of the latents' resolution."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lichen.lab.transforms.blocks import SLOPE, LevelTable, Pointwise, asinh, down, up


def mix(channels: int, kernel: int) -> nn.Sequential:
    """Depthwise k x k convolution, 1 x 1 convolution, LeakyReLU: (B, C, h, w) -> (B, C, h, w).

    The padding repeats the edge: a training crop has only a few hyper-latents, most of them at an edge, and a network
    trained with zeros there does not carry over to whole pictures.
    """
    return nn.Sequential(
        nn.Conv2d(channels, channels, kernel, padding=kernel // 2, groups=channels, padding_mode="replicate"),
        Pointwise(channels, channels),
        nn.LeakyReLU(SLOPE),
    )


class FastHyperAnalysis(nn.Module):
    """Hyper analysis of the default model: y (B, M, h, w) and rate_level (B,) -> z (B, Z, h/4, w/4).

    h and w are multiples of 4. The input is asinh(y), so that magnitudes at all rates fit a small network. Only the
    encoder runs it, so its results may differ between machines by a rounding.
    """

    def __init__(self, latents: int, width: int, hyper_latents: int, levels: int) -> None:
        super().__init__()
        self.enter = Pointwise(latents, width)
        self.level = LevelTable(torch.zeros(levels, width))
        self.body = nn.Sequential(
            nn.LeakyReLU(SLOPE),
            down(width, width),
            nn.LeakyReLU(SLOPE),
            mix(width, 5),
            down(width, width),
            nn.LeakyReLU(SLOPE),
            mix(width, 3),
            Pointwise(width, hyper_latents),
        )

    def forward(self, y: Tensor, rate_level: Tensor) -> Tensor:
        z: Tensor = self.body(self.enter(asinh(y)) + self.level(rate_level))
        return z


class FastHyperSynthesis(nn.Module):
    """Hyper synthesis of the default model: z_hat (B, Z, h/4, w/4) and rate_level (B,) -> features (B, F, h, w).

    Its layers all have fixed-point modules (`lab.fixed_point`): files are coded in fixed point.
    """

    def __init__(self, hyper_latents: int, width: int, features: int, levels: int) -> None:
        super().__init__()
        self.enter = Pointwise(hyper_latents, width)
        self.level = LevelTable(torch.zeros(levels, width))
        self.body = nn.Sequential(
            nn.LeakyReLU(SLOPE),
            mix(width, 3),
            up(width, width),
            mix(width, 5),
            up(width, features),
            mix(features, 3),
        )

    def forward(self, z_hat: Tensor, rate_level: Tensor) -> Tensor:
        psi: Tensor = self.body(self.enter(z_hat) + self.level(rate_level))
        return psi
