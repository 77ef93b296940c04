"""The codec's coder: blocks of latents <-> payloads, by the tables that their entropy parameters name. numpy only.

Latents of each channel group have a payload of their own; models without such groups have one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lichen.coding.rangecoder import SymbolReader, SymbolWriter
from lichen.coding.table_index import TableIndex


class Writer:
    """Turns the latents of one picture into bytes."""

    def __init__(self) -> None:
        self._groups = [SymbolWriter()]

    def write(self, place: TableIndex, residual: NDArray[np.float64], group: int = 0) -> NDArray[np.int64]:
        """Write the symbols of residuals (n,), where coded; gives these (n,), 0 where nothing is coded."""
        if group == len(self._groups):
            self._groups.append(SymbolWriter())
        rounded = place.quantized(place.of(residual))
        self._groups[group].write(place.to_symbols(rounded), place.index, place.tables)
        return place.spread(rounded, len(residual))

    def finish(self) -> tuple[bytes, ...]:
        """The payloads: everything written so far, one for each channel group."""
        return tuple(group.finish() for group in self._groups)


class Reader:
    """Turns the payloads of a `Writer` back into symbols. Raises `BadFile` on an impossible payload."""

    def __init__(self, payloads: Sequence[bytes]) -> None:
        self._payloads = payloads
        self._open: tuple[int, Any] = (-1, None)

    def read(self, place: TableIndex, group: int = 0) -> NDArray[np.int64] | None:
        """The symbols (n,) of a block, 0 where nothing is coded; None where its group's payload is not there."""
        if group >= len(self._payloads):
            return None
        if self._open[0] != group:
            self._open = group, SymbolReader(self._payloads[group])
        return place.spread(place.from_symbols(self._open[1].read(place.index, place.tables)), place.count)
