"""The transform of Cheng 2020: residual blocks of 3 x 3 convolutions, sub-pixel upsampling, attention.

Without attention it is the "anchor" of CompressAI; the correlation-loss paper uses four attention blocks.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lichen.lab.transforms.blocks import Bottleneck, Pointwise, conv
from lichen.lab.transforms.gdn import GDN, IGDN

PAPERS_SLOPE = 0.01  # of the LeakyReLUs in Cheng's and Minnen's networks


def subpixel(channels_in: int, channels_out: int) -> nn.Sequential:
    """Sub-pixel upsampling (Shi 2016): 3 x 3 convolution, then depth to space; (B, Cin, h, w) -> (B, Cout, 2h, 2w)."""
    return nn.Sequential(conv(channels_in, 4 * channels_out, 3, 1), nn.PixelShuffle(2))


class ResidualBlock(nn.Module):
    """Residual block of two 3 x 3 convolutions (Cheng 2020): (B, C, h, w) -> (B, C, h, w)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv(channels, channels, 3, 1),
            nn.LeakyReLU(PAPERS_SLOPE, inplace=True),
            conv(channels, channels, 3, 1),
            nn.LeakyReLU(PAPERS_SLOPE, inplace=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.body(x) + x
        return out


class ResidualDown(nn.Module):
    """Residual block of stride 2 with GDN (Cheng 2020): (B, Cin, h, w) -> (B, Cout, h/2, w/2)."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv(channels_in, channels_out, 3),
            nn.LeakyReLU(PAPERS_SLOPE, inplace=True),
            conv(channels_out, channels_out, 3, 1),
            GDN(channels_out),
        )
        self.skip = Pointwise(channels_in, channels_out)

    def forward(self, x: Tensor) -> Tensor:
        """The skip drops pixels first: a 1 x 1 of stride 2 corrupts memory in training (PyTorch 2.13, CPU)."""
        out: Tensor = self.body(x) + self.skip(x[:, :, ::2, ::2])
        return out


class ResidualUp(nn.Module):
    """Residual block to twice the resolution with inverse GDN (Cheng 2020): (B, Cin, h, w) -> (B, Cout, 2h, 2w)."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            subpixel(channels_in, channels_out),
            nn.LeakyReLU(PAPERS_SLOPE, inplace=True),
            conv(channels_out, channels_out, 3, 1),
            IGDN(channels_out),
        )
        self.skip = subpixel(channels_in, channels_out)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.body(x) + self.skip(x)
        return out


class _AttentionUnit(Bottleneck):
    """Residual unit of an attention block: a bottleneck, then a ReLU; (B, C, h, w) -> (B, C, h, w)."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).relu_()


class Attention(nn.Module):
    """Simplified attention (Cheng 2020), x + trunk(x) sigmoid(mask(x)): (B, C, h, w) -> (B, C, h, w)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.trunk = nn.Sequential(*(_AttentionUnit(channels) for _ in range(3)))
        self.mask = nn.Sequential(*(_AttentionUnit(channels) for _ in range(3)), conv(channels, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.trunk(x) * torch.sigmoid(self.mask(x))
        return out


def cheng_analysis(channels: int, attention: bool) -> nn.Sequential:
    """Analysis (Cheng 2020): x (B, 3, H, W) in [0, 1] -> y (B, C, H/16, W/16); `attention` at 1/4 and 1/16."""
    return nn.Sequential(
        ResidualDown(3, channels),
        ResidualBlock(channels),
        ResidualDown(channels, channels),
        *([Attention(channels)] if attention else []),
        ResidualBlock(channels),
        ResidualDown(channels, channels),
        ResidualBlock(channels),
        conv(channels, channels, 3),
        *([Attention(channels)] if attention else []),
    )


def cheng_synthesis(channels: int, attention: bool) -> nn.Sequential:
    """Synthesis (Cheng 2020): y_hat (B, C, h, w) -> x_hat (B, 3, 16 h, 16 w); `attention` at 1/16 and 1/4."""
    return nn.Sequential(
        *([Attention(channels)] if attention else []),
        ResidualBlock(channels),
        ResidualUp(channels, channels),
        ResidualBlock(channels),
        ResidualUp(channels, channels),
        *([Attention(channels)] if attention else []),
        ResidualBlock(channels),
        ResidualUp(channels, channels),
        ResidualBlock(channels),
        subpixel(channels, 3),
    )
