"""What a decoded picture and its original show of the filter that brings one nearest to the other: sums, by numpy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_SAMPLES, _CHUNK = 2**14, 2**14  # places of a tile that are compared, about; and at once
_STRIP = 2**14  # pixels at once where all are: what is copied of them stays in the processor's cache

Floats = NDArray[np.float32]
Product = Callable[[NDArray[Any], NDArray[Any]], NDArray[Any]]  # of matrices: numpy's, or that of an engine's library
Sample = tuple[Floats, Floats]  # what was decoded (3, H, W), and the picture (3, h, w) at its top left


@dataclass(frozen=True)
class Sums:
    """Of taps t (F,), what a filter sees around a pixel, and errors x - x_hat (3,), over so many pixels.

    `gram` (F, F) of t t', `cross` (F, 3) of t (x - x_hat)', `error` of their squares; float64.
    """

    gram: NDArray[np.float64]
    cross: NDArray[np.float64]
    error: float
    pixels: int

    def __add__(self, other: Sums) -> Sums:
        gram, cross = self.gram + other.gram, self.cross + other.cross
        return Sums(gram, cross, self.error + other.error, self.pixels + other.pixels)


def sums(x_hat: Floats, x: Floats, side: int, every_pixel: bool = False, product: Product = np.matmul) -> Sums:
    """x_hat (3, H, W) and the picture at its top left, x (3, h, w): over the pixels of x.

    What correlates with the error is taken from all pixels; what taps have in common with one another, which is dearer
    and which fewer tell as well, from some unless `every_pixel`.
    """
    (height, width), middle = x.shape[1:], side // 2
    error = np.ascontiguousarray(x - x_hat[:, :height, :width])
    around = np.pad(x_hat, ((0, 0), (middle, middle), (middle, middle)), mode="edge")
    around = around[:, : height + side - 1, : width + side - 1]
    cross = _cross(around, error, side, product).reshape(-1, 3)
    crossed = np.concatenate([cross, error.sum(axis=(1, 2), dtype=np.float64)[None]])
    gram = _gram(around, side, 1 if every_pixel else spacing(height * width), product)
    return Sums(gram, crossed, float(np.square(error).sum(dtype=np.float64)), height * width)


def _cross(around: Floats, error: Floats, side: int, product: Product) -> NDArray[np.float64]:
    """Products of what is seen in (3, h + side - 1, w + side - 1) and errors (3, h, w), summed: (3, side, side, 3).

    Rows are shifted of what is seen and columns of the errors, so that a product of two narrow matrices has them all.
    """
    (height, width), across = error.shape[1:], around.shape[2]
    total, most = np.zeros((3 * side, 3 * side)), max(_STRIP // across, 1)
    seen, shifted = (np.zeros((3, side, most, across), np.float32) for _ in range(2))
    for top in range(0, height, most):
        rows = min(most, height - top)
        for place in range(side):
            seen[:, place, :rows] = around[:, top + place : top + place + rows]
            shifted[:, place, :rows, place : place + width] = error[:, top : top + rows]
        both = (plane[:, :, :rows].reshape(3 * side, -1) for plane in (seen, shifted))
        total += product(next(both), next(both).T)
    cross: NDArray[np.float64] = total.reshape(3, side, 3, side).transpose(0, 1, 3, 2)
    return cross


def spacing(pixels: int) -> int:
    """Of so many rows and columns one is compared."""
    every = 1
    while pixels > _SAMPLES * every**2:
        every += 1
    return every


def _gram(around: Floats, side: int, every: int, product: Product) -> NDArray[np.float64]:
    """Products of what places (h, w) see in (3, h + side - 1, w + side - 1), and 1, summed for all: (F, F).

    From one row and column of each `every`, by chance: at even distances a picture's own period might hide.
    """
    seen = np.lib.stride_tricks.sliding_window_view(around, (side, side), axis=(1, 2))  # (3, h, w, side, side)
    rows, columns = (_scattered(length, every) for length in seen.shape[1:3])
    total = np.zeros((3 * side**2 + 1, 3 * side**2 + 1))
    for some in np.array_split(rows, max(len(rows) * len(columns) // _CHUNK, 1)):
        taps = seen[:, some[:, None], columns].transpose(1, 2, 0, 3, 4).reshape(len(some) * len(columns), -1)
        with_one = np.concatenate([taps, np.ones((len(taps), 1), np.float32)], axis=1).astype(np.float64)
        total += product(with_one.T, with_one)
    gram: NDArray[np.float64] = total * (seen.shape[1] * seen.shape[2] / (len(rows) * len(columns)))
    return gram


def _scattered(length: int, every: int) -> NDArray[np.int64]:
    """One of each `every` whole numbers below `length`; the same each time."""
    starts = np.arange(0, length, every)
    chance = np.random.default_rng(0).random(len(starts))
    return starts + (chance * np.minimum(length - starts, every)).astype(np.int64)
