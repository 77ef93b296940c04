"""Families of distributions for latents: Gaussian and logistic, and how a scale follows from a network's raw scale.

Training and estimates use the scale as it is. The coder uses the nearest of 64 scales, whose integer frequency tables
were made once by `scripts/make_tables.py` and never change: no `erf` or `exp` decides a bit at run time.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from lichen.coding.scales import (
    FLOOR,
    LINEAR_THRESHOLDS,
    LOG_STEP,
    RAW_SCALE_BITS,
    SCALE_MAX,
    SCALE_MIN,
    SCALES,
    SKIP,
    THRESHOLDS,
)


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


def upper_bound(x: Tensor, bound: float) -> Tensor:
    """min(x, bound) elementwise; above the bound only gradients that would lower x pass."""
    return -lower_bound(-x, -bound)


def gaussian_bits(residual: Tensor, scale: Tensor, floor: float = FLOOR) -> Tensor:
    """-log2 P(residual) under N(0, scale^2) * U(-1/2, 1/2), elementwise (paper eq. 3).

    `residual` is y - mean; `scale` is at least SCALE_MIN. `floor` is the smallest probability. Its
    gradient vanishes far out; training uses `gaussian_bits_far`.
    """
    distance = residual.abs()
    inverse = (2**-0.5) / scale
    upper = torch.erfc((distance - 0.5) * inverse)
    lower = torch.erfc((distance + 0.5) * inverse)
    return -torch.log2(((upper - lower) * 0.5).clamp(min=floor))


def gaussian_bits_far(residual: Tensor, scale: Tensor) -> Tensor:
    """As `gaussian_bits`, elementwise, but with a useful gradient at any distance.

    Computed from log-probabilities, which do not underflow. Beyond 16 bits, where a file would escape,
    bits grow with their logarithm only, so that outliers still pull but do not rule.
    """
    distance = residual.abs()
    near, far = (0.5 - distance) / scale, (-0.5 - distance) / scale
    log_near, log_far = torch.special.log_ndtr(near), torch.special.log_ndtr(far)
    log_mass = log_near + torch.log1p(-torch.exp((log_far - log_near).clamp(max=-1e-6)))
    return _tempered(log_mass * (-1 / math.log(2)))


def logistic_bits(residual: Tensor, scale: Tensor) -> Tensor:
    """-log2 P(residual) under a logistic distribution of standard deviation `scale`, * U(-1/2, 1/2), elementwise.

    With s = scale sqrt(3) / pi, a = (1/2 - |residual|) / s and b = a - 1/s the mass is sigmoid(a) - sigmoid(b)
    = sigmoid(a) sigmoid(-b) (1 - exp(-1/s)): its logarithm is exact however far out.
    """
    inverse = math.pi / math.sqrt(3) / scale
    above = (0.5 - residual.abs()) * inverse
    log_mass = torch.log1p(-torch.exp(-inverse)) - F.softplus(-above) - F.softplus(above - inverse)
    return log_mass * (-1 / math.log(2))


def _tempered(bits: Tensor) -> Tensor:
    """Beyond 16, where a file would escape, bits that grow with their logarithm only."""
    return torch.where(bits > 16, 16 * (1 + torch.log(bits.clamp(min=16) / 16)), bits)


@dataclass(frozen=True)
class LogScale:
    """The raw scale is log2 of the scale, elementwise: our own models."""

    def scale(self, raw_scale: Tensor) -> Tensor:
        """The scale in quantisation steps, within SCALE_MIN ... SCALE_MAX; beyond, gradients pass that lead back."""
        bounded = lower_bound(raw_scale.float(), math.log2(SCALE_MIN))
        return torch.exp2(upper_bound(bounded, math.log2(SCALE_MAX)))

    def index(self, raw_scale: Tensor) -> Tensor:
        """The coder's scale index, uint8, of a raw scale on its grid."""
        return scale_index(raw_scale)

    def thresholds(self) -> tuple[int, ...]:
        """The 63 raw scales, in units of 2^-12, from which on the next scale index holds."""
        return THRESHOLDS


@dataclass(frozen=True)
class LinearScale:
    """The raw scale is the scale itself, elementwise: the papers' models."""

    def scale(self, raw_scale: Tensor) -> Tensor:
        """As `LogScale.scale`."""
        return upper_bound(lower_bound(raw_scale.float(), SCALE_MIN), SCALE_MAX)

    def index(self, raw_scale: Tensor) -> Tensor:
        """The coder's scale index, uint8, of a raw scale on its grid."""
        table = _linear_index().to(raw_scale.device)
        units = (raw_scale * 2**RAW_SCALE_BITS).round_().sub_(LINEAR_THRESHOLDS[0] - 1)
        index: Tensor = table[units.clamp_(0, len(table) - 1).long()]
        return index

    def thresholds(self) -> tuple[int, ...]:
        """As `LogScale.thresholds`."""
        return LINEAR_THRESHOLDS


@dataclass(frozen=True)
class Gaussian:
    """Gaussian latents: how their scales are read, what they cost, how they are coded; part of a model's config.

    At scale indices up to `skip` nothing is coded; `floor` is the smallest probability that an
    estimate counts with. `mean_in_cdf`: the mean stays inside the density and y_hat = round(y), for
    serial models (otherwise y_hat = round(y - mean) + mean). Bits are elementwise.
    """

    scale: LogScale | LinearScale = LogScale()
    skip: int = SKIP
    floor: float = FLOOR
    mean_in_cdf: bool = False

    tables: ClassVar[str] = "gaussian"

    def bits(self, residual: Tensor, scale: Tensor) -> Tensor:
        """The cost of a rounded residual, elementwise."""
        return gaussian_bits(residual, scale, self.floor)

    def training_bits(self, residual: Tensor, scale: Tensor) -> Tensor:
        """The cost of a noisy residual, with a useful gradient at any distance."""
        return gaussian_bits_far(residual, scale)


@dataclass(frozen=True)
class Logistic:
    """As `Gaussian`, elementwise, for a logistic distribution about the mean, of heavier tails: the default's."""

    scale: LogScale | LinearScale = LogScale()
    skip: int = SKIP
    floor: float = FLOOR

    mean_in_cdf: ClassVar[bool] = False
    tables: ClassVar[str] = "logistic"

    def bits(self, residual: Tensor, scale: Tensor) -> Tensor:
        """The cost of a rounded residual, elementwise."""
        return logistic_bits(residual, scale).clamp(max=-math.log2(self.floor))

    def training_bits(self, residual: Tensor, scale: Tensor) -> Tensor:
        """The cost of a noisy residual, with a useful gradient at any distance."""
        return _tempered(logistic_bits(residual, scale))


Family = Gaussian | Logistic
OURS = Gaussian()


def scale_index(raw_scale: Tensor) -> Tensor:
    """The coder's scale index, 0 ... 63 uint8, of raw scales of any shape: how many thresholds are not above each.

    The thresholds lie evenly but for their rounding, so a product and a sum find the index; a test
    compares every raw scale with the 63 integers.
    """
    index = (raw_scale * (1 / LOG_STEP)).add_(0.5 - (math.log2(SCALE_MIN) - 2.0 ** -(RAW_SCALE_BITS + 1)) / LOG_STEP)
    return index.clamp_(0, SCALES - 1).to(torch.uint8)


@functools.cache
def _linear_index() -> Tensor:
    """The scale index for each possible linear raw scale, in units of 2^-12, from one below the first threshold on."""
    units = torch.arange(LINEAR_THRESHOLDS[0] - 1, LINEAR_THRESHOLDS[-1] + 1)
    return torch.bucketize(units, torch.tensor(LINEAR_THRESHOLDS), right=True).to(torch.uint8)
