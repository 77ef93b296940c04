"""The transform of Balle 2018 and Minnen 2018: four 5 x 5 convolutions of stride 2 with GDN or GSDN between."""

from __future__ import annotations

from torch import nn

from lichen.lab.transforms.blocks import conv, deconv
from lichen.lab.transforms.gdn import GDN, GSDN, IGDN, IGSDN


def minnen_analysis(width: int, latents: int, norm: type[GDN] | type[GSDN] = GDN) -> nn.Sequential:
    """Analysis (Minnen 2018): x (B, 3, H, W) in [0, 1] -> y (B, M, H/16, W/16).

    `width` is the papers' N, `latents` their M; H and W are multiples of 16.
    """
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
    """Synthesis (Minnen 2018): y_hat (B, M, h, w) -> x_hat (B, 3, 16 h, 16 w), unclamped."""
    return nn.Sequential(
        deconv(latents, width),
        norm(width),
        deconv(width, width),
        norm(width),
        deconv(width, width),
        norm(width),
        deconv(width, 3),
    )
