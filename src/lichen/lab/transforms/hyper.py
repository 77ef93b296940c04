"""Hyper transforms of the default model: y <-> z, a quarter of the latents' resolution."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lichen.lab.transforms.blocks import SLOPE, LevelTable, Pointwise, asinh, down, up


def mix(channels: int, kernel: int) -> nn.Sequential:
    """Depthwise k x k, 1 x 1, LeakyReLU: (B, C, h, w) -> (B, C, h, w).

    Padded by repeating the edge: a training crop has only a few hyper-latents, most of them at an edge,
    and with zeros there the network does not carry over to whole pictures.
    """
    return nn.Sequential(
        nn.Conv2d(channels, channels, kernel, padding=kernel // 2, groups=channels, padding_mode="replicate"),
        Pointwise(channels, channels),
        nn.LeakyReLU(SLOPE),
    )


class FastHyperAnalysis(nn.Module):
    """y (B, M, h, w), h and w multiples of 4, and level (B,) -> z (B, Z, h/4, w/4).

    Sees asinh(y), so that magnitudes over all qualities fit a small network. Free to differ between
    machines: only the encoder runs it.
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

    def forward(self, y: Tensor, level: Tensor) -> Tensor:
        z: Tensor = self.body(self.enter(asinh(y)) + self.level(level))
        return z


class FastHyperSynthesis(nn.Module):
    """z_hat (B, Z, h/4, w/4) and level (B,) -> features (B, F, h, w) for the context model.

    Built of layers that `prior.exact` knows: at coding time it runs in fixed point.
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

    def forward(self, z_hat: Tensor, level: Tensor) -> Tensor:
        psi: Tensor = self.body(self.enter(z_hat) + self.level(level))
        return psi
