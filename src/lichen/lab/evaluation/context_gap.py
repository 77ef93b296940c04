"""How much of the rate a prior with spatial context would save, the transforms staying as they are.

Priors are fitted anew to the latents of frozen transforms. Their symbols are round(y), with the mean inside the
density (as a serial context model codes them), so that all of them code the same y_hat at the same distortion:

    hyperprior           mean and scale from the hyper-latent
    own-channel-means    the mean also from causal neighbours in the same channel (depthwise 5 x 5)
    own-channel          the scale too, from their magnitudes
    all-channels         both also from causal neighbours in all channels (Minnen 2018)

Each contains the one before and starts as it. gap = 1 - R(own-channel) / R(hyperprior).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lichen.coding.scales import NO_SKIP
from lichen.errors import BadData, UsageError
from lichen.lab.models.model import Model
from lichen.lab.prior.context import ParallelModel
from lichen.lab.prior.entropy_parameters import EntropyParameters
from lichen.lab.prior.estimator import Estimator
from lichen.lab.prior.families import Gaussian, LogScale
from lichen.lab.prior.masked import MaskedConv, causal
from lichen.lab.prior.noise import Noise
from lichen.lab.prior.schedules import AllAtOnce
from lichen.lab.prior.walk import merge, walk_latents
from lichen.lab.transforms.blocks import SLOPE, Pointwise, zero_

_WINDOW = 5
_ROUNDING = 1 / 12  # variance of rounding
_FAMILY = Gaussian(LogScale(), NO_SKIP, mean_in_cdf=True)


class Unchanged(nn.Module):
    """No neighbours: the parameters (B, M, h, w) of the hyperprior."""

    def forward(self, symbols: Tensor, given: EntropyParameters, features: Tensor) -> EntropyParameters:
        return given


class OwnChannel(nn.Module):
    """Parameters (B, M, h, w) corrected by causal neighbours in the same channel; starts as no correction.

    u = (symbol - mean) / sqrt(scale^2 + 1/12) of the neighbours moves the mean, in units of that deviation; with
    `scales` log(1 + |u|) moves log2 of the scale.
    """

    mask: Tensor

    def __init__(self, latents: int, scales: bool = True) -> None:
        super().__init__()
        self.of_mean = zero_(nn.Conv2d(latents, latents, _WINDOW, padding=_WINDOW // 2, groups=latents, bias=False))
        scale = nn.Conv2d(latents, latents, _WINDOW, padding=_WINDOW // 2, groups=latents)
        self.of_scale = zero_(scale) if scales else None
        self.register_buffer("mask", causal(_WINDOW))

    def forward(self, symbols: Tensor, given: EntropyParameters, features: Tensor) -> EntropyParameters:
        u, deviation = _normalised(symbols, given)
        mean = given.mean + deviation * self._seen(self.of_mean, u)
        if self.of_scale is None:
            return EntropyParameters(mean, given.raw_scale, _FAMILY)
        return EntropyParameters(mean, given.raw_scale + self._seen(self.of_scale, torch.log1p(u.abs())), _FAMILY)

    def _seen(self, layer: nn.Conv2d, x: Tensor) -> Tensor:
        return F.conv2d(x, layer.weight * self.mask, layer.bias, padding=layer.padding, groups=layer.groups)


class AllChannels(nn.Module):
    """As `OwnChannel`, then corrected by a network of causal neighbours of all channels and features (B, F, h, w)."""

    def __init__(self, latents: int, features: int, width: int = 192, hidden: int = 320) -> None:
        super().__init__()
        self.own = OwnChannel(latents)
        self.gather = MaskedConv(latents, width, causal(_WINDOW))
        self.mix = nn.Sequential(Pointwise(width + features, hidden), nn.LeakyReLU(SLOPE))
        self.leave = zero_(Pointwise(hidden, 2 * latents))

    def forward(self, symbols: Tensor, given: EntropyParameters, features: Tensor) -> EntropyParameters:
        u, deviation = _normalised(symbols, given)
        own = self.own(symbols, given, features)
        around = self.gather(u).unflatten(1, u.shape[2:]).permute(0, 3, 1, 2)
        mean, raw_scale = self.leave(self.mix(torch.cat([around, features], dim=1))).chunk(2, dim=1)
        return EntropyParameters(own.mean + deviation * mean, own.raw_scale + raw_scale, _FAMILY)


def _normalised(symbols: Tensor, given: EntropyParameters) -> tuple[Tensor, Tensor]:
    """The symbols about their means in units of their deviation, and that deviation, both (B, M, h, w)."""
    deviation = torch.sqrt(given.scale.square() + _ROUNDING)
    return (symbols - given.mean) / deviation, deviation


class RefittedPrior(nn.Module):
    """A copy of a model's hyperprior, its hyper analysis included, and a correction of the parameters that it gives.

    It prices latents y (B, M, h, w). Raises `UsageError` for a model whose prior is not a plain hyperprior with
    logarithmic scales.
    """

    def __init__(self, model: Model, correction: nn.Module) -> None:
        super().__init__()
        context = model.prior.context
        plain = isinstance(context, ParallelModel) and isinstance(context.schedule, AllAtOnce)
        if not plain or not isinstance(context.family.scale, LogScale):
            raise UsageError("the gap is measured on a plain hyperprior with logarithmic scales, such as lichen-hp")
        self.hyper_analysis = copy.deepcopy(model.hyper_analysis).requires_grad_(True)
        self.prior = copy.deepcopy(model.prior).requires_grad_(True)
        self.correction = correction

    def forward(self, y: Tensor, rate_level: Tensor, noise: Noise | None = None) -> tuple[Tensor, Tensor]:
        """Bits of round(y) and of z, (B,) each, for y (B, M, h, w); `noise`, in training, stands in for rounding z."""
        z = self.hyper_analysis(y, rate_level).float()
        estimator = Estimator(noise)
        z_hat = self.prior.code_hyper(estimator, rate_level, (z.shape[2], z.shape[3]), z)
        bits_z = estimator.bits[0]
        features = self.prior.synthesis(z_hat, rate_level)
        given = merge(walk_latents(self.prior.context, estimator, features, rate_level, y=y).predicted, y)
        symbols = torch.round(y)
        inside = EntropyParameters(given.mean, given.raw_scale, _FAMILY)
        found: EntropyParameters = self.correction(symbols, inside, features)
        price = _FAMILY.bits if noise is None else _FAMILY.training_bits
        return price(symbols - found.mean, found.scale).sum(dim=(1, 2, 3)), bits_z


def corrections(latents: int, features: int) -> dict[str, nn.Module]:
    """A fresh correction for each prior, by its name."""
    return {
        "hyperprior": Unchanged(),
        "own-channel-means": OwnChannel(latents, scales=False),
        "own-channel": OwnChannel(latents),
        "all-channels": AllChannels(latents, features),
    }


@dataclass(frozen=True)
class Fit:
    """How a prior is fitted: crops of `side` x `side` latents; the learning rates fall to 0 along a cosine."""

    steps: int = 1000
    batch: int = 8
    side: int = 16
    learning_rate: float = 3e-4
    correction_rate: float = 1e-3
    seed: int = 1


def fitted(
    model: Model,
    correction: nn.Module,
    latents: Sequence[Tensor],
    *,
    rate_level: float,
    fit: Fit,
    report: Callable[[int, float], None],
) -> RefittedPrior:
    """The prior with this correction, fitted to latents (M, h, w) of pictures; all see the same crops and noise.

    `report` is called with (step, bits a latent position) for each step. Raises `BadData` for latents too small.
    """
    large = [y for y in latents if min(y.shape[1:]) >= fit.side]
    if not large:
        raise BadData(f"no picture has {fit.side} x {fit.side} latents; give larger ones")
    refitted = RefittedPrior(model, correction).train()
    of_prior = [*refitted.hyper_analysis.parameters(), *refitted.prior.parameters()]
    groups = [{"params": of_prior, "rate": fit.learning_rate}]
    if own := list(correction.parameters()):
        groups.append({"params": own, "rate": fit.correction_rate})
    optimiser = torch.optim.Adam(groups, lr=fit.learning_rate, fused=True)
    levels = torch.full((fit.batch,), rate_level)
    for step in range(fit.steps):
        for group in optimiser.param_groups:
            group["lr"] = group["rate"] * 0.5 * (1 + math.cos(math.pi * step / fit.steps))
        noise = Noise([(fit.seed * 1_000_003 + step) * 1_000_003 + i for i in range(fit.batch)], torch.device("cpu"))
        bits_y, bits_z = refitted(_crops(large, fit, step), levels, noise)
        loss = (bits_y + bits_z).mean() / fit.side**2
        loss.backward()
        torch.nn.utils.clip_grad_norm_(refitted.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        report(step + 1, float(loss.detach()))
    return refitted.eval().requires_grad_(False)


def _crops(latents: Sequence[Tensor], fit: Fit, step: int) -> Tensor:
    """(batch, M, side, side) float32 out of all latents, each position alike likely; a function of seed and step."""
    chance = np.random.default_rng((fit.seed, step))
    areas = np.array([y.shape[1] * y.shape[2] for y in latents], dtype=np.float64)
    crops = []
    for index in chance.choice(len(latents), fit.batch, p=areas / areas.sum()):
        y = latents[index]
        top, left = (int(chance.integers(length - fit.side + 1)) for length in y.shape[1:])
        crops.append(y[:, top : top + fit.side, left : left + fit.side].float())
    return torch.stack(crops).contiguous(memory_format=torch.channels_last)
