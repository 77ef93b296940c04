"""Backward adaptation: scales corrected by how well those of earlier parts fitted what was decoded.

A hyper-latent foretells scales, and now and then is wrong about a whole channel or a whole region. Encoder and decoder
both see it as parts are decoded, and move the scales of later parts: no bits are spent on it. Evidence is counted as
log-likelihoods add up: a symbol s has the score u = d ln P(s) / d log2(sigma), of mean 0 and variance I (the Fisher
information) where sigma is right; sum(u) / (sum(I) + doubt) is about how many octaves it is wrong by.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lichen.errors import BadCheckpoint
from lichen.prior.density import SCALE_MAX, SCALE_MIN, SCALES, Belief, Gaussian, Logistic
from lichen.prior.exact import ACTIVATION_BITS
from lichen.prior.parts import Cell
from lichen.transforms.blocks import SLOPE, Pointwise, zero_

SIDE = 4  # latents that a tally has in each direction: those of a hyper-latent
REACH = 1  # how many hyper-latents away evidence is smoothed over
SIZES = 256  # of |s| that have scores of their own; the last stands for all beyond
UNITS = 256  # of a score and of information: whole numbers, exact in whatever order they are added
HIGHEST = 16.0  # the largest score
DOUBT = 6 * 4 * UNITS  # information, as the smoothed tallies count it, for "the scale was right"
MOST = 8.0  # the largest evidence, in octaves
SCORES = ".adaptation.scores.table"  # how the name of a model's table ends
START = 0.6  # how much of it a channel's scale is moved by


@dataclass(frozen=True)
class Tally:
    """What the latents decoded so far say of their scales.

    `counts` (B, 2, M, h / 4, w / 4) are sums of scores and of information; `moved` (B, M, h / 4, w / 4) is what the
    raw scales of the part at hand are moved by, None: not at all.
    """

    counts: Tensor
    moved: Tensor | None = None

    @staticmethod
    def empty(like: Tensor, latents: int, dtype: torch.dtype) -> Tally:
        """Of nothing yet, for features (B, F, h, w)."""
        batch, _, height, width = like.shape
        counts = like.new_zeros(batch, 2, -(-height // SIDE), -(-width // SIDE), latents, dtype=dtype)
        return Tally(counts.permute(0, 1, 4, 2, 3))

    def places(self, cell: Cell, width: int) -> Tensor:
        """(n,) int64: where in the tally's flat map each of a cell's positions is counted, of latents `width` wide."""
        height, across = self.counts.shape[3:]
        everywhere = torch.arange(height * across * SIDE**2, device=self.counts.device)
        positions = everywhere if cell.positions is None else cell.positions
        return positions // (width * SIDE) * across + positions % width // SIDE

    def moves(self, belief: Belief, cell: Cell, width: int) -> Belief:
        """A cell's belief with its scales moved."""
        if self.moved is None:
            return belief
        by = Cell(cell.channels, self.places(cell, width)).of(self.moved)
        return Belief(belief.mean, belief.raw + by, belief.gaussian)

    def within(self, cut: Callable[[Tensor], Tensor]) -> Tally:
        """The same memory under a window: `cut` gives the part of a map (..., h / 4, w / 4) that lies there."""
        return Tally(cut(self.counts), None if self.moved is None else cut(self.moved))


@functools.cache
def _scores(shape: Gaussian | Logistic) -> Tensor:
    """Scores and information (SCALES, SIZES, 2) in whole units; 0 where nothing is coded."""
    table = torch.zeros(SCALES, SIZES, 2, dtype=torch.float64)
    sizes = torch.arange(8 * SIZES, dtype=torch.float64)
    scales = SCALE_MIN * (SCALE_MAX / SCALE_MIN) ** (torch.arange(SCALES, dtype=torch.float64) / (SCALES - 1))
    bits, wider, narrower = (shape.training_bits(sizes, scales[:, None] * 2**octaves) for octaves in (0, 0.05, -0.05))
    mass = torch.exp2(-bits) * (1 + (sizes > 0))
    moment = mass * (narrower - wider) * (math.log(2) / 0.1)
    for sums in (mass, moment):
        sums[:, SIZES - 1] = sums[:, SIZES - 1 :].sum(dim=1)
    mass, moment = mass[:, :SIZES], moment[:, :SIZES]
    mean = moment.sum(dim=1, keepdim=True) / mass.sum(dim=1, keepdim=True)
    score = (moment / mass - mean).clamp(-HIGHEST, HIGHEST)
    table[:, :, 0], table[:, :, 1] = score, (mass * score.square()).sum(dim=1, keepdim=True)
    table[: shape.skip + 1] = 0
    return torch.round(table * UNITS).float()


class Scores(nn.Module):
    """What a symbol says of its scale: rows index * SIZES + |s| (...) int32 -> score and information (..., 2)."""

    table: Tensor

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        self.register_buffer("table", table)

    def forward(self, rows: Tensor) -> Tensor:
        return F.embedding(rows, self.table.flatten(0, 1))

    def exact(self) -> Scores:
        """The twin is the same, of whole numbers. Raises `BadCheckpoint` for others, and out of range."""
        whole = torch.equal(self.table, self.table.round())
        if not whole or float(self.table.abs().max()) > UNITS * HIGHEST or float(self.table[..., 1].min()) < 0:
            raise BadCheckpoint("the scores of the prior are not whole numbers in range: the weights file is damaged")
        return self


class Adaptation(nn.Module):
    """Moves the raw scales of the second and later parts by what the tally of all before says.

    A channel's scale follows its own evidence (`own`) and that of all channels (`mixed`, a network of `width`).
    """

    def __init__(self, latents: int, steps: int, width: int, shape: Gaussian | Logistic) -> None:
        super().__init__()
        self.scores = Scores(_scores(shape).clone())
        self.own = nn.ModuleList(nn.Conv2d(latents, latents, 1, groups=latents) for _ in range(steps - 1))
        self.mixed = nn.ModuleList(
            nn.Sequential(Pointwise(latents, width), nn.LeakyReLU(SLOPE), zero_(Pointwise(width, latents)))
            for _ in range(steps - 1)
        )
        for layer in self.own:
            assert isinstance(layer, nn.Conv2d) and layer.bias is not None
            nn.init.constant_(layer.weight, START)
            nn.init.zeros_(layer.bias)

    def forward(self, step: int, tally: Tally) -> Tally:
        """The tally with what it moves the raw scales of part `step` (from 1) by."""
        asked = evidence(tally.counts)
        return Tally(tally.counts, self.own[step - 1](asked) + self.mixed[step - 1](asked))

    @torch.no_grad()
    def count(self, tally: Tally, cell: Cell, belief: Belief, residuals: Tensor, width: int) -> None:
        """Add a cell's symbols to the tally of a map `width` latents wide, in place.

        `residuals` (B, n, c) are its symbols within a rounding, `belief` is theirs before it was moved: a tally says
        how wrong the networks are, moved or not.
        """
        sizes = residuals.abs().add_(0.5).clamp_(max=SIZES - 1).int().clamp_(min=0)  # a NaN may be any whole number
        rows = belief.gaussian.scale.index(belief.raw).int().mul_(SIZES).add_(sizes)
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
    octaves = score.mul_(2**ACTIVATION_BITS).div_(information.add_(DOUBT)).round_().div_(2**ACTIVATION_BITS)
    return octaves.clamp_(-MOST, MOST).to(counts.dtype).permute(0, 3, 1, 2)
