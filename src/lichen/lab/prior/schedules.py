"""Schedules: which latents are coded together, and in which order.

A schedule is a list of coding steps; a step is a tuple of cells; a cell is a range of channels at some positions. What
the cells of a step are predicted from is the same: all that was known before it. Together the cells of a schedule
cover every latent exactly once (a law, tested for every row of the zoo).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor


@dataclass(frozen=True)
class Cell:
    """A dense block of latents: `channels` at some positions, in raster order.

    `positions` (n,) int64 are row * w + column, ascending. With a `phase` (row, column) they are every second of each
    from there on. Without either they are all.
    """

    channels: slice
    positions: Tensor | None = None
    phase: tuple[int, int] | None = None

    def at(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, n, C): all channels at this cell's positions."""
        if self.phase is not None:
            x = x[:, :, self.phase[0] :: 2, self.phase[1] :: 2]
        flat = x.permute(0, 2, 3, 1).flatten(1, 2)
        return flat if self.positions is None else flat.index_select(1, self.positions)

    def of(self, y: Tensor) -> Tensor:
        """(B, M, h, w) -> (B, n, c): this cell's latents."""
        return self.at(y[:, self.channels])

    def shape(self, latents: Sequence[int]) -> tuple[int, int]:
        """(n, c) of this cell in a map of latents (M, h, w)."""
        channels, height, width = latents
        count = height * width if self.positions is None else len(self.positions)
        if self.phase is not None:
            count = len(range(self.phase[0], height, 2)) * len(range(self.phase[1], width, 2))
        return count, len(range(*self.channels.indices(channels)))

    def places(self, height: int, width: int, device: torch.device) -> Tensor:
        """(n,) int64: its positions in a map of height x width."""
        if self.positions is not None:
            return self.positions
        everywhere = torch.arange(height * width, device=device)
        return Cell(slice(None), None, self.phase).of(everywhere.view(1, 1, height, width))[0, :, 0]

    def among(self, mask: Tensor) -> Cell:
        """The same channels at those of its positions where `mask` (h, w) is true."""
        places = self.places(mask.shape[0], mask.shape[1], mask.device)
        return Cell(self.channels, places[mask.flatten()[places]])

    def back(self, values: Tensor, shape: tuple[int, ...]) -> Tensor:
        """The inverse of `of`, for a cell of everything: (B, h w, M) -> (B, M, h, w)."""
        plane: Tensor = values.unflatten(1, shape).permute(0, 3, 1, 2)
        return plane

    def put_(self, y: Tensor, values: Tensor) -> None:
        """Write `values` (B, n, c), or one number, into this cell of y (B, M, h, w), in place."""
        plane = y.permute(0, 2, 3, 1)[..., self.channels]
        if self.phase is not None:
            lattice = plane[:, self.phase[0] :: 2, self.phase[1] :: 2]
            lattice.copy_(values if values.dim() == 0 else values.unflatten(1, lattice.shape[1:3]))
        elif self.positions is None:
            plane.copy_(values if values.dim() == 0 else values.unflatten(1, plane.shape[1:3]))
        else:
            flat = y.permute(0, 2, 3, 1).view(y.shape[0], -1, y.shape[1])[:, :, self.channels]
            flat[:, self.positions] = values.to(y.dtype)


@dataclass(frozen=True)
class Step:
    """A coding step: cells that are predicted together and coded as one block, in their order.

    Steps of the same `number` are predicted from what was known before the first of them; `last` is the last of them.
    `group` counts the channel groups (ELIC, ChARM), each of which has a stream of its own in a file.
    """

    number: int
    cells: tuple[Cell, ...]
    group: int = 0
    last: bool = True

    def gather(self, y: Tensor) -> Tensor:
        """(B, M, h, w) -> this step's latents as one block: (B, n, c) of one cell, (B, sum of n c, 1) of several."""
        return joined([cell.of(y) for cell in self.cells])

    def put_(self, y: Tensor, block: Tensor) -> None:
        """Write a block into this step's cells of y (B, M, h, w), in place."""
        for cell, values in zip(self.cells, self.split(block, y.shape[1:]), strict=True):
            cell.put_(y, values)

    def split(self, block: Tensor, latents: Sequence[int]) -> list[Tensor]:
        """The inverse of `joined` for this step's cells of a map of latents (M, h, w): (B, n, c) each."""
        if len(self.cells) == 1:
            return [block]
        shapes = [cell.shape(latents) for cell in self.cells]
        parts = block[..., 0].split([count * width for count, width in shapes], dim=1)
        return [part.unflatten(1, shape) for part, shape in zip(parts, shapes, strict=True)]

    def among(self, mask: Tensor) -> Step:
        """The same at those positions only where `mask` (h, w) is true."""
        return replace(self, cells=tuple(cell.among(mask) for cell in self.cells))


def joined(cells: Sequence[Tensor]) -> Tensor:
    """Latents (B, n, c) of several cells, one after the other, as one block (B, sum of n c, 1); one cell as it is."""
    return cells[0] if len(cells) == 1 else torch.cat([cell.flatten(1) for cell in cells], dim=1)[..., None]


class Schedule(Protocol):
    """An order of coding."""

    def steps(self, height: int, width: int, device: torch.device) -> list[Step]:
        """The steps, in coding order, for latents of height x width positions."""
        ...


class FixedSchedule(Schedule, Protocol):
    """A schedule whose steps have as many different numbers at any size."""

    @property
    def count(self) -> int:
        """How many numbers the steps have: the sources are shared out by it."""
        ...


def _steps(cells: Iterable[tuple[Cell, ...]]) -> list[Step]:
    return [Step(number, own) for number, own in enumerate(cells)]


def _parities(height: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """The positions where row + column is even, and where it is odd."""
    rows = torch.arange(height, device=device)[:, None]
    columns = torch.arange(width, device=device)[None]
    odd = ((rows + columns) % 2 == 1).flatten()
    return (~odd).nonzero()[:, 0], odd.nonzero()[:, 0]


@dataclass(frozen=True)
class AllAtOnce:
    """The plain hyperprior (Minnen 2018): every latent in one step."""

    @property
    def count(self) -> int:
        return 1

    def steps(self, height: int, width: int, device: torch.device) -> list[Step]:
        return _steps([(Cell(slice(None)),)])


@dataclass(frozen=True)
class Checkerboard:
    """Two parities (He 2021; correlation-loss paper eq. 8): anchors first, then the others."""

    @property
    def count(self) -> int:
        return 2

    def steps(self, height: int, width: int, device: torch.device) -> list[Step]:
        return _steps((Cell(slice(None), positions),) for positions in _parities(height, width, device))


@dataclass(frozen=True)
class DualCheckerboard:
    """Two parities, opposite for even and odd channels.

    Each step codes half the channels everywhere, so that in the second step every position has
    both known neighbours and known channels of its own. Its files have a block for each cell, so each is a step
    of its own, the two of a number predicted from the same.
    """

    @property
    def count(self) -> int:
        return 2

    def steps(self, height: int, width: int, device: torch.device) -> list[Step]:
        even, odd = _parities(height, width, device)
        first, second = slice(0, None, 2), slice(1, None, 2)
        cells = Cell(first, even), Cell(second, odd), Cell(first, odd), Cell(second, even)
        return [Step(place // 2, (cell,), last=place % 2 == 1) for place, cell in enumerate(cells)]


@dataclass(frozen=True)
class Quadtree:
    """Four steps (Li 2023, DCVC-DC): each codes a quarter of the channels at every position.

    Positions fall into four phases by the parities of row and column, channels into four groups, interleaved. A step
    pairs each group with another phase: first its own, then the diagonal one, then those beside and below. So from
    the second step on every position has known channels of its own; after two steps is known what `DualCheckerboard`
    knows after one, and what it knows of a channel's neighbours.
    """

    @property
    def count(self) -> int:
        return 4

    def steps(self, height: int, width: int, device: torch.device) -> list[Step]:
        phases = (0, 0), (0, 1), (1, 0), (1, 1)
        groups = [slice(first, None, 4) for first in (0, 1, 3, 2)]  # of phase 0, 1, 2, 3
        turns = (0, 3, 1, 2)
        return _steps(
            tuple(Cell(group, phase=phases[own ^ turn]) for own, group in enumerate(groups)) for turn in turns
        )


@dataclass(frozen=True)
class ChannelSlices:
    """Equal slices of channels, one after the other (Minnen 2020: ChARM)."""

    slices: int
    latents: int

    @property
    def count(self) -> int:
        return self.slices

    def steps(self, height: int, width: int, device: torch.device) -> list[Step]:
        return [Step(number, (Cell(own),), number) for number, own in enumerate(self.ranges())]

    def ranges(self) -> list[slice]:
        """The channels of each slice."""
        return ranges((self.latents // self.slices,) * self.slices)


@dataclass(frozen=True)
class SpaceChannel:
    """Groups of channels one after the other, each in two parities (ELIC)."""

    groups: tuple[int, ...]

    @property
    def count(self) -> int:
        return 2 * len(self.groups)

    def steps(self, height: int, width: int, device: torch.device) -> list[Step]:
        parities = _parities(height, width, device)
        cells = [(Cell(group, positions),) for group in ranges(self.groups) for positions in parities]
        return [Step(number, cell, number // 2) for number, cell in enumerate(cells)]


@dataclass(frozen=True)
class Wavefront:
    """Raster order as far as a causal 5 x 5 needs it: steps of equal column + 3 row, coded at once."""

    def steps(self, height: int, width: int, device: torch.device) -> list[Step]:
        rows = torch.arange(height, device=device)[:, None]
        step = (torch.arange(width, device=device)[None] + 3 * rows).flatten()
        order = torch.argsort(step, stable=True)
        return _steps((Cell(slice(None), positions),) for positions in order.split(torch.bincount(step).tolist()))


@dataclass(frozen=True)
class Raster:
    """Position after position: for models that look at all earlier ones."""

    def steps(self, height: int, width: int, device: torch.device) -> list[Step]:
        positions = torch.arange(height * width, device=device).split(1)
        return _steps((Cell(slice(None), position),) for position in positions)


def ranges(sizes: tuple[int, ...]) -> list[slice]:
    """Consecutive ranges of channels of these sizes."""
    stops = list(itertools.accumulate(sizes))
    return [slice(stop - size, stop) for size, stop in zip(sizes, stops, strict=True)]
