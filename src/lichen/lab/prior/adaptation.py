"""Backward adaptation: scales corrected by how well those of earlier parts fitted what was decoded.

A hyper-latent foretells scales, and now and then is wrong about a whole channel or a whole region. Encoder and decoder
both see it as parts are decoded, and move the scales of later parts: no bits are spent on it. Evidence is counted as
log-likelihoods add up: a symbol s has the score u = d ln P(s) / d log2(sigma), of mean 0 and variance I (the Fisher
information) where sigma is right; sum(u) / (sum(I) + doubt) is about how many octaves it is wrong by.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lichen.lab.fixed_point.grid import ACTIVATION_BITS
from lichen.lab.prior.families import EntropyParameters, Gaussian, Logistic
from lichen.lab.prior.schedules import Cell
from lichen.lab.transforms.blocks import SLOPE, Pointwise, zero_

SIDE = 4  # latents that a tally has in each direction: those of a hyper-latent
REACH = 1  # how many hyper-latents away evidence is smoothed over
SIZES = 256  # of |s| that have scores of their own; the last stands for all beyond
UNITS = 256  # of a score and of information: whole numbers, exact in whatever order they are added
PRIOR_STRENGTH = 6 * 4 * UNITS  # information, as the smoothed tallies count it, for "the scale was right"
MOST = 8.0  # the largest evidence, in octaves
START = 0.6  # how much of it a channel's scale is moved by


@dataclass(frozen=True)
class ScaleStatistics:
    """What the latents decoded so far say of their scales.

    `counts` (B, 2, M, h / 4, w / 4) are sums of scores and of information; `moved` (B, M, h / 4, w / 4) is what the
    raw scales of the part at hand are moved by, None: not at all.
    """

    counts: Tensor
    moved: Tensor | None = None

    @staticmethod
    def empty(like: Tensor, latents: int, dtype: torch.dtype) -> ScaleStatistics:
        """Of nothing yet, for features (B, F, h, w)."""
        batch, _, height, width = like.shape
        counts = like.new_zeros(batch, 2, -(-height // SIDE), -(-width // SIDE), latents, dtype=dtype)
        return ScaleStatistics(counts.permute(0, 1, 4, 2, 3))

    def places(self, cell: Cell, width: int) -> Tensor:
        """(n,) int64: where in the tally's flat map each of a cell's positions is counted, of latents `width` wide."""
        height, across = self.counts.shape[3:]
        everywhere = torch.arange(height * across * SIDE**2, device=self.counts.device)
        positions = everywhere if cell.positions is None else cell.positions
        return positions // (width * SIDE) * across + positions % width // SIDE

    def moves(self, belief: EntropyParameters, cell: Cell, width: int) -> EntropyParameters:
        """A cell's belief with its scales moved."""
        if self.moved is None:
            return belief
        by = Cell(cell.channels, self.places(cell, width)).of(self.moved)
        return EntropyParameters(belief.mean, belief.raw + by, belief.family)

    def within(self, cut: Callable[[Tensor], Tensor]) -> ScaleStatistics:
        """The same memory under a window: `cut` gives the part of a map (..., h / 4, w / 4) that lies there."""
        return ScaleStatistics(cut(self.counts), None if self.moved is None else cut(self.moved))


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

    def __init__(self, shape: Gaussian | Logistic) -> None:
        super().__init__()
        table = _scores(shape.tables).clone()
        table[: shape.skip + 1] = 0
        self.register_buffer("table", table, persistent=False)

    def forward(self, rows: Tensor) -> Tensor:
        return F.embedding(rows, self.table.flatten(0, 1))

    def fixed_point(self) -> Scores:
        """Whole numbers: its own fixed-point twin."""
        return self


class Adaptation(nn.Module):
    """Moves the raw scales of the second and later parts by what the tally of all before says.

    A channel's scale follows its own evidence (`own`) and that of all channels (`mixed`, a network of `width`).
    """

    def __init__(self, latents: int, steps: int, width: int, shape: Gaussian | Logistic) -> None:
        super().__init__()
        self.scores = Scores(shape)
        self.own = nn.ModuleList(nn.Conv2d(latents, latents, 1, groups=latents) for _ in range(steps - 1))
        self.mixed = nn.ModuleList(
            nn.Sequential(Pointwise(latents, width), nn.LeakyReLU(SLOPE), zero_(Pointwise(width, latents)))
            for _ in range(steps - 1)
        )
        for layer in self.own:
            assert isinstance(layer, nn.Conv2d) and layer.bias is not None
            nn.init.constant_(layer.weight, START)
            nn.init.zeros_(layer.bias)

    def forward(self, step: int, tally: ScaleStatistics) -> ScaleStatistics:
        """The tally with what it moves the raw scales of part `step` (from 1) by."""
        asked = evidence(tally.counts)
        return ScaleStatistics(tally.counts, self.own[step - 1](asked) + self.mixed[step - 1](asked))

    @torch.no_grad()
    def count(
        self, tally: ScaleStatistics, cell: Cell, belief: EntropyParameters, residuals: Tensor, width: int
    ) -> None:
        """Add a cell's symbols to the tally of a map `width` latents wide, in place.

        `residuals` (B, n, c) are its symbols within a rounding, `belief` is theirs before it was moved: a tally says
        how wrong the networks are, moved or not.
        """
        sizes = residuals.abs().add_(0.5).clamp_(max=SIZES - 1).int().clamp_(min=0)  # a NaN may be any whole number
        rows = belief.family.scale.index(belief.raw).int().mul_(SIZES).add_(sizes)
        found = self.scores(rows).to(tally.counts.dtype)
        shape = tally.counts.shape[3:]
        sums = found.new_zeros(len(found), shape.numel(), *found.shape[2:])
        sums.index_add_(1, tally.places(cell, width), found)
        tally.counts.permute(0, 1, 3, 4, 2)[..., cell.channels] += sums.unflatten(1, shape).movedim(4, 1)


def evidence(counts: Tensor) -> Tensor:
    """Counts (B, 2, M, h, w) -> sum(u) / (sum(I) + doubt) in octaves, on the activations' grid: (B, M, h, w).

    Both are smoothed with [1 2 1] in both directions, zeros beyond the map. Sums of whole numbers and one division in
    double precision: the same on every machine.
    """
    x = counts.permute(0, 1, 3, 4, 2)
    rows = F.pad(x, (0, 0, 0, 0, 1, 1))
    x = torch.add(rows[:, :, :-2] + rows[:, :, 2:], x, alpha=2)
    columns = F.pad(x, (0, 0, 1, 1))
    score, information = torch.add(columns[..., :-2, :] + columns[..., 2:, :], x, alpha=2).double().unbind(dim=1)
    octaves = score.mul_(2**ACTIVATION_BITS).div_(information.add_(PRIOR_STRENGTH)).round_().div_(2**ACTIVATION_BITS)
    return octaves.clamp_(-MOST, MOST).to(counts.dtype).permute(0, 3, 1, 2)
