"""The Gaussian that prices a latent: float for training and estimates, frozen integers for files.

A network gives `raw`, the binary logarithm of the scale. Floats use sigma = 2^raw directly; the
coder uses the nearest of 64 scales, whose integer frequency tables were made once by
`scripts/make_tables.py` and never change: no `erf` or `exp` decides a bit at run time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

SCALE_MIN = 0.11  # the coder's smallest scale; the correlation loss bounds its scale by the same
SCALE_MAX = 256.0
SCALES = 64
FLOOR = 2.0**-24  # the coder's smallest probability
RAW_BITS = 12  # fractional bits of `raw` at coding time
SKIP = 3  # at scale indices up to this one nothing is coded and y_hat is the mean

_STEP = math.log2(SCALE_MAX / SCALE_MIN) / (SCALES - 1)
# Thresholds between neighbouring scales, in units of 2^-12 of raw. Frozen: these 63 integers are
# part of the file format (docs/format.md); a test pins them.
THRESHOLDS = tuple(round((math.log2(SCALE_MIN) + (i + 0.5) * _STEP) * 2**RAW_BITS) for i in range(SCALES - 1))


class _LowerBound(torch.autograd.Function):
    """max(x, bound), whose gradient still passes where it would lift x."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor, bound: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.bound = bound  # type: ignore[attr-defined]
        return x.clamp(min=bound)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *grads: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors  # type: ignore[attr-defined]
        (grad,) = grads
        return torch.where((x >= ctx.bound) | (grad < 0), grad, 0.0), None  # type: ignore[attr-defined]


def lower_bound(x: Tensor, bound: float) -> Tensor:
    """max(x, bound) elementwise; below the bound only gradients that would raise x pass."""
    result: Tensor = _LowerBound.apply(x, bound)
    return result


def gaussian_bits(residual: Tensor, scale: Tensor) -> Tensor:
    """-log2 P(residual rounded) under N(0, scale^2) * U(-1/2, 1/2), elementwise (paper eq. 3).

    `residual` is y - mean, rounded; `scale` is at least SCALE_MIN. Floored at the coder's smallest
    probability, 2^-24. Its gradient vanishes far out; training uses `gaussian_bits_far`.
    """
    distance = residual.abs()
    inverse = (2**-0.5) / scale
    upper = torch.erfc((distance - 0.5) * inverse)
    lower = torch.erfc((distance + 0.5) * inverse)
    return -torch.log2(((upper - lower) * 0.5).clamp(min=FLOOR))


def gaussian_bits_far(residual: Tensor, scale: Tensor) -> Tensor:
    """As `gaussian_bits`, but with a useful gradient at any distance.

    Computed from log-probabilities, which do not underflow. Beyond 16 bits, where a file would escape,
    bits grow with their logarithm only, so that outliers still pull but do not rule.
    """
    distance = residual.abs()
    near, far = (0.5 - distance) / scale, (-0.5 - distance) / scale
    log_near, log_far = torch.special.log_ndtr(near), torch.special.log_ndtr(far)
    log_mass = log_near + torch.log1p(-torch.exp((log_far - log_near).clamp(max=-1e-6)))
    bits = log_mass * (-1 / math.log(2))
    return torch.where(bits > 16, 16 * (1 + torch.log(bits.clamp(min=16) / 16)), bits)


@dataclass(frozen=True)
class Belief:
    """What is believed of a latent before it is coded: mean and raw = log2(scale), (B, C, h, w)."""

    mean: Tensor
    raw: Tensor

    @property
    def scale(self) -> Tensor:
        """sigma, bounded to what the coder has tables for."""
        bounded = lower_bound(self.raw.float(), math.log2(SCALE_MIN))
        return torch.exp2(bounded.clamp(max=math.log2(SCALE_MAX)))

    @property
    def skipped(self) -> Tensor:
        """True where the coder codes nothing and y_hat is the mean: scale_index(raw) <= SKIP."""
        skipped: Tensor = torch.round(self.raw.double() * 2**RAW_BITS) < THRESHOLDS[SKIP]
        return skipped


def scale_index(raw: Tensor) -> Tensor:
    """The coder's scale index, 0 ... 63 uint8, of each raw (float64, on its grid): how many thresholds are <= raw.

    The thresholds lie evenly but for their rounding, so a product and a sum find the index; a test
    compares every raw with the 63 integers.
    """
    index = (raw * (1 / _STEP)).add_(0.5 - (math.log2(SCALE_MIN) - 2.0 ** -(RAW_BITS + 1)) / _STEP)
    return index.clamp_(0, SCALES - 1).to(torch.uint8)
