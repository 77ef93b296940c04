"""Hyper transforms of the papers: y <-> z at a quarter of the latents' resolution, by convolutions.

Every synthesis here is made of layers that `prior.exact` has twins for.
"""

from __future__ import annotations

from torch import Tensor, nn

from lichen.lab.transforms.blocks import conv, deconv
from lichen.lab.transforms.cheng import PAPERS_SLOPE, subpixel


class Magnitude(nn.Module):
    """|y|: what the scale hyperprior (Balle 2018) analyses."""

    def forward(self, y: Tensor) -> Tensor:
        return y.abs()


def conv_hyper_analysis(latents: int, hyper_latents: int, slope: float, magnitude: bool) -> nn.Sequential:
    """y (B, M, h, w), h and w multiples of 4 -> z (B, Z, h/4, w/4); `slope` of the rectifiers (Balle, Minnen 2018)."""
    return nn.Sequential(
        *([Magnitude()] if magnitude else []),
        conv(latents, hyper_latents, 3, 1),
        nn.LeakyReLU(slope),
        conv(hyper_latents, hyper_latents),
        nn.LeakyReLU(slope),
        conv(hyper_latents, hyper_latents),
    )


def conv_hyper_synthesis(hyper_latents: int, inner: tuple[int, int], features: int, slope: float) -> nn.Sequential:
    """z_hat (B, Z, h/4, w/4) -> features (B, F, h, w); `inner` are the channels at half and at full resolution."""
    return nn.Sequential(
        deconv(hyper_latents, inner[0]),
        nn.LeakyReLU(slope),
        deconv(inner[0], inner[1]),
        nn.LeakyReLU(slope),
        conv(inner[1], features, 3, 1),
    )


def cheng_hyper_analysis(latents: int, width: int) -> nn.Sequential:
    """y (B, M, h, w), h and w multiples of 4 -> z (B, N, h/4, w/4) by five 3 x 3 convolutions (Cheng 2020)."""
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
    """z_hat (B, N, h/4, w/4) -> features (B, F, h, w) with sub-pixel upsampling (Cheng 2020)."""
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
