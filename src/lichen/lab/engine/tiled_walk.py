"""The walk of a large picture: each part window by window, bit for bit the latents of the walk over the whole.

Beliefs are exact integers, so a window with its full halo gives what the whole map gives. Maps are kept in
float32, which holds activations (24 bits) exactly, and y_hat too below 4096 (docs/format.md).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lichen.lab.prior.adaptation import REACH, Tally
from lichen.lab.prior.context import Coder, ContextModel, Prior
from lichen.runtime.tiles import PriorHalos, Window


def empty_map(channels: int, window: Window, unit: int) -> Tensor:
    """(1, C, h, w) float32 zeros under a window, channels last in memory."""
    rows, columns = (side * unit for side in window.shape)
    return torch.zeros(1, rows, columns, channels).permute(0, 3, 1, 2)


def walk_windows(
    prior: Prior,
    coder: Coder,
    level: Tensor,
    whole: Window,
    windows: Sequence[Window],
    halos: PriorHalos,
    y: Tensor | None,
    z: Tensor | None,
) -> Tensor:
    """Code z, then y part by part and in each part window by window; or read them. Gives y_hat (1, M, h, w)."""
    context = prior.context
    assert isinstance(context, ContextModel)  # or there are no halos
    with prior.guard():
        z_hat = prior.code_hyper(coder, level, whole.shape, None if z is None else z.double())
        features, unit = _features(prior, z_hat, level, whole, windows, halos.synthesis)
        dtype = torch.float32 if prior.single else torch.float64
        known = empty_map(context.latents, whole, unit)
        tally = context.tally(features, dtype)
        for step in range(context.schedule.steps):
            tally = _weighed(context, step, tally, whole, windows)
            for window in windows:
                outer = window.grown(halos.context, whole)
                part = context.schedule.parts(outer.shape[0] * unit, outer.shape[1] * unit, level.device)[step]
                near = _copy(outer.of(known, unit), dtype)
                for cell in part:  # windows before have coded theirs of it, which the whole walk does not see
                    cell.put_(near, near.new_zeros(()))
                inside = window.seen_from(outer)
                own = tuple(cell.among(_positions(inside, outer, unit)) for cell in part)
                wanted = None if y is None else outer.of(y, unit)
                seen = context.look(step, _copy(outer.of(features, unit), dtype), near)
                local = None if tally is None else tally.within(lambda x, outer=outer: outer.of(x, 1))  # type: ignore[misc]
                context.code_part(step, own, coder, seen, near, level, wanted, local)
                window.of(known, unit).copy_(inside.of(near, unit))
    return known


def _weighed(
    context: ContextModel, step: int, tally: Tally | None, whole: Window, windows: Sequence[Window]
) -> Tally | None:
    """`ContextModel.weighed` window by window, before any of the part is coded: at once it takes much memory."""
    if tally is None or step == 0:
        return tally
    moved = torch.empty_like(tally.counts[:, 0])
    for window in windows:
        outer = window.grown(REACH, whole)
        part = context.weighed(step, tally.within(lambda x, outer=outer: outer.of(x, 1)))  # type: ignore[misc]
        assert part is not None and part.moved is not None
        window.of(moved, 1).copy_(window.seen_from(outer).of(part.moved, 1))
    return Tally(tally.counts, moved)


def _features(
    prior: Prior, z_hat: Tensor, level: Tensor, whole: Window, windows: Sequence[Window], halo: int
) -> tuple[Tensor, int]:
    """What the hyper synthesis makes of z_hat (1, F, h, w) float32, and how many rows of it a hyper-latent has."""
    features: Tensor | None = None
    for window in windows:
        outer = window.grown(halo, whole)
        part = prior.synthesis(outer.of(z_hat, 1), level)
        unit = part.shape[2] // outer.shape[0]
        features = empty_map(part.shape[1], whole, unit) if features is None else features
        window.of(features, unit).copy_(window.seen_from(outer).of(part, unit))
    assert features is not None
    return features, unit


def _copy(x: Tensor, dtype: torch.dtype) -> Tensor:
    """A copy, channels last in memory."""
    return x.to(dtype, memory_format=torch.channels_last, copy=True)


def _positions(inside: Window, outer: Window, unit: int) -> Tensor:
    """(n,) bool over the positions of `outer`: true within the window itself."""
    mask = torch.zeros(1, 1, outer.shape[0] * unit, outer.shape[1] * unit, dtype=torch.bool)
    inside.of(mask, unit).fill_(True)
    return mask.flatten()
