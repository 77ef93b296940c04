"""The correlation loss (Ali et al. 2023, eq. 10-13): normalised latents shall not resemble their neighbours.

    u = (y - mean) / max(scale, SCALE_MIN)
    C[d] = E[u(p) u(p + d)] for each offset d of the k x k window          (eq. 10)
    loss = sum over d of ((1 - mask[d]) C[d])^2                            (eq. 11, 12)

The mean runs over pictures, channels and all centres p whose whole window lies inside the latent.
"""

from __future__ import annotations

import enum
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, distributed, nn

from lichen.coding.scales import SCALE_MIN
from lichen.errors import UsageError
from lichen.lab.prior.families import lower_bound

NoiseFunction = Callable[[Tensor], Tensor]  # x -> uniform noise of its shape in [-1/2, 1/2)


class GaussianLatents(Protocol):
    """What the loss needs: `lichen.lab.prior.latents.Latents`, or what `lichen.lab.losses.capture` has recorded."""

    @property
    def y(self) -> Tensor: ...
    @property
    def mean(self) -> Tensor: ...
    @property
    def scale(self) -> Tensor: ...


class Mask(enum.Enum):
    """Which offsets are left out (supplement, section A)."""

    POINT = "point"  # the centre only
    SHORT_CROSS = "short-cross"  # the centre and its four neighbours
    LONG_CROSS = "long-cross"  # the row and the column through the centre
    BORDER = "border"  # the outer ring, and the centre

    def left_out(self, window: int) -> Tensor:
        """(k, k) bool, true where nothing is asked."""
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
    """Which latent is correlated."""

    Y = "y"  # continuous
    NOISY = "noisy"  # with uniform noise in place of rounding
    STE = "ste"  # rounded around its mean, with the gradient of the identity


class Reduction(enum.Enum):
    """Mean over the n conv_by_taps terms, as the text says, or their sum, as the paper's alpha suggests."""

    MEAN = "mean"
    SUM = "sum"


@dataclass(frozen=True)
class Correlation:
    """How the correlation is taken; the defaults are the paper's.

    `window` is k, 3, 5 or 7. `per_channel` squares each channel's own map, then averages over channels
    (default: one map over all channels). `detach` lets gradients flow through y only, not through the
    mean and the scale.

    `reduction`: with n terms under the mean (pictures x channels x centres; without channels for
    `per_channel`), the sum's map is n times the mean's, and the loss is squared, so

        alpha_mean = alpha_sum * n^2.

    At batch 16, 192 channels and 14 x 14 centres n is 6.0e5: the paper's alpha of 1e-13 on the sum is 0.036
    on the mean, 1e-10 is 36, 1e-7 is 3.6e4.
    """

    window: int = 3
    mask: Mask = Mask.POINT
    source: LatentSource = LatentSource.Y
    per_channel: bool = False
    reduction: Reduction = Reduction.MEAN
    detach: bool = False

    def __post_init__(self) -> None:
        if self.window not in {3, 5, 7}:
            raise UsageError(f"window must be 3, 5 or 7, not {self.window}")


def uniform(x: Tensor) -> Tensor:
    """Noise of x's shape in [-1/2, 1/2) from PyTorch's own generator."""
    return torch.rand_like(x) - 0.5


def normalised(latents: GaussianLatents, how: Correlation, noise: NoiseFunction = uniform) -> Tensor:
    """u = (y - mean) / max(scale, SCALE_MIN) in float32 (float64 stays), (B, C, h, w)."""
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


def channel_maps(u: Tensor, window: int) -> Tensor:
    """For each channel of u (B, C, h, w) its map, (C, k, k): E over pictures and centres of u(p) u(p + d)."""
    height, width = u.shape[2] - window + 1, u.shape[3] - window + 1
    reach = window // 2
    centre = u[:, :, reach : reach + height, reach : reach + width]
    rows = [
        (centre * u[:, :, row : row + height, column : column + width]).sum(dim=(0, 2, 3))
        for row in range(window)
        for column in range(window)
    ]
    return torch.stack(rows, dim=1).view(-1, window, window) / (u.shape[0] * height * width)


def correlation_map(latents: GaussianLatents, how: Correlation, noise: NoiseFunction = uniform) -> Tensor:
    """The (k, k) correlation map C of eq. 10, this process's pictures only; zeros when the latent is too small."""
    with torch.autocast(latents.y.device.type, enabled=False):
        u = normalised(latents, how, noise)
        if min(u.shape[2:]) < how.window:
            return u.new_zeros(how.window, how.window)
        whole: Tensor = channel_maps(u, how.window).mean(dim=0)
        return whole


def off_centre(correlation: Tensor) -> Tensor:
    """Mean of |C| over all offsets but the centre: (k, k) -> scalar."""
    count = correlation.numel() - 1
    centre = correlation[correlation.shape[0] // 2, correlation.shape[1] // 2]
    return (correlation.abs().sum() - centre.abs()) / count


def correlation_loss(
    latents: GaussianLatents, how: Correlation | None = None, noise: NoiseFunction = uniform
) -> Tensor:
    """The loss of eq. 12, without alpha: latents (B, C, h, w) -> scalar, differentiable.

    A latent smaller than the window gives 0 and a warning. With torch.distributed running, the map is
    averaged over all processes (batches of equal size) before squaring, so that any split of a batch
    gives the same loss and the same averaged gradients.
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
        maps = channel_maps(u, how.window)
        if not how.per_channel:
            maps = maps.mean(dim=0, keepdim=True)
        maps, processes = _over_processes(maps)
        if how.reduction is Reduction.SUM:
            terms = u[:, :, how.window - 1 :, how.window - 1 :].numel() * processes
            maps = maps * (terms / u.shape[1] if how.per_channel else terms)
        asked = (~how.mask.left_out(how.window)).to(maps)
        return ((maps * asked) ** 2).sum(dim=(1, 2)).mean()


class _AllReduce(torch.autograd.Function):
    """Sum over processes, of values and of gradients."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor) -> Tensor:
        total = x.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *grads: Tensor) -> Tensor:
        total = grads[0].contiguous().clone()
        distributed.all_reduce(total)
        return total


def _over_processes(x: Tensor) -> tuple[Tensor, int]:
    """The mean of `x` over all processes, and how many they are."""
    if not distributed.is_available() or not distributed.is_initialized():
        return x, 1
    count = distributed.get_world_size()
    total: Tensor = _AllReduce.apply(x)
    return total / count, count


class CorrelationLoss(nn.Module):
    """alpha x `correlation_loss`, for people with a training loop of their own; three lines:

    criterion = CorrelationLoss(alpha=0.1)
    with capture(model) as latents: out = model(x)
    loss = rate_distortion(out, x) + criterion(latents)
    """

    def __init__(self, alpha: float, how: Correlation | None = None) -> None:
        super().__init__()
        self.alpha, self.how = alpha, how or Correlation()

    def forward(self, latents: GaussianLatents) -> Tensor:
        """Latents, or what `capture` recorded, of (B, C, h, w) -> scalar."""
        return self.alpha * correlation_loss(latents, self.how)
