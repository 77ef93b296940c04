"""What codes entries of frequency tables: constriction where it is installed, otherwise the same range coder in Python.

Both give the same bytes and the same errors. The environment variable `LICHEN_RANGE_CODER` forces one of them
("constriction" or "python"); it is read once, when the first symbol is coded.
"""

from __future__ import annotations

import functools
import os
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lichen.errors import UsageError

VARIABLE = "LICHEN_RANGE_CODER"
DAMAGED = "the payload is not a valid code: the file is damaged; get it anew"

Ints = NDArray[np.int32]
Words = NDArray[np.uint32]


class Encoder(Protocol):
    """Codes entries, first in first out."""

    def encode(self, entries: Ints, table: Any) -> None:
        """Code `entries` (n,) with a table of the same backend."""

    def encode_uniform(self, values: Ints, sizes: Ints) -> None:
        """Code `values` (n,), each one of 0 ... size - 1, equally likely; `sizes` (n,) are powers of two."""

    def words(self) -> Words:
        """All that was coded so far. Zeros at the end mean nothing: a decoder reads zeros beyond the end."""


class Decoder(Protocol):
    """Reads what an `Encoder` coded. Raises `BadFile` on words that no encoder writes."""

    def decode(self, table: Any, count: int) -> Ints:
        """The next `count` entries of a table. Raises `BadFile`."""

    def decode_uniform(self, sizes: Ints) -> Ints:
        """The next values (n,), each one of 0 ... size - 1. Raises `BadFile`."""


class Backend(Protocol):
    """One implementation of the range coder of docs/format.md, section 2.1."""

    @property
    def name(self) -> str:
        """What `LICHEN_RANGE_CODER` calls it."""
        ...

    def table(self, frequencies: NDArray[Any]) -> Any:
        """Frequencies (n,), all at least 1, of sum 2^24, in the form that this backend codes with."""

    def encoder(self) -> Encoder:
        """An encoder that has coded nothing yet."""
        ...

    def decoder(self, words: Words) -> Decoder:
        """A decoder of what an encoder's `words` (n,) hold."""
        ...


def _constriction() -> Backend:
    from lichen.coding.backend_constriction import ConstrictionBackend

    return ConstrictionBackend()


def _python() -> Backend:
    from lichen.coding.backend_python import PythonBackend

    return PythonBackend()


@functools.cache
def chosen() -> Backend:
    """The backend of this process. Raises `UsageError` if the one that is forced does not exist."""
    wanted = os.environ.get(VARIABLE, "")
    if wanted not in {"", "constriction", "python"}:
        raise UsageError(f"{VARIABLE} is {wanted!r}: set it to constriction or python, or not at all")
    if wanted == "python":
        return _python()
    try:
        return _constriction()
    except ImportError as error:
        if wanted:
            raise UsageError(f"constriction cannot be imported ({error}): install it or unset {VARIABLE}") from error
        return _python()
