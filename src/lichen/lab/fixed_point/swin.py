"""Fixed-point twins of the layers of a Swin hyper synthesis: GELU, layer normalisation, softmax attention.

Exact in any order: sums are of integers below 2^53; functions come from frozen tables; what remains are
IEEE divisions and square roots of single numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from lichen.errors import BadCheckpoint
from lichen.lab.fixed_point.convert import snap, snap_, step_bits, within
from lichen.lab.fixed_point.functions import look_up
from lichen.lab.transforms.swin import Attend, ChannelNorm

_SHARE_BITS = 20  # fractional bits of an attention weight
_FADED = 21  # 2^-21 and less of the largest weight count as nothing
_SPREAD_MAX = 511.0  # of a position's channels about their mean, for normalisation


class ExactGELU(nn.Module):
    """x P(X < x) under the normal distribution, (B, C, h, w) -> (B, C, h, w), by the frozen table of its tail."""

    def __init__(self, act: nn.GELU) -> None:
        super().__init__()
        if act.approximate != "none":
            raise BadCheckpoint("only the exact GELU has a fixed-point twin")

    def forward(self, x: Tensor) -> Tensor:
        x = snap(x)
        size = x.abs()
        return x.clamp(min=0) - snap_(size * look_up("tail", size, 24))


class ExactChannelNorm(nn.Module):
    """The fixed-point twin of a layer normalisation over channels: (B, C, h, w) -> (B, C, h, w) on the grid."""

    weight: Tensor
    bias: Tensor

    def __init__(self, norm: ChannelNorm) -> None:
        super().__init__()
        weight = norm.weight.detach().double()
        if len(weight) > 1024:
            raise BadCheckpoint("a normalisation of the prior has too many channels for exact arithmetic")
        bits = step_bits(weight)
        self.register_buffer("weight", torch.round(weight * 2.0**bits) / 2.0**bits)
        self.register_buffer("bias", snap(norm.bias.detach()))
        self.eps = norm.eps

    def forward(self, x: Tensor) -> Tensor:
        pixels = x.permute(0, 2, 3, 1)
        channels = pixels.shape[3]
        spread = (pixels - snap(pixels.sum(dim=3, keepdim=True) / channels)).clamp(-_SPREAD_MAX, _SPREAD_MAX)
        variance = spread.square().sum(dim=3, keepdim=True) / channels
        normal = snap_(spread / (variance + self.eps).sqrt())
        return snap_(normal * self.weight + self.bias).permute(0, 3, 1, 2)


class ExactAttend(nn.Module):
    """The fixed-point twin of attention within windows."""

    bias: Tensor

    def __init__(self, attend: Attend) -> None:
        super().__init__()
        self.register_buffer("bias", snap(attend.bias.detach()[:, attend.index]))

    def forward(self, q: Tensor, k: Tensor, v: Tensor, apart: Tensor) -> Tensor:
        if q.shape[3] > 64 or q.shape[2] > 64:
            raise BadCheckpoint("an attention of the prior is too wide for exact arithmetic")
        products = torch.matmul(within(q), within(k).transpose(2, 3))
        scores = (snap_(products * (1 / math.sqrt(q.shape[3]))) + self.bias).masked_fill(apart, -math.inf)
        weights = _falling(scores.amax(dim=3, keepdim=True) - scores)
        shares = weights / weights.sum(dim=3, keepdim=True)
        shares = torch.round(shares * 2.0**_SHARE_BITS) * 2.0**-_SHARE_BITS
        return snap_(torch.matmul(shares, within(v)))


def _falling(x: Tensor) -> Tensor:
    """exp(-x) of x >= 0, infinity included, as multiples of 2^-44."""
    halvings = snap((x * (1 / math.log(2))).clamp(max=_FADED))
    whole = halvings.floor()
    powers = torch.tensor([2.0**-i for i in range(_FADED)] + [0.0], dtype=torch.float64, device=x.device)
    return look_up("halving", halvings - whole, 24) * powers[whole.long()]


TWINS: dict[type[nn.Module], Callable[[Any], nn.Module]] = {
    nn.GELU: ExactGELU,
    ChannelNorm: ExactChannelNorm,
    Attend: ExactAttend,
}
