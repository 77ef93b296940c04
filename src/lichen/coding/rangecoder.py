"""Symbols <-> bytes. The only place that imports constriction.

Symbols are coded in groups of equal table, groups in ascending order, each group in the order
given. A symbol beyond its table is escaped: its table's last entry, then, after the groups of
the call, its excess by an exponential-Golomb code. See docs/format.md for the exact rules.
"""

from __future__ import annotations

import functools
from typing import Any

import constriction
import numpy as np
from numpy.typing import NDArray

from lichen.coding.tables import PRECISION, Tables
from lichen.errors import BadFile

ESCAPE_LENGTHS = 22  # an excess has at most this many binary digits

Ints = NDArray[np.int32]
Index = NDArray[Any]  # of tables: any integer type
_queue = constriction.stream.queue
_uniform = constriction.stream.model.Uniform()


def model_of(frequencies: NDArray[Any]) -> Any:
    """A constriction model with exactly these integer frequencies, all at least 1.

    constriction gives each entry weight 1 and shares the rest in proportion to the floats. Given
    (frequency - 1), whose sum is the rest, its scale is exactly 1 and its table exactly ours.
    """
    return constriction.stream.model.Categorical(frequencies.astype(np.float64) - 1.0, perfect=False)


def _model(tables: Tables, index: int) -> Any:
    model = tables.models.get(index)
    if model is None:
        model = tables.models[index] = model_of(tables.frequencies(index))
    return model


@functools.cache
def _escape_model() -> Any:
    """The number of binary digits of an excess, 1 ... 22: halving frequencies."""
    frequencies = np.maximum(2 ** (PRECISION - 1 - np.arange(ESCAPE_LENGTHS)), 1)
    frequencies[-1] += 2**PRECISION - frequencies.sum()
    return model_of(frequencies)


def _groups(index: Index, count: int) -> tuple[NDArray[np.int64], list[tuple[int, int, int]]]:
    """A stable order by index, and (index, start, stop) for each group in that order."""
    order = np.argsort(index, kind="stable")
    counts = np.bincount(index, minlength=count)
    stops = np.cumsum(counts)
    used = np.flatnonzero(counts)
    return order, list(zip(used.tolist(), (stops - counts)[used].tolist(), stops[used].tolist(), strict=True))


class SymbolWriter:
    """Collects symbols; `finish` gives the bytes."""

    def __init__(self) -> None:
        self._encoder = _queue.RangeEncoder()

    def write(self, symbols: Ints, index: Index, tables: Tables) -> None:
        """Code `symbols` (n,), each with the table of its `index` (n,)."""
        order, groups = _groups(index, len(tables.radii))
        ordered, radius = symbols[order], tables.radii[index[order]]
        beyond = np.abs(ordered) > radius
        entries = np.where(beyond, 2 * radius + 1, ordered + radius).astype(np.int32)
        for table, start, stop in groups:
            self._encoder.encode(entries[start:stop], _model(tables, table))
        if beyond.any():
            self._write_escapes(ordered[beyond], radius[beyond])

    def _write_escapes(self, symbols: Ints, radius: Ints) -> None:
        """Excess e >= 0 and sign s as v = 2e + s + 1: its digit count, then the digits below the top."""
        values = 2 * (np.abs(symbols) - radius - 1).astype(np.int64) + (symbols < 0) + 1
        lengths = np.frexp(values.astype(np.float64))[1].astype(np.int32)
        self._encoder.encode(lengths - 1, _escape_model())
        long = lengths > 1
        tops = 1 << (lengths[long] - 1).astype(np.int64)
        self._encoder.encode((values[long] - tops).astype(np.int32), _uniform, tops.astype(np.int32))

    def finish(self) -> bytes:
        """The words of the range coder, little-endian, without the zero bytes at the end."""
        return bytes(self._encoder.get_compressed().astype("<u4").tobytes().rstrip(b"\0"))


class SymbolReader:
    """Reads what a `SymbolWriter` wrote. Raises `BadFile` when the bytes cannot be its work."""

    def __init__(self, payload: bytes) -> None:
        padded = payload + bytes(-len(payload) % 4)
        self._decoder = _queue.RangeDecoder(np.frombuffer(padded, dtype="<u4").astype(np.uint32))

    def read(self, index: Index, tables: Tables) -> Ints:
        """The symbols (n,) coded with these tables (n,)."""
        order, groups = _groups(index, len(tables.radii))
        entries = np.empty(len(index), dtype=np.int32)
        for table, start, stop in groups:
            entries[start:stop] = self._decode(_model(tables, table), stop - start)
        radius = tables.radii[index[order]]
        ordered = entries - radius
        beyond = entries == 2 * radius + 1
        if beyond.any():
            ordered[beyond] = self._read_escapes(radius[beyond])
        symbols = np.empty_like(ordered)
        symbols[order] = ordered
        return symbols

    def _read_escapes(self, radius: Ints) -> Ints:
        lengths = self._decode(_escape_model(), len(radius)) + 1
        values = np.ones(len(radius), dtype=np.int64)
        long = lengths > 1
        tops = 1 << (lengths[long] - 1).astype(np.int64)
        if long.any():
            values[long] = tops + self._decode(_uniform, tops.astype(np.int32))
        magnitudes = (values - 1) // 2 + radius + 1
        return np.where((values - 1) % 2 == 1, -magnitudes, magnitudes).astype(np.int32)

    def _decode(self, model: Any, count: int | Ints) -> Ints:
        try:
            decoded: Ints = self._decoder.decode(model, count)
        except AssertionError as error:
            raise BadFile("the payload is not a valid code: the file is damaged; get it anew") from error
        return decoded
