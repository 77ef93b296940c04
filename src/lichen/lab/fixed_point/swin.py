"""Fixed-point modules of the layers of a Swin hyper synthesis: GELU, layer normalisation, softmax attention.

Exact in any order: sums are of integers below 2^53; functions come from frozen tables; what remains are
IEEE divisions and square roots of single numbers.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from lichen.errors import BadCheckpoint
from lichen.lab.fixed_point.functions import look_up
from lichen.lab.fixed_point.grid import clamp_to_grid, round_to_grid, round_to_grid_, step_bits
from lichen.lab.fixed_point.registry import register
from lichen.lab.transforms.swin import Attend, ChannelNorm

_SHARE_BITS = 20  # fractional bits of an attention weight
_FADED = 21  # 2^-21 and less of the largest weight count as nothing
_SPREAD_MAX = 511.0  # of a position's channels about their mean, for normalisation


class FixedPointGELU(nn.Module):
    """x P(X < x) under the normal distribution, (B, C, h, w) -> (B, C, h, w), by the frozen table of its tail.

    Raises `BadCheckpoint` for approximations of GELU.
    """

    def __init__(self, act: nn.GELU) -> None:
        super().__init__()
        if act.approximate != "none":
            raise BadCheckpoint("only the exact GELU has a fixed-point module")

    def forward(self, x: Tensor) -> Tensor:
        x = round_to_grid(x)
        size = x.abs()
        return x.clamp(min=0) - round_to_grid_(size * look_up("tail", size, 24))


class FixedPointChannelNorm(nn.Module):
    """The fixed-point module of a layer normalisation over channels: (B, C, h, w) -> (B, C, h, w) on the grid.

    Raises `BadCheckpoint` beyond 1024 channels.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, norm: ChannelNorm) -> None:
        super().__init__()
        weight = norm.weight.detach().double()
        if len(weight) > 1024:
            raise BadCheckpoint("a normalisation of the prior has too many channels for exact arithmetic")
        bits = step_bits(weight)
        self.register_buffer("weight", torch.round(weight * 2.0**bits) / 2.0**bits)
        self.register_buffer("bias", round_to_grid(norm.bias.detach()))
        self.eps = norm.eps

    def forward(self, x: Tensor) -> Tensor:
        pixels = x.permute(0, 2, 3, 1)
        channels = pixels.shape[3]
        spread = (pixels - round_to_grid(pixels.sum(dim=3, keepdim=True) / channels)).clamp(-_SPREAD_MAX, _SPREAD_MAX)
        variance = spread.square().sum(dim=3, keepdim=True) / channels
        normal = round_to_grid_(spread / (variance + self.eps).sqrt())
        return round_to_grid_(normal * self.weight + self.bias).permute(0, 3, 1, 2)


class FixedPointAttend(nn.Module):
    """The fixed-point module of attention within windows: q, k and v (n, heads, positions, c), `apart` as in `Attend`.

    Raises `BadCheckpoint` beyond 64 positions or channels of a head.
    """

    bias: Tensor

    def __init__(self, attend: Attend) -> None:
        super().__init__()
        self.register_buffer("bias", round_to_grid(attend.bias.detach()[:, attend.index]))

    def forward(self, q: Tensor, k: Tensor, v: Tensor, apart: Tensor) -> Tensor:
        if q.shape[3] > 64 or q.shape[2] > 64:
            raise BadCheckpoint("an attention of the prior is too wide for exact arithmetic")
        products = torch.matmul(clamp_to_grid(q), clamp_to_grid(k).transpose(2, 3))
        scores = (round_to_grid_(products * (1 / math.sqrt(q.shape[3]))) + self.bias).masked_fill(apart, -math.inf)
        weights = _falling(scores.amax(dim=3, keepdim=True) - scores)
        shares = weights / weights.sum(dim=3, keepdim=True)
        shares = torch.round(shares * 2.0**_SHARE_BITS) * 2.0**-_SHARE_BITS
        return round_to_grid_(torch.matmul(shares, clamp_to_grid(v)))


def _falling(x: Tensor) -> Tensor:
    """exp(-x) of x >= 0, infinity included, as multiples of 2^-44."""
    halvings = round_to_grid((x * (1 / math.log(2))).clamp(max=_FADED))
    whole = halvings.floor()
    powers = torch.tensor([2.0**-i for i in range(_FADED)] + [0.0], dtype=torch.float64, device=x.device)
    return look_up("halving", halvings - whole, 24) * powers[whole.long()]


register(nn.GELU, FixedPointGELU)
register(ChannelNorm, FixedPointChannelNorm)
register(Attend, FixedPointAttend)
