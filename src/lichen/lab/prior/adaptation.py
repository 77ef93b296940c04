"""Backward adaptation: scales corrected by how well those of earlier steps fitted what was decoded.

A hyper-latent foretells scales, and now and then is wrong about a whole channel or a whole region. Encoder and decoder
both see it as steps are decoded, and offset the scales of later steps: no bits are spent on it. Statistics add up as
log-likelihoods do: a symbol s has the score u = d ln P(s) / d log2(sigma), of mean 0 and variance I (the Fisher
information) where sigma is right; sum(u) / (sum(I) + prior strength) estimates by how many octaves it is wrong.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lichen.lab.fixed_point.grid import ACTIVATION_BITS
from lichen.lab.prior.entropy_parameters import EntropyParameters
from lichen.lab.prior.families import Family
from lichen.lab.prior.schedules import Cell, Step
from lichen.lab.transforms.blocks import SLOPE, Pointwise, zero_

PER_HYPER = 4  # latents of a hyper-latent in each direction, which share their statistics
SMOOTHING_REACH = 1  # how many hyper-latents away statistics are smoothed over
SIZES = 256  # of |s| that have scores of their own; the last stands for all beyond
UNITS = 256  # of a score and of information: whole numbers, exact in whatever order they are added
PRIOR_STRENGTH = 6 * 4 * UNITS  # information, as smoothed statistics count it, for "the scale was right"
ERROR_MAX = 8.0  # the largest log-scale error, in octaves
GAIN_START = 0.6  # how much of it a channel's scale is offset by, before training


@dataclass(frozen=True)
class ScaleStatistics:
    """What the latents decoded so far say of their scales.

    `counts` (B, 2, M, h / 4, w / 4) are sums of scores and of information.
    """

    counts: Tensor

    @staticmethod
    def empty(like: Tensor, latents: int, dtype: torch.dtype) -> ScaleStatistics:
        """Of nothing yet, for features (B, F, h, w)."""
        batch, _, height, width = like.shape
        counts = like.new_zeros(batch, 2, -(-height // PER_HYPER), -(-width // PER_HYPER), latents, dtype=dtype)
        return ScaleStatistics(counts.permute(0, 1, 4, 2, 3))

    @staticmethod
    def at_latents(offsets: Tensor, cell: Cell, shape: Sequence[int]) -> Tensor:
        """Scale offsets (B, M, h / 4, w / 4) at a cell's latents, of a map of this shape (h, w): (B, n, c)."""
        if cell.phase is not None and shape[0] % PER_HYPER == shape[1] % PER_HYPER == 0:
            # Two positions of each hyper-latent, down and across.
            own = offsets[:, cell.channels].permute(0, 2, 3, 1)[:, :, None, :, None].expand(-1, -1, 2, -1, 2, -1)
            return own.flatten(3, 4).flatten(1, 3)
        return Cell(cell.channels, _places(cell, offsets.shape[2:], shape)).of(offsets)


def _places(cell: Cell, statistics: Sequence[int], shape: Sequence[int]) -> Tensor:
    """(n,) int64: where in the flat map of statistics each position of a cell is counted, of latents of this shape."""
    _, across = statistics
    height, width = shape
    places = cell.places(height, width, torch.device("cpu"))
    return places // (width * PER_HYPER) * across + places % width // PER_HYPER


@functools.cache
def _scores(kind: str) -> Tensor:
    """The frozen scores and information of a density, (SCALES, SIZES, 2) float32."""
    path = resources.files("lichen.coding") / "scores.npz"
    with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
        return torch.from_numpy(stored[kind].astype(np.float32))


class Scores(nn.Module):
    """What a symbol says of its scale: rows index * SIZES + |s| (...) int32 -> score and information (..., 2).

    A frozen table of whole numbers (`scripts/make_scores.py`), 0 where nothing is coded; not among the weights.
    """

    table: Tensor

    def __init__(self, family: Family) -> None:
        super().__init__()
        table = _scores(family.tables).clone()
        table[: family.skip + 1] = 0
        self.register_buffer("table", table, persistent=False)

    def forward(self, rows: Tensor) -> Tensor:
        return F.embedding(rows, self.table.flatten(0, 1))

    def fixed_point(self) -> Scores:
        """Whole numbers: its own fixed-point module."""
        return self


class Adaptation(nn.Module):
    """Scale offsets for the second and later steps, by the statistics of all before.

    A channel's scale follows its own log-scale error (`own`) and that of all channels (`mixed`, a network of `width`).
    """

    def __init__(self, latents: int, steps: int, width: int, family: Family) -> None:
        super().__init__()
        self.scores = Scores(family)
        self.own = nn.ModuleList(nn.Conv2d(latents, latents, 1, groups=latents) for _ in range(steps - 1))
        self.mixed = nn.ModuleList(
            nn.Sequential(Pointwise(latents, width), nn.LeakyReLU(SLOPE), zero_(Pointwise(width, latents)))
            for _ in range(steps - 1)
        )
        for layer in self.own:
            assert isinstance(layer, nn.Conv2d) and layer.bias is not None
            nn.init.constant_(layer.weight, GAIN_START)
            nn.init.zeros_(layer.bias)

    def forward(self, number: int, statistics: ScaleStatistics) -> Tensor:
        """What the raw scales of the step `number` (from 1) are offset by, (B, M, h / 4, w / 4) in octaves."""
        error = log_scale_error(statistics.counts)
        offsets: Tensor = self.own[number - 1](error) + self.mixed[number - 1](error)
        return offsets

    @torch.no_grad()
    def count(
        self, statistics: ScaleStatistics, step: Step, unmoved: EntropyParameters, symbols: Tensor, shape: Sequence[int]
    ) -> ScaleStatistics:
        """Add a step's symbols, a block, to the statistics of latents of this shape (h, w); in place.

        `unmoved` are the parameters before scale offsets: statistics say how wrong the networks are, offset or not.
        """
        sizes = symbols.abs().add_(0.5).clamp_(max=SIZES - 1).int().clamp_(min=0)  # a NaN may be any whole number
        rows = unmoved.family.scale.index(unmoved.raw_scale).int().mul_(SIZES).add_(sizes)
        counts = statistics.counts
        for cell, own in zip(step.cells, step.split(rows, (counts.shape[2], *shape)), strict=True):
            sums = self._summed(cell, self.scores(own).to(counts.dtype), counts.shape[3:], shape)
            counts.permute(0, 1, 3, 4, 2)[..., cell.channels] += sums.movedim(4, 1)
        return statistics

    @staticmethod
    def _summed(cell: Cell, found: Tensor, statistics: torch.Size, shape: Sequence[int]) -> Tensor:
        """Scores and information (B, n, c, 2) of a cell -> their sums by hyper-latent, (B, h / 4, w / 4, c, 2)."""
        if cell.phase is not None and shape[0] % PER_HYPER == shape[1] % PER_HYPER == 0:
            halves: Tensor = found.unflatten(1, (statistics[0], 2, statistics[1], 2))
            return halves.sum(dim=(2, 4))
        sums = found.new_zeros(len(found), statistics.numel(), *found.shape[2:])
        sums.index_add_(1, _places(cell, statistics, shape).to(found.device), found)
        by_place: Tensor = sums.unflatten(1, statistics)
        return by_place


def log_scale_error(counts: Tensor) -> Tensor:
    """Counts (B, 2, M, h, w) -> sum(u) / (sum(I) + prior strength) in octaves, on the activations' grid: (B, M, h, w).

    Both are smoothed with [1 2 1] in both directions, zeros beyond the map. Sums of whole numbers and one division in
    double precision: the same on every machine.
    """
    x = counts.permute(0, 1, 3, 4, 2)
    rows = F.pad(x, (0, 0, 0, 0, 1, 1))
    x = torch.add(rows[:, :, :-2] + rows[:, :, 2:], x, alpha=2)
    columns = F.pad(x, (0, 0, 1, 1))
    score, information = torch.add(columns[..., :-2, :] + columns[..., 2:, :], x, alpha=2).double().unbind(dim=1)
    units = torch.round(score * 2**ACTIVATION_BITS / (information + PRIOR_STRENGTH))
    octaves = (units / 2**ACTIVATION_BITS).clamp(-ERROR_MAX, ERROR_MAX)
    error: Tensor = octaves.to(counts.dtype).permute(0, 3, 1, 2)
    return error
