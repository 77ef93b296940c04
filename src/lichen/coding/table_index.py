"""Which frequency table codes which latent of a block: from scale indices and means in fixed point. numpy only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lichen.coding import tables, trellis
from lichen.coding.tables import Tables

SYMBOL_MAX = 2**20  # symbols beyond +-this are clamped by the encoder (y_hat follows)
Symbols = NDArray[np.int32]


@dataclass(frozen=True)
class TableIndex:
    """The tables of the `count` latents of a block, in coding order: cell, position, channel.

    `coded` are the flat positions of those that are coded, None for all; `index` is the table of each of them. A
    symbol of its table is `sign` times what is left of the rounded residual without `whole`. `family`, where it is
    said, is the kind of distribution of a block whose larger scales are trellis-coded (`coding.trellis`).
    """

    tables: Tables
    index: NDArray[Any]
    count: int
    coded: NDArray[np.int64] | None = None
    whole: NDArray[np.int64] | None = None
    sign: NDArray[np.int64] | None = None
    family: str | None = None

    def quantized(self, residual: NDArray[np.float64]) -> NDArray[np.int64]:
        """Residuals (n,) of those that are coded -> integers (n,): rounded, or by the search for the cheapest path."""
        rounded = np.rint(residual).clip(-SYMBOL_MAX, SYMBOL_MAX).astype(np.int64)
        if self.family is not None:
            where, price = trellis.taking_part(self.index), tables.trellis_price(self.family)
            wanted = residual[where].clip(-SYMBOL_MAX, SYMBOL_MAX).astype(np.float32)
            rounded[where] = trellis.search(wanted, self.index[where], self.family, price)
        return rounded

    def of(self, values: NDArray[Any]) -> NDArray[Any]:
        """Those of flat `values` (count,) that are coded: (n,)."""
        return values if self.coded is None else values[self.coded]

    def spread(self, rounded: NDArray[np.int64], count: int) -> NDArray[np.int64]:
        """The inverse of `of`: (n,) -> (count,), 0 where nothing is coded."""
        if self.coded is None:
            return rounded
        spread = np.zeros(count, np.int64)
        spread[self.coded] = rounded
        return spread

    def to_symbols(self, rounded: NDArray[np.int64]) -> Symbols:
        """Rounded residuals (n,) -> symbols (n,) of their tables."""
        if self.whole is not None and self.sign is not None:
            rounded = (rounded - self.whole) * self.sign
        return rounded.astype(np.int32)

    def from_symbols(self, symbols: Symbols) -> NDArray[np.int64]:
        """The inverse of `to_symbols`: (n,) -> (n,)."""
        rounded = symbols.astype(np.int64)
        if self.whole is not None and self.sign is not None:
            rounded = rounded * self.sign + self.whole
        return rounded


def zero_mean_index(scale_index: NDArray[np.uint8], kind: str, skip: int, trellis_coded: bool = False) -> TableIndex:
    """Residuals about their mean, by scale index (n,), under a family of distributions ("gaussian", "logistic").

    Latents of scale index up to `skip` are not coded; -1: all are.
    """
    found = tables.trellis(kind) if trellis_coded else tables.zero_mean(kind)
    family = kind if trellis_coded else None
    if skip < 0:
        return TableIndex(found, scale_index, len(scale_index), family=family)
    coded = np.flatnonzero(scale_index > skip)
    return TableIndex(found, scale_index[coded], len(scale_index), coded, family=family)


def fractional_mean_index(mean: NDArray[np.float64], scale_index: NDArray[np.uint8]) -> TableIndex:
    """Latents whose mean (n,), a multiple of 2^-12, stays inside the density (serial models)."""
    whole, fraction = tables.fractions_of(mean, scale_index)
    places = scale_index.astype(np.int64) * tables.FRACTIONS + np.abs(fraction)
    sign = np.where(fraction < 0, -1, 1)
    return TableIndex(tables.fractional_mean(), places, len(mean), None, whole=whole, sign=sign)


def per_channel_index(frequencies: NDArray[np.int64], positions: int) -> TableIndex:
    """Latents of learned densities, frequencies (C, 2R + 2), channel by channel at each of the positions."""
    index = np.tile(np.arange(len(frequencies)), positions)
    return TableIndex(tables.per_channel(frequencies), index, len(index))
