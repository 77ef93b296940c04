"""The transforms of ELIC (He 2022, supplement, tables 1 and 2): residual bottlenecks between 5 x 5 convolutions."""

from __future__ import annotations

from torch import nn

from lichen.lab.transforms.blocks import Bottleneck, conv, deconv
from lichen.lab.transforms.cheng import Attention


def elic_analysis(width: int, latents: int, blocks: int, attention: bool) -> nn.Sequential:
    """Analysis (He 2022): x (B, 3, H, W) in [0, 1] -> y (B, M, H/16, W/16).

    `width` is N, `latents` M, `blocks` the bottlenecks of a stage; `attention` at 1/4 and 1/16 of the resolution.
    """
    return nn.Sequential(
        conv(3, width),
        *(Bottleneck(width) for _ in range(blocks)),
        conv(width, width),
        *(Bottleneck(width) for _ in range(blocks)),
        *([Attention(width)] if attention else []),
        conv(width, width),
        *(Bottleneck(width) for _ in range(blocks)),
        conv(width, latents),
        *([Attention(latents)] if attention else []),
    )


def elic_synthesis(width: int, latents: int, blocks: int, attention: bool) -> nn.Sequential:
    """Synthesis (He 2022): y_hat (B, M, h, w) -> x_hat (B, 3, 16 h, 16 w), unclamped; `attention` at 1/16 and 1/4."""
    return nn.Sequential(
        *([Attention(latents)] if attention else []),
        deconv(latents, width),
        *(Bottleneck(width) for _ in range(blocks)),
        deconv(width, width),
        *([Attention(width)] if attention else []),
        *(Bottleneck(width) for _ in range(blocks)),
        deconv(width, width),
        *(Bottleneck(width) for _ in range(blocks)),
        deconv(width, 3),
    )
