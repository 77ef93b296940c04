"""Hyper transforms of the papers by convolutions: y to z and z_hat to features, z at a quarter of y's resolution.

Every layer of a synthesis here has a fixed-point module (`lab.fixed_point`).
"""

from __future__ import annotations

from torch import Tensor, nn

from lichen.lab.transforms.blocks import conv, deconv
from lichen.lab.transforms.cheng import PAPERS_SLOPE, subpixel


class Magnitude(nn.Module):
    """Absolute value, the first layer of the scale hyperprior (Balle 2018): (B, M, h, w) -> (B, M, h, w)."""

    def forward(self, y: Tensor) -> Tensor:
        return y.abs()


def conv_hyper_analysis(latents: int, hyper_latents: int, slope: float, magnitude: bool) -> nn.Sequential:
    """Hyper analysis (Balle 2018, Minnen 2018): y (B, M, h, w), h and w multiples of 4 -> z (B, Z, h/4, w/4).

    `slope` is that of the LeakyReLUs (0: ReLU); `magnitude` takes |y| first.
    """
    return nn.Sequential(
        *([Magnitude()] if magnitude else []),
        conv(latents, hyper_latents, 3, 1),
        nn.LeakyReLU(slope),
        conv(hyper_latents, hyper_latents),
        nn.LeakyReLU(slope),
        conv(hyper_latents, hyper_latents),
    )


def conv_hyper_synthesis(hyper_latents: int, inner: tuple[int, int], features: int, slope: float) -> nn.Sequential:
    """Hyper synthesis (Balle 2018, Minnen 2018): z_hat (B, Z, h/4, w/4) -> features (B, F, h, w).

    `inner` are the channels at half and at full resolution, `slope` is that of the LeakyReLUs.
    """
    return nn.Sequential(
        deconv(hyper_latents, inner[0]),
        nn.LeakyReLU(slope),
        deconv(inner[0], inner[1]),
        nn.LeakyReLU(slope),
        conv(inner[1], features, 3, 1),
    )


def cheng_hyper_analysis(latents: int, width: int) -> nn.Sequential:
    """Hyper analysis by five 3 x 3 convolutions (Cheng 2020): y (B, M, h, w) -> z (B, N, h/4, w/4).

    h and w are multiples of 4; N is `width`.
    """
    return nn.Sequential(
        conv(latents, width, 3, 1),
        nn.LeakyReLU(PAPERS_SLOPE),
        conv(width, width, 3, 1),
        nn.LeakyReLU(PAPERS_SLOPE),
        conv(width, width, 3),
        nn.LeakyReLU(PAPERS_SLOPE),
        conv(width, width, 3, 1),
        nn.LeakyReLU(PAPERS_SLOPE),
        conv(width, width, 3),
    )


def cheng_hyper_synthesis(width: int, features: int) -> nn.Sequential:
    """Hyper synthesis with sub-pixel upsampling (Cheng 2020): z_hat (B, N, h/4, w/4) -> features (B, F, h, w)."""
    wide = width * 3 // 2
    return nn.Sequential(
        conv(width, width, 3, 1),
        nn.LeakyReLU(PAPERS_SLOPE),
        subpixel(width, width),
        nn.LeakyReLU(PAPERS_SLOPE),
        conv(width, wide, 3, 1),
        nn.LeakyReLU(PAPERS_SLOPE),
        subpixel(wide, wide),
        nn.LeakyReLU(PAPERS_SLOPE),
        conv(wide, features, 3, 1),
    )
