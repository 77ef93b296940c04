"""Large pictures in tiles: rectangles of the map, and how far each network looks beyond one.

Everything is counted in hyper-latents (64 x 64 pixels, 4 x 4 latents), the coarsest map of a model. The
tiles follow from the picture's size alone, never from memory, so that a picture has one result.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lichen.lab.models.model import Model
from lichen.lab.prior.context import ContextModel

SIDE = 48  # of a tile of the walk: 3072 pixels; part of the file format, as symbols lie tile by tile
TRANSFORM_SIDE = 64  # of a tile of the transforms, at most: 4096 pixels
LOOKED_AT = 16, 4096  # the side of tiles from which a filter is fitted, and how many hyper-latents suffice: 16 Mpx
_PHASES = 4  # positions at which a network is probed; networks on a grid of their own align to this
_FARTHEST = 12  # a network that looks farther is not run in tiles


@dataclass(frozen=True)
class Tile:
    """Rows top ... bottom and columns left ... right of the map of hyper-latents, ends not included."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def shape(self) -> tuple[int, int]:
        return self.bottom - self.top, self.right - self.left

    @property
    def area(self) -> int:
        return math.prod(self.shape)

    def of(self, x: Tensor, unit: int) -> Tensor:
        """The part of (B, C, h, w) under this tile, `unit` rows to a hyper-latent; a view."""
        return x[..., self.top * unit : self.bottom * unit, self.left * unit : self.right * unit]

    def grown(self, halo: int, whole: Tile) -> Tile:
        """With `halo` more on each side, within the whole map."""
        return Tile(
            max(self.top - halo, whole.top),
            max(self.left - halo, whole.left),
            min(self.bottom + halo, whole.bottom),
            min(self.right + halo, whole.right),
        )

    def seen_from(self, outer: Tile) -> Tile:
        """This tile in the coordinates of a larger one."""
        return Tile(self.top - outer.top, self.left - outer.left, self.bottom - outer.top, self.right - outer.left)

    def meets(self, other: Tile) -> bool:
        rows = self.top < other.bottom and other.top < self.bottom
        return rows and self.left < other.right and other.left < self.right


def split(height: int, width: int, down: int, across: int) -> list[Tile]:
    """A map of height x width hyper-latents in tiles of down x across, row by row; the last ones are smaller."""
    return [
        Tile(top, left, min(top + down, height), min(left + across, width))
        for top in range(0, height, down)
        for left in range(0, width, across)
    ]


def evenly(height: int, width: int, most: int) -> list[Tile]:
    """The same in as few tiles as sides of at most `most` allow, the largest of them as small as can be.

    They begin at multiples of four, as networks on a grid of their own ask; so does `most`.
    """
    fewest = (-(-length // -(-length // most)) for length in (height, width))
    down, across = (-(-side // _PHASES) * _PHASES for side in fewest)
    return split(height, width, down, across)


def coding_tiles(height: int, width: int) -> list[Tile]:
    """The tiles by which symbols are ordered: part of the file format."""
    return split(height, width, SIDE, SIDE)


def sample_tiles(whole: Tile) -> list[Tile]:
    """The tiles of a map from which its picture's filter is fitted: all of them, or of a large map some."""
    side, enough = LOOKED_AT
    apart, across = -(-whole.area // enough), -(-whole.shape[1] // side)
    while math.gcd(apart, across) > 1:  # else always in the same columns
        apart += 1
    return split(*whole.shape, side, side)[::apart]


@dataclass(frozen=True)
class TransformHalos:
    """How far the transforms of a model look, in hyper-latents."""

    analysis: int
    hyper_analysis: int
    synthesis: int


@dataclass(frozen=True)
class PriorHalos:
    """How far a model's prior looks, in hyper-latents."""

    synthesis: int
    context: int


@torch.inference_mode(False)  # by the plain layers: the fast ones let a NaN spread farther than values
@torch.no_grad()
def transform_halos(model: Model) -> TransformHalos | None:
    """The true halos of a built model's transforms; None if one of them looks everywhere."""
    pixels, unit, level = model.hyper_stride, model.hyper_stride // model.stride, _zero(model)
    latents, own = model.prior.context.latents, model.post_filter

    def synthesis_of(y: Tensor) -> Tensor:
        x_hat: Tensor = model.synthesis(y, level)
        return x_hat if own is None else own(x_hat, own.offsets.new_zeros(len(own.offsets)))

    analysis = _reach(lambda x: model.analysis(x, level), 3, pixels, unit, level.device)
    hyper_analysis = _reach(lambda y: model.hyper_analysis(y, level), latents, unit, 1, level.device)
    synthesis = _reach(synthesis_of, latents, unit, pixels, level.device)
    if analysis is None or hyper_analysis is None or synthesis is None:
        return None
    return TransformHalos(analysis, hyper_analysis, synthesis)


@torch.inference_mode()
def prior_halos(model: Model) -> PriorHalos | None:
    """The true halos of a built model's prior.

    None if it looks everywhere, its schedule is not periodic, or its context cannot do with a tile.
    """
    context, unit, level = model.prior.context, model.hyper_stride // model.stride, _zero(model)
    if not isinstance(context, ContextModel) or not context.windowed or not _is_periodic(model, unit):
        return None
    hyper_latents = model.prior.hyper_prior.channels
    features = model.prior.synthesis(level.new_zeros(1, hyper_latents, 1, 1), level).shape[1]

    def context_of(x: Tensor) -> Tensor:
        return context.everywhere(x[:, :features], x[:, features:])

    synthesis = _reach(lambda z: model.prior.synthesis(z, level), hyper_latents, 1, unit, level.device)
    looked = _reach(context_of, features + context.latents, unit, unit, level.device)
    return None if synthesis is None or looked is None else PriorHalos(synthesis, looked)


def _zero(model: Model) -> Tensor:
    """The lowest quality, on the model's device."""
    return torch.zeros(1, device=next(model.parameters()).device)


def _is_periodic(model: Model, unit: int) -> bool:
    """Whether the schedule of a hyper-latent's positions is the same wherever it lies."""
    schedule, device = model.prior.context.schedule, torch.device("cpu")

    def steps_of(cells: int) -> Tensor:
        step = torch.full((1, cells * unit, cells * unit, model.prior.context.latents), -1).permute(0, 3, 1, 2)
        for number, part in enumerate(schedule.parts(cells * unit, cells * unit, device)):
            for cell in part:
                cell.put_(step, torch.full_like(cell.of(step), number))
        return step

    return torch.equal(steps_of(2), steps_of(1).repeat(1, 1, 2, 2))


def _reach(
    network: Callable[[Tensor], Tensor], channels: int, unit_in: int, unit_out: int, device: torch.device
) -> int | None:
    """How many hyper-latents away an input is still felt, found by letting a NaN spread through the network.

    A NaN passes every layer whatever its weights. If what it reaches depends on where it stood (networks
    that work on a grid of their own), the reach is rounded up to the probes' period. None: too far.
    """
    for radius in (_FARTHEST // 2, _FARTHEST):
        spreads = [_spread(network, channels, unit_in, unit_out, radius, phase, device) for phase in (0, 1)]
        alike = all(torch.equal(a, b) for a, b in zip(*spreads, strict=True))
        if not alike:
            phases = range(2, _PHASES)
            spreads += [_spread(network, channels, unit_in, unit_out, radius, phase, device) for phase in phases]
        reach = max((int(strip.abs().max()) for strips in spreads for strip in strips if len(strip)), default=0)
        if reach < radius:
            return reach if alike else -(-reach // _PHASES) * _PHASES
    return None


def _spread(
    network: Callable[[Tensor], Tensor],
    channels: int,
    unit_in: int,
    unit_out: int,
    radius: int,
    phase: int,
    device: torch.device,
) -> tuple[Tensor, Tensor]:
    """Where a NaN is felt, as offsets in hyper-latents, down and across: in strips, as a whole map would be dear."""
    at, side = radius + phase, 2 * radius + _PHASES
    strips = []
    for down in (True, False):
        rows, columns = (side, 2) if down else (2, side)
        x = torch.zeros(1, channels, rows * unit_in, columns * unit_in, device=device)
        x.narrow(2 if down else 3, at * unit_in, unit_in).fill_(torch.nan)
        felt = network(x).isnan().any(dim=1)[0].any(dim=1 if down else 0)
        strips.append(felt.unflatten(0, (side, unit_out)).any(dim=1).nonzero() - at)
    return strips[0], strips[1]
