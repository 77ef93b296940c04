"""Which table codes which latent: a belief in fixed point, turned into integers. Order: cell, position, channel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lichen.coding import tables
from lichen.coding.scales import RAW_SCALE_BITS
from lichen.coding.tables import Tables
from lichen.lab.prior.families import AnyEntropyParameters, EntropyParameters, LearnedEntropyParameters

Symbols = NDArray[np.int32]
FEW = 64  # values that show what the others are


@dataclass(frozen=True)
class TableIndex:
    """The latents of one call of `code`: flat positions of those that are `coded`, and the table `index` of each.

    A symbol of its table is `sign` times what is left of the rounded residual without `whole`.
    """

    tables: Tables
    index: NDArray[Any]
    coded: NDArray[np.int64] | None = None  # None: all
    whole: NDArray[np.int64] | None = None
    sign: NDArray[np.int64] | None = None

    def of(self, values: NDArray[Any]) -> NDArray[Any]:
        """Those of flat `values` that are coded."""
        return values if self.coded is None else values[self.coded]

    def to_symbols(self, rounded: NDArray[np.int64]) -> Symbols:
        if self.whole is not None and self.sign is not None:
            rounded = (rounded - self.whole) * self.sign
        return rounded.astype(np.int32)

    def from_symbols(self, symbols: Symbols) -> NDArray[np.int64]:
        rounded = symbols.astype(np.int64)
        if self.whole is not None and self.sign is not None:
            rounded = rounded * self.sign + self.whole
        return rounded


def address(belief: AnyEntropyParameters) -> TableIndex:
    """Where a belief's latents find their frequencies. Raises `ValueError` for a belief that is not fixed point."""
    exact = belief.mean.dtype == torch.float64 or (isinstance(belief, EntropyParameters) and _on_grid(belief))
    if not exact or belief.mean.shape[0] != 1:
        raise ValueError("files are coded one picture at a time, with a prior frozen to fixed point")
    if isinstance(belief, LearnedEntropyParameters):
        return _per_channel(belief)
    index = _flat(belief.family.scale.index(belief.raw))
    if belief.family.mean_in_cdf:
        return _fractional_mean(belief, index)
    if belief.family.skip < 0:
        return TableIndex(tables.zero_mean(belief.family.tables), index)
    coded = np.flatnonzero(index > belief.family.skip)
    return TableIndex(tables.zero_mean(belief.family.tables), index[coded], coded)


def _on_grid(belief: EntropyParameters) -> bool:
    """Whether the first few are multiples of 2^-12: in single precision all are, of a float network hardly any."""
    few = torch.cat([belief.mean.flatten()[:FEW], belief.raw.flatten()[:FEW]]) * 2**RAW_SCALE_BITS
    return torch.equal(few, few.round())


def _flat(values: Tensor) -> NDArray[Any]:
    flat: NDArray[Any] = values.flatten().cpu().numpy()
    return flat


def _fractional_mean(belief: EntropyParameters, index: NDArray[np.uint8]) -> TableIndex:
    whole, fraction = tables.fractions_of(_flat(belief.mean), index)
    places = index.astype(np.int64) * tables.FRACTIONS + np.abs(fraction)
    return TableIndex(tables.fractional_mean(), places, None, whole, np.where(fraction < 0, -1, 1))


def _per_channel(belief: LearnedEntropyParameters) -> TableIndex:
    _, positions, channels = belief.mean.shape
    index = np.tile(np.arange(channels), positions)
    return TableIndex(tables.per_channel(belief.frequencies.cpu().numpy().astype(np.int64)), index)
