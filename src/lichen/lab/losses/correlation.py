"""The correlation loss (Ali 2023, eq. 10-13): the squared correlation of normalised latents with their neighbours.

    u = (y - mean) / max(scale, SCALE_MIN)
    C[d] = E[u(p) u(p + d)] for each offset d of the k x k window          (eq. 10)
    loss = sum over d of ((1 - mask[d]) C[d])^2                            (eq. 11, 12)

The mean runs over pictures, channels and all centres p whose whole window lies inside the latent. Four options are not
the paper's: channels weighed by their rate, an unbiased estimate of C^2, C / C(0) in place of C, and a placebo
(`Correlation`).
"""

from __future__ import annotations

import enum
import itertools
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from lichen.coding.scales import SCALE_MIN
from lichen.errors import UsageError
from lichen.lab.losses.channel_rates import channel_bits
from lichen.lab.losses.process_sums import process_count, sum_over_processes
from lichen.lab.prior.families import lower_bound

PAPER_TERMS = 16 * 192 * 14 * 14  # under the paper's mean: batch 16, 192 channels, the centres of crops of 256 pixels
_PAPER_CHANNELS = 192
_VARIANCE_MIN = 1e-6  # of a channel's u, by which C is divided

NoiseFunction = Callable[[Tensor], Tensor]  # x -> uniform noise of its shape in [-1/2, 1/2)


class GaussianLatents(Protocol):
    """A latent and its Gaussian, (B, C, h, w) each: `prior.latents.Latents`, or what `capture` recorded."""

    @property
    def y(self) -> Tensor:
        """The latent."""
        ...

    @property
    def mean(self) -> Tensor:
        """What is expected of it."""
        ...

    @property
    def scale(self) -> Tensor:
        """Its standard deviation."""
        ...


class Mask(enum.Enum):
    """Which offsets of the window are left out of the loss (Ali 2023, figure 6 and supplement A)."""

    POINT = "point"  # the centre only
    SHORT_CROSS = "short-cross"  # the centre and its four neighbours
    LONG_CROSS = "long-cross"  # the row and the column through the centre
    BORDER = "border"  # the outer ring, and the centre

    def left_out(self, window: int) -> Tensor:
        """The mask of a k x k window: (k, k) bool, true where an offset is left out."""
        offsets = torch.arange(window) - window // 2
        row, column = offsets[:, None].abs(), offsets[None].abs()
        centre = row + column == 0
        return {
            Mask.POINT: centre,
            Mask.SHORT_CROSS: row + column <= 1,
            Mask.LONG_CROSS: row * column == 0,
            Mask.BORDER: centre | (torch.maximum(row, column) == window // 2),
        }[self]


class LatentSource(enum.Enum):
    """Which latent is correlated: the continuous one, or one of two stand-ins for the rounded one."""

    Y = "y"  # continuous
    NOISY = "noisy"  # plus uniform noise in place of rounding
    STE = "ste"  # y - mean rounded, with the gradient of the identity (straight-through)


class Reduction(enum.Enum):
    """What eq. 10 takes over its n terms: their mean, as the text says, or their sum, which the paper's alpha fits."""

    MEAN = "mean"
    SUM = "sum"


class ChannelWeights(enum.Enum):
    """How the losses of channels are averaged, where each has its own."""

    EQUAL = "equal"
    RATE = "rate"  # by the bits that a channel costs in this batch; the weights have no gradient


class Estimate(enum.Enum):
    """How C^2 is estimated from a batch."""

    PLAIN = "plain"  # the square of the batch's C, whose expectation is C^2 + Var(C)
    UNBIASED = "unbiased"  # the product of two halves of the batch, over all ways to halve it: expectation C^2


@dataclass(frozen=True)
class Correlation:
    """How the correlation is taken; the defaults are the paper's. Raises `UsageError`.

    window: k, the side of the window of offsets: 3, 5 or 7.
    mask: the offsets that are left out.
    source: the latent that is correlated: continuous, with noise, or rounded straight-through.
    per_channel: square each channel's own map, then average over channels; false: one map over all channels. With one
        map, channels whose correlations differ in sign cancel.
    reduction: mean or sum over the n terms of eq. 10 (pictures x channels x centres; without channels if per_channel).
        The loss is squared, so alpha_mean = alpha_sum * n^2. At batch 16, 192 channels and 14 x 14 centres the paper's
        alpha of 1e-13 on the sum is 0.036 on the mean, 1e-10 is 36, 1e-7 is 3.6e4.
    detach: let gradients flow through y only, not through mean and scale.
    weights: how channels are averaged, for per_channel: equally, or by the bits that each costs.
    estimate: plain, or unbiased: for pictures that are independent its expectation is C^2, also in small batches. It
        needs two pictures, and may be negative.
    normalise: divide C by C(0), the variance of u, so that a larger scale alone lowers nothing. Not for sum.
    across_pictures: a placebo: the neighbours are those of another picture of the batch, so that the term has the same
        form and says nothing of spatial dependence. It needs two pictures, and neither of the last two.
    """

    window: int = 3
    mask: Mask = Mask.POINT
    source: LatentSource = LatentSource.Y
    per_channel: bool = False
    reduction: Reduction = Reduction.MEAN
    detach: bool = False
    weights: ChannelWeights = ChannelWeights.EQUAL
    estimate: Estimate = Estimate.PLAIN
    normalise: bool = False
    across_pictures: bool = False

    def __post_init__(self) -> None:
        if self.window not in {3, 5, 7}:
            raise UsageError(f"window must be 3, 5 or 7, not {self.window}")
        if self.weights is ChannelWeights.RATE and not self.per_channel:
            raise UsageError("weights by rate are for per_channel: one map has no channels to weigh")
        if self.normalise and self.reduction is Reduction.SUM:
            raise UsageError("normalise divides a sum by a sum, which is a mean: leave reduction out")
        if self.across_pictures and (self.normalise or self.estimate is Estimate.UNBIASED):
            raise UsageError("across_pictures is of the plain estimate alone: leave estimate and normalise out")


def uniform(x: Tensor) -> Tensor:
    """Noise of x's, any shape, in [-1/2, 1/2) from PyTorch's own generator."""
    return torch.rand_like(x) - 0.5


def normalised(latents: GaussianLatents, how: Correlation, noise: NoiseFunction = uniform) -> Tensor:
    """u = (y - mean) / max(scale, SCALE_MIN): (B, C, h, w), float32, or float64 where y is."""
    dtype = torch.promote_types(latents.y.dtype, torch.float32)
    mean, scale = latents.mean.to(dtype), latents.scale.to(dtype)
    if how.detach:
        mean, scale = mean.detach(), scale.detach()
    residual = latents.y.to(dtype) - mean
    if how.source is LatentSource.NOISY:
        residual = residual + noise(residual)
    elif how.source is LatentSource.STE:
        residual = residual + (residual.round() - residual).detach()
    return residual / lower_bound(scale, SCALE_MIN)


def channel_maps(u: Tensor, window: int, others: Tensor | None = None) -> Tensor:
    """The map of each channel over all pictures: u (B, C, h, w) -> (C, k, k), E[u(p) v(p + d)].

    v are `others`, of u's shape, or u itself.
    """
    products = _products(u, window, u if others is None else others)
    sums = torch.stack([product.sum(dim=(0, 2, 3)) for product in products], dim=1)
    return sums.view(-1, window, window) / (u.shape[0] * _centres(u, window))


def picture_maps(u: Tensor, window: int) -> Tensor:
    """The map of each channel of each picture: u (B, C, h, w) -> (B, C, k, k)."""
    sums = torch.stack([product.sum(dim=(2, 3)) for product in _products(u, window, u)], dim=2)
    return sums.view(*u.shape[:2], window, window) / _centres(u, window)


def _products(u: Tensor, window: int, v: Tensor) -> Iterator[Tensor]:
    """u(p) v(p + d) at all centres p, (B, C, h - k + 1, w - k + 1), for each offset d in raster order."""
    height, width, reach = u.shape[2] - window + 1, u.shape[3] - window + 1, window // 2
    centre = u[:, :, reach : reach + height, reach : reach + width]
    for row, column in itertools.product(range(window), repeat=2):
        yield centre * v[:, :, row : row + height, column : column + width]


def _centres(u: Tensor, window: int) -> int:
    """How many centres have their whole window inside u."""
    return (u.shape[2] - window + 1) * (u.shape[3] - window + 1)


def correlation_map(latents: GaussianLatents, how: Correlation, noise: NoiseFunction = uniform) -> Tensor:
    """The correlation map C of eq. 10, (k, k), over this process's pictures; zeros when the latent is too small."""
    with torch.autocast(latents.y.device.type, enabled=False):
        u = normalised(latents, how, noise)
        if min(u.shape[2:]) < how.window:
            return u.new_zeros(how.window, how.window)
        return _maps(u, how).mean(dim=0)


def _maps(u: Tensor, how: Correlation) -> Tensor:
    """The maps of u (B, C, h, w), (C, k, k). Raises `UsageError` where there is no other picture to pair with."""
    if not how.across_pictures:
        return channel_maps(u, how.window)
    if len(u) < 2:
        raise UsageError("map.across_pictures needs at least two pictures of a batch in each process; raise batch")
    return channel_maps(u, how.window, u.roll(1, dims=0))


def off_centre(correlation: Tensor) -> Tensor:
    """Mean of |C| over all offsets but the centre: (k, k) -> scalar."""
    count = correlation.numel() - 1
    centre = correlation[correlation.shape[0] // 2, correlation.shape[1] // 2]
    return (correlation.abs().sum() - centre.abs()) / count


def correlation_loss(
    latents: GaussianLatents, how: Correlation | None = None, noise: NoiseFunction = uniform
) -> Tensor:
    """The loss of eq. 12, without alpha: latents (B, C, h, w) -> scalar, differentiable.

    A latent smaller than the window gives 0 and a warning; a sum of many more or fewer terms than the paper's gives a
    warning. With torch.distributed running, the map is averaged over all processes (batches of equal size) before
    squaring, so that any split of a batch gives the same loss and the same averaged gradients (but for the placebo,
    whose pairs are within a process). Raises `UsageError` for an unbiased estimate or a placebo of one picture.
    """
    how = how or Correlation()
    with torch.autocast(latents.y.device.type, enabled=False):
        u = normalised(latents, how, noise)
        if min(u.shape[2:]) < how.window:
            text = (
                f"latents of {u.shape[2]} x {u.shape[3]} are smaller than the window of the correlation loss: it is 0"
            )
            warnings.warn(text, stacklevel=2)
            return u[:0].sum()
        maps, squares = _plain(u, how) if how.estimate is Estimate.PLAIN else _unbiased(u, how)
        if how.normalise:
            middle = how.window // 2
            squares = squares / maps[:, middle, middle, None, None].clamp(min=_VARIANCE_MIN) ** 2
        if how.reduction is Reduction.SUM:
            squares = squares * _terms(u, how) ** 2
        asked = (~how.mask.left_out(how.window)).to(squares)
        return _averaged((squares * asked).sum(dim=(1, 2)), latents, how)


def _plain(u: Tensor, how: Correlation) -> tuple[Tensor, Tensor]:
    """C and the square of it, (C or 1, k, k) each, over all processes."""
    maps = _maps(u, how)
    if not how.per_channel:
        maps = maps.mean(dim=0, keepdim=True)
    maps = sum_over_processes(maps) / process_count()
    return maps, maps**2


def _unbiased(u: Tensor, how: Correlation) -> tuple[Tensor, Tensor]:
    """C and the unbiased estimate of C^2, (C or 1, k, k) each, over all processes.

    The mean of c_i c_j over all pairs of different pictures, which is the mean of the products of two halves over all
    ways to halve the batch: for maps c of N pictures ((sum c)^2 - sum c^2) / (N (N - 1)).
    """
    of_pictures = picture_maps(u, how.window)
    if not how.per_channel:
        of_pictures = of_pictures.mean(dim=1, keepdim=True)
    count = len(u) * process_count()
    if count < 2:
        raise UsageError("estimate = 'unbiased' needs at least two pictures in a batch")
    total, of_squares = sum_over_processes(torch.stack([of_pictures.sum(dim=0), (of_pictures**2).sum(dim=0)]))
    return total / count, (total**2 - of_squares) / (count * (count - 1))


def _terms(u: Tensor, how: Correlation) -> int:
    """How many terms a sum has, over all processes. Warns when the paper's alpha would act otherwise than there."""
    paper = PAPER_TERMS // (_PAPER_CHANNELS if how.per_channel else 1)
    terms = len(u) * _centres(u, how.window) * (1 if how.per_channel else u.shape[1]) * process_count()
    if not paper <= 10 * terms <= 100 * paper:
        text = (
            f"the correlation loss sums {terms} terms, {paper} in the paper's training: the same alpha is "
            f"{(terms / paper) ** 2:.2g} times as strong; reduction = 'mean' does not depend on batch and crop"
        )
        warnings.warn(text, stacklevel=3)
    return terms


def _averaged(losses: Tensor, latents: GaussianLatents, how: Correlation) -> Tensor:
    """The mean of the losses (C or 1,) of channels, by their weights."""
    if how.weights is ChannelWeights.EQUAL:
        return losses.mean()
    bits = sum_over_processes(channel_bits(*(t.to(losses.dtype) for t in (latents.y, latents.mean, latents.scale))))
    return (losses * bits / bits.sum().clamp(min=torch.finfo(bits.dtype).tiny)).sum()


class CorrelationLoss(nn.Module):
    """alpha times `correlation_loss` (eq. 13), for training loops of other libraries; three lines:

    criterion = CorrelationLoss(alpha=0.1)
    with capture(model) as latents: out = model(x)
    loss = rate_distortion(out, x) + criterion(latents)
    """

    def __init__(self, alpha: float, how: Correlation | None = None) -> None:
        super().__init__()
        self.alpha, self.how = alpha, how or Correlation()

    def forward(self, latents: GaussianLatents) -> Tensor:
        """Latents, or what `capture` recorded, (B, C, h, w) -> scalar."""
        return self.alpha * correlation_loss(latents, self.how)
