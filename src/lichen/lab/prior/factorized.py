"""Densities that do not depend on the picture: learned for each channel (Balle 2018), or a Gaussian per rate level.

Both give entropy parameters of all positions at once: of z in every model, and of y in the factorized one.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lichen.lab.fixed_point.grid import round_to_grid
from lichen.lab.prior.entropy_parameters import AnyEntropyParameters, EntropyParameters, LearnedEntropyParameters
from lichen.lab.prior.families import lower_bound
from lichen.lab.prior.prior import HyperPrior
from lichen.lab.prior.schedules import AllAtOnce, Step
from lichen.lab.prior.walk import ContextModel
from lichen.lab.transforms.blocks import LevelTable

WIDTHS = (1, 3, 3, 3, 3, 1)  # of the small network that is a channel's cumulative
TOTAL = 2**24  # what a table's frequencies sum to


class LevelGaussian(HyperPrior):
    """A Gaussian whose mean and scale are learned for each channel and rate level: our own models' z."""

    def __init__(self, channels: int, levels: int) -> None:
        super().__init__()
        self.channels = channels
        self.mean = LevelTable(torch.zeros(levels, channels))
        self.raw_scale = LevelTable(torch.zeros(levels, channels))

    def forward(self, rate_level: Tensor, positions: int) -> AnyEntropyParameters:
        """rate_level (B,) -> the entropy parameters of (B, positions, C)."""
        tables = self.mean, self.raw_scale
        mean, raw_scale = (table(rate_level)[:, None, :, 0, 0].expand(-1, positions, -1) for table in tables)
        return EntropyParameters(mean, raw_scale)


class LearnedDensity(HyperPrior):
    """A density for each channel, as a monotone network that maps a value to its cumulative's logit (Balle 2018).

    The network is pinned to a cumulative of 1/2 at `medians`, by construction: rounding is centred on
    the median without any quantity that needs an optimiser of its own. (`skew` is the logit there for
    imported weights, whose medians are not exact.) `frequencies` (C, 2R + 2) are the coder's integers; they
    are made anew whenever a model in training mode gives its state, never when it is loaded.
    """

    frequencies: Tensor
    skew: Tensor

    def __init__(self, channels: int, radius: int, floor: float, spread: float = 10.0) -> None:
        super().__init__()
        self.channels, self.radius, self.floor = channels, radius, floor
        scale = spread ** (1 / (len(WIDTHS) - 1))
        pairs = list(itertools.pairwise(WIDTHS))
        starts = [math.log(math.expm1(1 / scale / wide)) for _, wide in pairs]
        self.matrices = nn.ParameterList(
            torch.full((channels, wide, narrow), start) for (narrow, wide), start in zip(pairs, starts, strict=True)
        )
        self.biases = nn.ParameterList(torch.rand(channels, wide, 1) - 0.5 for _, wide in pairs[:-1])
        self.factors = nn.ParameterList(torch.zeros(channels, wide, 1) for _, wide in pairs[:-1])
        self.medians = nn.Parameter(torch.zeros(channels))
        self.register_buffer("skew", torch.zeros(channels))
        self.register_buffer("frequencies", torch.zeros(channels, 2 * radius + 2))
        self.count()
        self.register_state_dict_pre_hook(_count_anew)

    def forward(self, rate_level: Tensor, positions: int) -> AnyEntropyParameters:
        """rate_level (B,) -> the entropy parameters of (B, positions, C)."""
        return self.at_all(self.medians, len(rate_level), positions)

    def at_all(self, medians: Tensor, batch: int, positions: int) -> LearnedEntropyParameters:
        """The entropy parameters of `batch` pictures (B, positions, C) about the medians (C,)."""
        return LearnedEntropyParameters(medians.expand(batch, positions, -1), self, self.frequencies)

    def bits(self, residual: Tensor) -> Tensor:
        """-log2 P of latents at `residual` (B, n, C) from the median; never in bfloat16, where it would cancel."""
        flat = residual.flatten(0, -2).t()[:, None]  # C, 1, B n
        with torch.autocast(residual.device.type, enabled=False):
            likelihood = lower_bound(self._mass(flat, 0.5), self.floor)
        return -torch.log2(likelihood)[:, 0].t().reshape(residual.shape)

    def _mass(self, x: Tensor, half: float) -> Tensor:
        """P(x - half < X < x + half), from the tail where it does not cancel; (C, 1, n) -> (C, 1, n)."""
        lower, upper = self._logit(x - half), self._logit(x + half)
        sign = torch.where(lower + upper > 0, -1.0, 1.0)  # never 0: a density may be symmetric
        return (torch.sigmoid(sign * upper) - torch.sigmoid(sign * lower)).abs()

    def _logit(self, x: Tensor) -> Tensor:
        """The cumulative's logit at a distance x (C, 1, n) from the median."""
        pinned = self._network(x) - self._network(torch.zeros_like(x[..., :1]))
        return pinned + self.skew.to(x.dtype)[:, None, None]

    def _network(self, x: Tensor) -> Tensor:
        for matrix, bias, factor in zip(self.matrices, self.biases, self.factors, strict=False):
            x = torch.matmul(F.softplus(matrix.to(x.dtype)), x) + bias.to(x.dtype)
            x = x + torch.tanh(factor.to(x.dtype)) * torch.tanh(x)
        last = self.matrices[len(self.matrices) - 1]
        return torch.matmul(F.softplus(last.to(x.dtype)), x)

    @torch.no_grad()
    def count(self) -> None:
        """Make `frequencies` of the present parameters: at least 1 each, the rest of 2^24 to the most likely."""
        channels = len(self.medians)
        symbols = torch.arange(-self.radius, self.radius + 1, dtype=torch.float64, device=self.medians.device)
        mass = self._mass(symbols.expand(channels, 1, -1), 0.5)[:, 0]
        mass = torch.cat([mass, (1 - mass.sum(dim=1, keepdim=True)).clamp(min=0)], dim=1)
        counts = torch.round(mass * TOTAL).clamp(min=1)
        top = counts[:, :-1].argmax(dim=1, keepdim=True)
        rest = TOTAL - counts.sum(dim=1, keepdim=True)
        self.frequencies.copy_(counts.scatter_add(1, top, rest))

    def fixed_point(self) -> FixedPointDensity:
        """The fixed-point module."""
        return FixedPointDensity(self)


def _count_anew(module: nn.Module, *_: Any) -> None:
    if isinstance(module, LearnedDensity) and module.training:
        module.count()


class FixedPointDensity(HyperPrior):
    """The fixed-point module of a learned density: its medians (C,) on the grid, its stored integers."""

    medians: Tensor

    def __init__(self, density: LearnedDensity) -> None:
        super().__init__()
        self.density, self.channels = density, density.channels
        self.register_buffer("medians", round_to_grid(density.medians.detach()))

    def forward(self, rate_level: Tensor, positions: int) -> AnyEntropyParameters:
        return self.density.at_all(self.medians, len(rate_level), positions)


@dataclass(frozen=True)
class FactorizedState:
    """What a factorized prior needs: where latents are, `features` (B, M, h, w), rate_level (B,), and y_hat."""

    features: Tensor
    rate_level: Tensor
    known: Tensor


class FactorizedModel(ContextModel):
    """y under a learned density, with no hyper-latent: the factorized prior (Balle 2017)."""

    def __init__(self, density: LearnedDensity) -> None:
        super().__init__()
        self.schedule, self.density = AllAtOnce(), density
        self.latents = len(density.medians)

    def begin(self, features: Tensor, rate_level: Tensor, y_hat: Tensor | None = None) -> FactorizedState:
        return FactorizedState(features, rate_level, features)

    def steps(self, state: FactorizedState, sequential: bool) -> list[Step]:
        return self.schedule.steps(state.features.shape[2], state.features.shape[3], state.features.device)

    def predict(self, step: Step, state: FactorizedState) -> tuple[AnyEntropyParameters, FactorizedState]:
        return self.density(state.rate_level, state.features.shape[2] * state.features.shape[3]), state

    def absorb(self, step: Step, state: FactorizedState, symbols: Tensor) -> FactorizedState:
        medians = self.density(state.rate_level, 1).centre
        return replace(state, known=step.cells[0].back(medians + symbols, state.features.shape[2:]))


def imported_density(
    matrices: list[Tensor], biases: list[Tensor], factors: list[Tensor], medians: Tensor
) -> dict[str, Tensor]:
    """The state of a `LearnedDensity`, its `frequencies` aside, from that of a network with free biases (CompressAI).

    matrices[i] (C, out, in), biases[i] (C, out, 1), factors[i] (C, out, 1), medians (C,). The
    network is moved so that its zero is the median; its value there becomes `skew`.
    """
    state = {f"matrices.{i}": matrix for i, matrix in enumerate(matrices)}
    state |= {f"biases.{i}": bias for i, bias in enumerate(biases[:-1])}
    state |= {f"factors.{i}": factor for i, factor in enumerate(factors)}
    state["biases.0"] = biases[0] + F.softplus(matrices[0]) * medians[:, None, None]
    x = medians.double()[:, None, None]
    for i, (matrix, bias) in enumerate(zip(matrices, biases, strict=True)):
        x = torch.matmul(F.softplus(matrix.double()), x) + bias.double()
        if i < len(factors):
            x = x + torch.tanh(factors[i].double()) * torch.tanh(x)
    return state | {"medians": medians, "skew": x[:, 0, 0].float()}
