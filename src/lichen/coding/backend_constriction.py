"""The range coder of the constriction library. The only place that imports it."""

from __future__ import annotations

from typing import Any

import constriction
import numpy as np
from numpy.typing import NDArray

from lichen.coding.backend import DAMAGED, Ints, Words
from lichen.errors import BadFile

_queue = constriction.stream.queue
_uniform = constriction.stream.model.Uniform()


class ConstrictionBackend:
    """The `Backend` in compiled code."""

    name = "constriction"

    def table(self, frequencies: NDArray[Any]) -> Any:
        """A constriction model with exactly these integer frequencies.

        constriction gives each entry weight 1 and shares the rest in proportion to the floats. Given
        (frequency - 1), whose sum is the rest, its scale is exactly 1 and its table exactly ours.
        """
        return constriction.stream.model.Categorical(frequencies.astype(np.float64) - 1.0, perfect=False)

    def encoder(self) -> ConstrictionEncoder:
        return ConstrictionEncoder()

    def decoder(self, words: Words) -> ConstrictionDecoder:
        return ConstrictionDecoder(words)


class ConstrictionEncoder:
    """The `Encoder` in compiled code."""

    def __init__(self) -> None:
        self._encoder = _queue.RangeEncoder()

    def encode(self, entries: Ints, table: Any) -> None:
        self._encoder.encode(entries, table)

    def encode_uniform(self, values: Ints, sizes: Ints) -> None:
        self._encoder.encode(values, _uniform, sizes)

    def words(self) -> Words:
        words: Words = self._encoder.get_compressed()
        return words


class ConstrictionDecoder:
    """The `Decoder` in compiled code."""

    def __init__(self, words: Words) -> None:
        self._decoder = _queue.RangeDecoder(words)

    def decode(self, table: Any, count: int) -> Ints:
        return self._decode(table, count)

    def decode_uniform(self, sizes: Ints) -> Ints:
        return self._decode(_uniform, sizes)

    def _decode(self, model: Any, amount: int | Ints) -> Ints:
        try:
            decoded: Ints = self._decoder.decode(model, amount)
        except AssertionError as error:
            raise BadFile(DAMAGED) from error
        return decoded
