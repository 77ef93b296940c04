"""Schedules: which latents are coded together, and in which order.

A schedule is a list of parts; a part is a boolean mask over (C, h, w). Together the parts of a
schedule cover every latent exactly once (a law, tested for every row of the zoo).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


@dataclass(frozen=True)
class Part:
    """One coding step: `mask` (C, h, w) is true where this step codes; `index` is its number."""

    index: int
    mask: Tensor


class Schedule(Protocol):
    """What a context model needs to know of a schedule."""

    @property
    def steps(self) -> int:
        """How many parts there are, whatever the size."""
        ...

    def parts(self, channels: int, height: int, width: int, device: torch.device) -> list[Part]:
        """The parts, in coding order, for latents of (channels, height, width)."""
        ...


def _parity(height: int, width: int, device: torch.device) -> Tensor:
    """(1, h, w) bool: true where row + column is even."""
    rows = torch.arange(height, device=device)[:, None]
    columns = torch.arange(width, device=device)[None]
    return ((rows + columns) % 2 == 0)[None]


@dataclass(frozen=True)
class AllAtOnce:
    """The plain hyperprior (Minnen 2018): every latent in one step."""

    @property
    def steps(self) -> int:
        return 1

    def parts(self, channels: int, height: int, width: int, device: torch.device) -> list[Part]:
        return [Part(0, torch.ones(channels, height, width, dtype=torch.bool, device=device))]


@dataclass(frozen=True)
class Checkerboard:
    """Two parities (He 2021; correlation-loss paper eq. 8): anchors first, then the others."""

    @property
    def steps(self) -> int:
        return 2

    def parts(self, channels: int, height: int, width: int, device: torch.device) -> list[Part]:
        anchors = _parity(height, width, device).expand(channels, height, width)
        return [Part(0, anchors), Part(1, ~anchors)]


@dataclass(frozen=True)
class DualCheckerboard:
    """Two parities, opposite for even and odd channels.

    Each step codes half the channels everywhere, so that in the second step every position has
    both known neighbours and known channels of its own.
    """

    @property
    def steps(self) -> int:
        return 2

    def parts(self, channels: int, height: int, width: int, device: torch.device) -> list[Part]:
        odd = (torch.arange(channels, device=device) % 2 == 1)[:, None, None]
        first = _parity(height, width, device) ^ odd
        return [Part(0, first), Part(1, ~first)]
