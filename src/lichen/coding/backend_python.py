"""The range coder of docs/format.md, section 2.1, in Python: for platforms for which constriction has no wheels.

Its words are those of constriction. Loops hold everything in local variables and in Python's own integers, which
are faster one by one than numpy's.
"""

from __future__ import annotations

import functools
from array import array
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lichen.coding.backend import DAMAGED, Ints, Words
from lichen.coding.tables import PRECISION
from lichen.errors import BadFile

_WORD = 32  # bits of a word; a state has two
_LOW_WORD = 2**_WORD - 1
_WIDEST = 2 ** (2 * _WORD) - 1


@dataclass(frozen=True, slots=True)
class Table:
    """The frequencies of a table, where each entry starts (and last 2^24), and the likeliest entry."""

    starts: Sequence[int]
    frequencies: Sequence[int]
    likeliest: int


@functools.cache
def _uniform(size: int) -> Table:
    """A table of equal entries, a power of two of them, in constant memory."""
    each = 2**PRECISION // size
    return Table(range(0, 2**PRECISION + 1, each), np.broadcast_to(np.int64(each), size).data, 0)


class PythonBackend:
    """The `Backend` in Python."""

    name = "python"

    def table(self, frequencies: NDArray[Any]) -> Table:
        starts = np.cumsum(frequencies, dtype=np.int64).tolist()
        return Table([0, *starts], frequencies.tolist(), int(frequencies.argmax()))

    def encoder(self) -> PythonEncoder:
        return PythonEncoder()

    def decoder(self, words: Words) -> PythonDecoder:
        return PythonDecoder(words)


class PythonEncoder:
    """The `Encoder` in Python. `low` and the words pushed so far may exceed their bits by a carry, until `words`."""

    def __init__(self) -> None:
        self._low, self._range = 0, _WIDEST
        self._pushed: list[int] = []

    def encode(self, entries: Ints, table: Table) -> None:
        self._encode(entries.tolist(), table)

    def encode_uniform(self, values: Ints, sizes: Ints) -> None:
        for value, size in zip(values.tolist(), sizes.tolist(), strict=True):
            self._encode([value], _uniform(size))

    def _encode(self, entries: list[int], table: Table) -> None:
        low, width, push = self._low, self._range, self._pushed.append
        starts, frequencies = table.starts, table.frequencies
        for entry in entries:
            scale = width >> PRECISION
            low += scale * starts[entry]
            width = scale * frequencies[entry]
            if width <= _LOW_WORD:
                push(low >> _WORD)
                low = (low & _LOW_WORD) << _WORD
                width <<= _WORD
        self._low, self._range = low, width

    def words(self) -> Words:
        """The words pushed, and one more for the point low + 2^32 - 1, rounded down to a word, of the last interval."""
        pushed = np.array([*self._pushed, self._low + _LOW_WORD >> _WORD], dtype=np.uint64)
        digits, carries = (part.astype(">u4").tobytes() for part in (pushed & _LOW_WORD, pushed >> _WORD))
        total = int.from_bytes(digits, "big") + (int.from_bytes(carries, "big") << _WORD)
        return np.frombuffer(total.to_bytes(len(digits), "big"), dtype=">u4").astype(np.uint32)


class PythonDecoder:
    """The `Decoder` in Python. Of low and point it holds the difference."""

    def __init__(self, words: Words) -> None:
        self._take = chain(words.tolist(), repeat(0)).__next__
        self._point, self._range = self._take() << _WORD | self._take(), _WIDEST

    def decode(self, table: Table, count: int) -> Ints:
        """Whether an entry is the likeliest is seen without a division."""
        point, width, take = self._point, self._range, self._take
        starts, frequencies, likeliest = table.starts, table.frequencies, table.likeliest
        start, frequency = starts[likeliest], frequencies[likeliest]
        entries = array("i", [likeliest]) * count
        try:
            for i in range(count):
                scale = width >> PRECISION
                beyond, width = point - scale * start, scale * frequency
                if 0 <= beyond < width:
                    point = beyond
                else:
                    entries[i] = entry = bisect_right(starts, point // scale) - 1
                    point -= scale * starts[entry]
                    width = scale * frequencies[entry]  # no such entry if the place was 2^24 or more
                if width <= _LOW_WORD:
                    point = point << _WORD | take()
                    width <<= _WORD
        except IndexError as error:
            raise BadFile(DAMAGED) from error
        self._point, self._range = point, width
        return np.frombuffer(entries, dtype=np.int32)

    def decode_uniform(self, sizes: Ints) -> Ints:
        return np.array([self.decode(_uniform(size), 1)[0] for size in sizes.tolist()], dtype=np.int32)
