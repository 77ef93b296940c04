"""The walk over large maps: a context model that works tile by tile, bit for bit that over the whole map.

Entropy parameters are exact integers, so a tile with its full halo gives what the whole map gives. Each step is coded
in all tiles before the next one; in the walk every pair of them is a step of its own. Maps are kept in float32, which
holds activations (24 bits) exactly, and y_hat too below 4096 (docs/format.md).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lichen.lab.prior.adaptation import SMOOTHING_REACH, ScaleStatistics
from lichen.lab.prior.context import ParallelModel, State
from lichen.lab.prior.entropy_parameters import EntropyParameters
from lichen.lab.prior.prior import Prior
from lichen.lab.prior.schedules import Step
from lichen.lab.prior.walk import Coder, Correction, Walked, walk
from lichen.runtime.tiles import PriorTiling, Tile


@dataclass(frozen=True)
class TileStep:
    """A step within a tile: `own` are its cells there, `whole` all of its number in the tile with its halo, `outer`.

    `begins` says that the tile is the first of its step.
    """

    own: Step
    whole: Step
    tile: Tile
    outer: Tile
    unit: int
    begins: bool

    @property
    def number(self) -> int:
        return self.own.number

    @property
    def group(self) -> int:
        return self.own.group

    def gather(self, y: Tensor) -> Tensor:
        """This step's latents of y (B, M, h, w), as a block."""
        return self.own.gather(self.outer.of(y, self.unit))


@dataclass(frozen=True)
class TiledState:
    """Maps of the whole picture, changed in place, and the state of the tile at hand.

    features (1, F, h, w), rate_level (1,) and y_hat `known` (1, M, h, w). Statistics are kept twice: a step is
    predicted from those `before` it, whatever tiles have counted of it since.
    """

    features: Tensor
    rate_level: Tensor
    known: Tensor
    before: ScaleStatistics | None
    after: ScaleStatistics | None
    near: State | None = None


class TiledModel:
    """A parallel context model, tile by tile."""

    def __init__(
        self, context: ParallelModel, tiling: PriorTiling, unit: int, dtype: torch.dtype, *, trellis: bool = False
    ) -> None:
        self.context, self.tiling, self.unit, self.dtype, self.trellis = context, tiling, unit, dtype, trellis
        reach = SMOOTHING_REACH if context.adaptation is not None else 0
        self.halo = max(tiling.halos.context, reach)

    def begin(self, features: Tensor, rate_level: Tensor) -> TiledState:
        """The state before anything is coded, from features (1, F, h, w)."""
        known = empty_map(self.context.latents, self.tiling.whole, self.unit)
        before = after = None
        if self.context.adaptation is not None:
            before, after = (ScaleStatistics.empty(known, self.context.latents, self.dtype) for _ in range(2))
        return TiledState(features, rate_level, known, before, after=after)

    def steps(self, state: TiledState, sequential: bool) -> Iterator[TileStep]:
        device = state.rate_level.device
        for number in range(self.context.schedule.count):
            for place, tile in enumerate(self.tiling.tiles):
                outer = tile.grown(self.halo, self.tiling.whole)
                rows, columns = (side * self.unit for side in outer.shape)
                inside = _positions(tile.seen_from(outer), outer, self.unit)
                together = [s for s in self.context.schedule.steps(rows, columns, device) if s.number == number]
                whole = Step(number, tuple(cell for step in together for cell in step.cells))
                for step in together:
                    yield TileStep(step.among(inside), whole, tile, outer, unit=self.unit, begins=place == 0)

    def predict(self, step: TileStep, state: TiledState) -> tuple[EntropyParameters, TiledState]:
        if state.near is None:  # else of the same number, in the same tile
            if step.begins and step.own.number > 0:
                state = replace(state, before=state.after, after=state.before)
            state = replace(state, near=self._cut(step, state))
        assert state.near is not None
        parameters, near = self.context.predict(step.own, state.near)
        return parameters, replace(state, near=near)

    def absorb(self, step: TileStep, state: TiledState, symbols: Tensor) -> TiledState:
        assert state.near is not None
        near, inside = self.context.absorb(step.own, state.near, symbols), step.tile.seen_from(step.outer)
        step.tile.of(state.known, self.unit).copy_(inside.of(near.known, self.unit))
        if state.after is not None and near.statistics is not None:
            step.tile.of(state.after.counts, 1).copy_(inside.of(near.statistics.counts, 1))
        return replace(state, near=None if step.own.last else near)

    def _cut(self, step: TileStep, state: TiledState) -> State:
        """The state in a tile with its halo, without what tiles before have decoded of the step."""
        known = _copy(step.outer.of(state.known, self.unit), self.dtype)
        for cell in step.whole.cells:
            cell.put_(known, known.new_zeros(()))
        statistics = None
        if state.before is not None:
            statistics = ScaleStatistics(step.outer.of(state.before.counts, 1).clone())
        features = _copy(step.outer.of(state.features, self.unit), self.dtype)
        near = State(features, state.rate_level, known, statistics)
        return self.context.trellis_coded(near) if self.trellis else near


def walk_tiles(
    prior: Prior,
    coder: Coder,
    rate_level: Tensor,
    tiling: PriorTiling,
    *,
    y: Tensor | None,
    z: Tensor | None,
    trellis: bool = False,
    correct: Correction | None = None,
) -> Walked:
    """`Prior.walk` of one large picture, in tiles: z (1, Z, h', w'), then y (1, M, h, w)."""
    assert isinstance(prior.context, ParallelModel)  # or there is no tiling
    with prior.guard():
        shape = tiling.whole.shape
        z_hat = prior.code_hyper(coder, rate_level, shape, None if z is None else z.double())
        features, unit = _features(prior, z_hat, rate_level, tiling)
        dtype = torch.float32 if prior.float32 else torch.float64
        context = TiledModel(prior.context, tiling, unit, dtype, trellis=trellis)
        return walk(context, coder, context.begin(features, rate_level), y, correct=correct)


def empty_map(channels: int, tile: Tile, unit: int) -> Tensor:
    """(1, C, h, w) float32 zeros under a tile, channels last in memory."""
    rows, columns = (side * unit for side in tile.shape)
    return torch.zeros(1, rows, columns, channels).permute(0, 3, 1, 2)


def _features(prior: Prior, z_hat: Tensor, rate_level: Tensor, tiling: PriorTiling) -> tuple[Tensor, int]:
    """What the hyper synthesis makes of z_hat (1, F, h, w) float32, and how many rows of it a hyper-latent has."""
    features: Tensor | None = None
    for tile in tiling.tiles:
        outer = tile.grown(tiling.halos.synthesis, tiling.whole)
        part = prior.synthesis(outer.of(z_hat, 1), rate_level)
        unit = part.shape[2] // outer.shape[0]
        features = empty_map(part.shape[1], tiling.whole, unit) if features is None else features
        tile.of(features, unit).copy_(tile.seen_from(outer).of(part, unit))
    assert features is not None
    return features, unit


def _copy(x: Tensor, dtype: torch.dtype) -> Tensor:
    """A copy, channels last in memory."""
    return x.to(dtype, memory_format=torch.channels_last, copy=True)


def _positions(inside: Tile, outer: Tile, unit: int) -> Tensor:
    """(h, w) bool over the positions of `outer`: true within the tile itself."""
    mask = torch.zeros(1, 1, outer.shape[0] * unit, outer.shape[1] * unit, dtype=torch.bool)
    inside.of(mask, unit).fill_(True)
    return mask[0, 0]
