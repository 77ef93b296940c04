"""The transform of Balle and Minnen: four 5 x 5 convolutions of stride 2 with divisive normalisation between."""

from __future__ import annotations

from torch import nn

from lichen.lab.transforms.blocks import conv, deconv
from lichen.lab.transforms.gdn import GDN, GSDN, IGDN, IGSDN


def minnen_analysis(width: int, latents: int, norm: type[GDN] | type[GSDN] = GDN) -> nn.Sequential:
    """x (B, 3, H, W) in [0, 1] -> y (B, M, H/16, W/16); `width` channels inside (N of the papers)."""
    return nn.Sequential(
        conv(3, width),
        norm(width),
        conv(width, width),
        norm(width),
        conv(width, width),
        norm(width),
        conv(width, latents),
    )


def minnen_synthesis(width: int, latents: int, norm: type[IGDN] | type[IGSDN] = IGDN) -> nn.Sequential:
    """y_hat (B, M, h, w) -> x_hat (B, 3, 16 h, 16 w)."""
    return nn.Sequential(
        deconv(latents, width),
        norm(width),
        deconv(width, width),
        norm(width),
        deconv(width, width),
        norm(width),
        deconv(width, 3),
    )
