"""Rate control: the quality index for a size or for a PSNR, by bisection over an encoder that is called as a function.

An encoder takes a quality index, 0 ... `top`, and gives a file, or a file and its PSNR. Files are expected to grow and
to get better with the index. Where they do not, what is returned still keeps the promise and is the best of the files
that were made. A `refined` encoder makes smaller files and is slow: it is called twice at most.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from lichen.errors import BadPicture

_CLOSE = 500  # a file within 1/500 of the size is near enough

Encoder = Callable[[int], bytes]


@dataclass(frozen=True)
class Measured:
    """A file and the PSNR in dB of what it decodes to; inf where that is the picture itself."""

    data: bytes
    psnr_db: float


MeasuredEncoder = Callable[[int], Measured]


def fit_size(encode: Encoder, top: int, size_bytes: int, refined: Encoder | None = None) -> bytes:
    """The best file that is not over `size_bytes`; what refining saves is spent on quality.

    Raises `BadPicture` where the smallest file is larger.
    """
    index, plain = _largest(encode, top, size_bytes)
    if refined is None:
        return plain
    first = refined(index)
    if len(first) >= len(plain):  # a search weighs distortion too: at low rates it may spend bytes
        return first if len(first) <= size_bytes else plain
    index, _ = _largest(encode, top, size_bytes * len(plain) // len(first))
    better = refined(index)
    return next(data for data in (better, first, plain) if len(data) <= size_bytes)


def _largest(encode: Encoder, top: int, size_bytes: int) -> tuple[int, bytes]:
    """The index of the largest file that is not over `size_bytes`, and that file."""
    low, high = 0, top + 1
    best = 0, encode(0)
    if len(best[1]) > size_bytes:
        raise BadPicture(f"the smallest file for this picture has {len(best[1])} bytes, over {size_bytes}")
    while high - low > 1 and size_bytes - len(best[1]) > size_bytes // _CLOSE:
        middle = (low + high) // 2
        candidate = middle, encode(middle)
        if len(candidate[1]) <= size_bytes:
            low = middle
            best = max(best, candidate, key=lambda found: len(found[1]))
        else:
            high = middle
    return best


def reach_psnr(encode: MeasuredEncoder, top: int, psnr_db: float, refined: MeasuredEncoder | None = None) -> bytes:
    """The smallest file found that has this PSNR; what refining takes away of it is given back by quality.

    Raises `BadPicture` where the best file does not have it.
    """
    index, plain = _lowest(encode, top, psnr_db)
    if refined is None:
        return plain.data
    first = refined(index)
    if math.isinf(first.psnr_db):  # without any loss: nothing to give back
        return min(plain.data, first.data, key=len)
    wanted = min(psnr_db + plain.psnr_db - first.psnr_db, encode(top).psnr_db)
    better = refined(_lowest(encode, top, wanted)[0])
    return min((found.data for found in (plain, first, better) if found.psnr_db >= psnr_db), key=len)


def _lowest(encode: MeasuredEncoder, top: int, psnr_db: float) -> tuple[int, Measured]:
    """The index of the smallest file found that reaches this PSNR, and that file."""
    low, high = -1, top
    best = top, encode(top)
    if not best[1].psnr_db >= psnr_db:
        reached = best[1].psnr_db
        raise BadPicture(f"the best that this picture reaches is {reached:.2f} dB, not {psnr_db}; ask for less")
    while high - low > 1:
        middle = (low + high) // 2
        candidate = middle, encode(middle)
        if candidate[1].psnr_db >= psnr_db:
            high = middle
            best = min(best, candidate, key=lambda found: len(found[1].data))
        else:
            low = middle
    return best
