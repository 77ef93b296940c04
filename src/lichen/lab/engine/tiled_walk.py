"""The walk of a large picture: each part tile by tile, bit for bit the latents of the walk over the whole.

Beliefs are exact integers, so a tile with its full halo gives what the whole map gives. Maps are kept in
float32, which holds activations (24 bits) exactly, and y_hat too below 4096 (docs/format.md).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lichen.lab.prior.adaptation import REACH, ScaleStatistics
from lichen.lab.prior.context import Coder, ContextModel, Prior
from lichen.runtime.tiles import PriorHalos, Tile


def empty_map(channels: int, tile: Tile, unit: int) -> Tensor:
    """(1, C, h, w) float32 zeros under a tile, channels last in memory."""
    rows, columns = (side * unit for side in tile.shape)
    return torch.zeros(1, rows, columns, channels).permute(0, 3, 1, 2)


def walk_tiles(
    prior: Prior,
    coder: Coder,
    level: Tensor,
    whole: Tile,
    tiles: Sequence[Tile],
    halos: PriorHalos,
    y: Tensor | None,
    z: Tensor | None,
) -> Tensor:
    """Code z, then y part by part and in each part tile by tile; or read them. Gives y_hat (1, M, h, w)."""
    context = prior.context
    assert isinstance(context, ContextModel)  # or there are no halos
    with prior.guard():
        z_hat = prior.code_hyper(coder, level, whole.shape, None if z is None else z.double())
        features, unit = _features(prior, z_hat, level, whole, tiles, halos.synthesis)
        dtype = torch.float32 if prior.float32 else torch.float64
        known = empty_map(context.latents, whole, unit)
        tally = context.tally(features, dtype)
        for step in range(context.schedule.steps):
            tally = _weighed(context, step, tally, whole, tiles)
            for tile in tiles:
                outer = tile.grown(halos.context, whole)
                part = context.schedule.parts(outer.shape[0] * unit, outer.shape[1] * unit, level.device)[step]
                near = _copy(outer.of(known, unit), dtype)
                for cell in part:  # tiles before have coded theirs of it, which the whole walk does not see
                    cell.put_(near, near.new_zeros(()))
                inside = tile.seen_from(outer)
                own = tuple(cell.among(_positions(inside, outer, unit)) for cell in part)
                wanted = None if y is None else outer.of(y, unit)
                seen = context.look(step, _copy(outer.of(features, unit), dtype), near)
                local = None if tally is None else tally.within(lambda x, outer=outer: outer.of(x, 1))  # type: ignore[misc]
                context.code_part(step, own, coder, seen, near, level, wanted, local)
                tile.of(known, unit).copy_(inside.of(near, unit))
    return known


def _weighed(
    context: ContextModel, step: int, tally: ScaleStatistics | None, whole: Tile, tiles: Sequence[Tile]
) -> ScaleStatistics | None:
    """`ContextModel.weighed` tile by tile, before any of the part is coded: at once it takes much memory."""
    if tally is None or step == 0:
        return tally
    moved = torch.empty_like(tally.counts[:, 0])
    for tile in tiles:
        outer = tile.grown(REACH, whole)
        part = context.weighed(step, tally.within(lambda x, outer=outer: outer.of(x, 1)))  # type: ignore[misc]
        assert part is not None and part.moved is not None
        tile.of(moved, 1).copy_(tile.seen_from(outer).of(part.moved, 1))
    return ScaleStatistics(tally.counts, moved)


def _features(
    prior: Prior, z_hat: Tensor, level: Tensor, whole: Tile, tiles: Sequence[Tile], halo: int
) -> tuple[Tensor, int]:
    """What the hyper synthesis makes of z_hat (1, F, h, w) float32, and how many rows of it a hyper-latent has."""
    features: Tensor | None = None
    for tile in tiles:
        outer = tile.grown(halo, whole)
        part = prior.synthesis(outer.of(z_hat, 1), level)
        unit = part.shape[2] // outer.shape[0]
        features = empty_map(part.shape[1], whole, unit) if features is None else features
        tile.of(features, unit).copy_(tile.seen_from(outer).of(part, unit))
    assert features is not None
    return features, unit


def _copy(x: Tensor, dtype: torch.dtype) -> Tensor:
    """A copy, channels last in memory."""
    return x.to(dtype, memory_format=torch.channels_last, copy=True)


def _positions(inside: Tile, outer: Tile, unit: int) -> Tensor:
    """(n,) bool over the positions of `outer`: true within the tile itself."""
    mask = torch.zeros(1, 1, outer.shape[0] * unit, outer.shape[1] * unit, dtype=torch.bool)
    inside.of(mask, unit).fill_(True)
    return mask.flatten()
