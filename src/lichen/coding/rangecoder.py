"""Symbols <-> bytes, by the range coder that coding/backend.py chooses.

Symbols are coded in groups of equal table, groups in ascending order, each group in the order
given. A symbol beyond its table is escaped: its table's last entry, then, after the groups of
the call, its excess by an exponential-Golomb code. See docs/format.md for the exact rules.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lichen.coding.backend import Backend, Ints, chosen
from lichen.coding.tables import PRECISION, Tables
from lichen.errors import BadCheckpoint

ESCAPE_LENGTHS = 22  # an excess has at most this many binary digits

Index = NDArray[Any]  # of tables: any integer type


def _table(backend: Backend, tables: Tables, index: int) -> Any:
    """Table `index` in the form of a backend, made once. Raises `BadCheckpoint` if it does not sum to 2^24."""
    table = tables.models.get((backend.name, index))
    if table is None:
        frequencies = tables.frequencies(index)
        if frequencies.sum(dtype=np.int64) != 2**PRECISION or frequencies.min() < 1:
            raise BadCheckpoint("a table does not sum to 2^24: the weights file is damaged; get it anew")
        table = tables.models[backend.name, index] = backend.table(frequencies)
    return table


@functools.cache
def _escapes() -> Tables:
    """One table: the number of binary digits of an excess, 1 ... 22, by halving frequencies."""
    frequencies = np.maximum(2 ** (PRECISION - 1 - np.arange(ESCAPE_LENGTHS)), 1)
    frequencies[-1] += 2**PRECISION - frequencies.sum()
    return Tables(np.zeros(1, np.int32), lambda _: frequencies.astype(np.uint32))


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
        self._backend = chosen()
        self._encoder = self._backend.encoder()

    def write(self, symbols: Ints, index: Index, tables: Tables) -> None:
        """Code `symbols` (n,), each with the table of its `index` (n,)."""
        order, groups = _groups(index, len(tables.radii))
        ordered, radius = symbols[order], tables.radii[index[order]]
        beyond = np.abs(ordered) > radius
        entries = np.where(beyond, 2 * radius + 1, ordered + radius).astype(np.int32)
        for table, start, stop in groups:
            self._encoder.encode(entries[start:stop], _table(self._backend, tables, table))
        if beyond.any():
            self._write_escapes(ordered[beyond], radius[beyond])

    def _write_escapes(self, symbols: Ints, radius: Ints) -> None:
        """Excess e >= 0 and sign s as v = 2e + s + 1: its digit count, then the digits below the top."""
        values = 2 * (np.abs(symbols) - radius - 1).astype(np.int64) + (symbols < 0) + 1
        lengths = np.frexp(values.astype(np.float64))[1].astype(np.int32)
        self._encoder.encode(lengths - 1, _table(self._backend, _escapes(), 0))
        long = lengths > 1
        tops = 1 << (lengths[long] - 1).astype(np.int64)
        self._encoder.encode_uniform((values[long] - tops).astype(np.int32), tops.astype(np.int32))

    def finish(self) -> bytes:
        """The words of the range coder, little-endian, without the zero bytes at the end."""
        return bytes(self._encoder.words().astype("<u4").tobytes().rstrip(b"\0"))


class SymbolReader:
    """Reads what a `SymbolWriter` wrote. Raises `BadFile` when the bytes cannot be its work."""

    def __init__(self, payload: bytes) -> None:
        padded = payload + bytes(-len(payload) % 4)
        self._backend = chosen()
        self._decoder = self._backend.decoder(np.frombuffer(padded, dtype="<u4").astype(np.uint32))

    def read(self, index: Index, tables: Tables) -> Ints:
        """The symbols (n,) coded with these tables (n,)."""
        order, groups = _groups(index, len(tables.radii))
        entries = np.empty(len(index), dtype=np.int32)
        for table, start, stop in groups:
            entries[start:stop] = self._decoder.decode(_table(self._backend, tables, table), stop - start)
        radius = tables.radii[index[order]]
        ordered = entries - radius
        beyond = entries == 2 * radius + 1
        if beyond.any():
            ordered[beyond] = self._read_escapes(radius[beyond])
        symbols = np.empty_like(ordered)
        symbols[order] = ordered
        return symbols

    def _read_escapes(self, radius: Ints) -> Ints:
        lengths = self._decoder.decode(_table(self._backend, _escapes(), 0), len(radius)) + 1
        values = np.ones(len(radius), dtype=np.int64)
        long = lengths > 1
        tops = 1 << (lengths[long] - 1).astype(np.int64)
        if long.any():
            values[long] = tops + self._decoder.decode_uniform(tops.astype(np.int32))
        magnitudes = (values - 1) // 2 + radius + 1
        return np.where((values - 1) % 2 == 1, -magnitudes, magnitudes).astype(np.int32)
