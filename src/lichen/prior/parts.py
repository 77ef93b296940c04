"""Schedules: which latents are coded together, and in which order.

A schedule is a list of parts, coded one after the other; a part is a tuple of cells; a cell is a
range of channels at some positions. What a part's cells are predicted from is the same: all that
was known before the part. Together the cells of a schedule cover every latent exactly once (a law,
tested for every row of the zoo).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


@dataclass(frozen=True)
class Cell:
    """Latents that are coded as one dense block: `channels` at `positions`.

    `positions` (n,) int64 are row * w + column, ascending; None stands for all of them.
    """

    channels: slice
    positions: Tensor | None = None

    def at(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, n, C): all channels at this cell's positions."""
        flat = x.permute(0, 2, 3, 1).flatten(1, 2)
        return flat if self.positions is None else flat.index_select(1, self.positions)

    def of(self, y: Tensor) -> Tensor:
        """(B, M, h, w) -> (B, n, c): this cell's latents."""
        return self.at(y)[:, :, self.channels]

    def among(self, mask: Tensor) -> Cell:
        """The same channels at those of its positions where `mask` (h w,) is true."""
        positions = mask.nonzero()[:, 0] if self.positions is None else self.positions[mask[self.positions]]
        return Cell(self.channels, positions)

    def put_(self, y: Tensor, values: Tensor) -> None:
        """Write `values` (B, n, c) into this cell of y (B, M, h, w), in place."""
        flat = y.permute(0, 2, 3, 1).view(y.shape[0], -1, y.shape[1])[:, :, self.channels]
        if self.positions is None:
            flat.copy_(values)
        else:
            flat[:, self.positions] = values


Part = tuple[Cell, ...]


class Schedule(Protocol):
    """What a context model needs to know of a schedule."""

    @property
    def steps(self) -> int:
        """How many parts there are, whatever the size."""
        ...

    def parts(self, height: int, width: int, device: torch.device) -> list[Part]:
        """The parts, in coding order, for latents of height x width positions."""
        ...


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
    def steps(self) -> int:
        return 1

    def parts(self, height: int, width: int, device: torch.device) -> list[Part]:
        return [(Cell(slice(None)),)]


@dataclass(frozen=True)
class Checkerboard:
    """Two parities (He 2021; correlation-loss paper eq. 8): anchors first, then the others."""

    @property
    def steps(self) -> int:
        return 2

    def parts(self, height: int, width: int, device: torch.device) -> list[Part]:
        return [(Cell(slice(None), positions),) for positions in _parities(height, width, device)]


@dataclass(frozen=True)
class DualCheckerboard:
    """Two parities, opposite for even and odd channels.

    Each step codes half the channels everywhere, so that in the second step every position has
    both known neighbours and known channels of its own.
    """

    @property
    def steps(self) -> int:
        return 2

    def parts(self, height: int, width: int, device: torch.device) -> list[Part]:
        even, odd = _parities(height, width, device)
        first, second = slice(0, None, 2), slice(1, None, 2)
        return [(Cell(first, even), Cell(second, odd)), (Cell(first, odd), Cell(second, even))]
