"""The adaptive post-filter of a file, by numpy and one graph: read, applied, and chosen by the encoder."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lichen.coding.scales import RAW_SCALE_BITS, SKIP
from lichen.coding.table_index import TableIndex, zero_mean_index
from lichen.errors import BadCheckpoint
from lichen.runtime.filter_choice import Sums, best_numbers, prices_at, project
from lichen.runtime.graphs import Graphs
from lichen.runtime.level import Level
from lichen.runtime.onnx_walk import FileCoder
from lichen.runtime.scale_index import scale_index
from lichen.runtime.weights_file import WeightsFile

USUAL = 7  # binary digits of 64 ... 127 hyper-latents: the size of pictures that tables are for
_LIMITS = 64, 2**16  # of tables, and of filters: no file's numbers can take a picture beyond float32
_SAMPLES, _CHUNK = 2**14, 2**14  # places of a tile that are compared, about; and at once
_TRUE = 0.8  # the share of what was expected that must come true

Floats = NDArray[np.float32]
Sample = tuple[Floats, Floats]  # what was decoded (3, H, W), and the picture (3, h, w) at its top left


class Filters:
    """A model's principal filters: x_hat + the sum over k of c_k (filters_k * x_hat + offsets_k).

    Raises `BadCheckpoint` for numbers out of all range.
    """

    def __init__(self, weights: WeightsFile, graphs: Graphs) -> None:
        self._graphs = graphs
        names = ("filters", "offsets", "steps", "raw_scales")
        filters, self._offsets, self._steps, self._raw_scales = (
            weights.floats(f"post_filter.{name}") for name in names
        )
        self._filters = filters.reshape(len(self._offsets), 3, *filters.shape[1:])  # (K, 3, 3, n, n)
        for table, most in zip(
            (self._steps, self._raw_scales, filters, self._offsets), sorted(_LIMITS * 2), strict=True
        ):
            if not np.abs(table).max() <= most:
                raise BadCheckpoint(
                    f"{weights.path}: the numbers of its filters are out of all range; train or download it anew"
                )

    @property
    def learned(self) -> bool:
        """Whether there is anything to choose from."""
        return bool(self._filters.any())

    @property
    def side(self) -> int:
        """Of the square of pixels that a filter sees."""
        return int(self._filters.shape[-1])

    def read(self, coder: FileCoder, index: int, hyper_latents: int) -> NDArray[np.float64]:
        """The coefficients c (K,) that stand behind the latents. Raises `BadFile`."""
        place, zeros = self._place(index, hyper_latents)
        return coder.code(place, zeros, None).astype(np.float64) * self.step(index, hyper_latents)

    def write(
        self, coder: FileCoder, samples: Sequence[Sample], index: int, hyper_latents: int, pixels: int, lam: float
    ) -> NDArray[np.float64] | None:
        """State the best filter of a picture behind its latents.

        Gives its coefficients (K,), None where no filter pays.
        """
        numbers = self._chosen(samples, index, hyper_latents, pixels, lam)
        if numbers is None:
            return None
        place, zeros = self._place(index, hyper_latents)
        symbols = coder.code(place, zeros, numbers.astype(np.float64))
        return symbols.astype(np.float64) * self.step(index, hyper_latents)

    def apply(self, x_hat: Floats, coefficients: NDArray[np.float64]) -> Floats:
        """x_hat (1, 3, H, W) and c (K,) -> the filtered picture."""
        amounts, middle = coefficients.astype(np.float32), self.side // 2
        kernel = np.tensordot(amounts, self._filters, axes=1)
        kernel[:, :, middle, middle] += np.eye(3, dtype=np.float32)
        filtered: Floats
        (filtered,) = self._graphs.run("post_filter", x_hat=x_hat, kernel=kernel, offsets=amounts @ self._offsets)
        return filtered

    def step(self, index: int, hyper_latents: int) -> float:
        """What coefficients are counted in, in a file of this quality index and size."""
        return float(2.0 ** (float(self._steps[_nearest(index)]) - _octaves(hyper_latents)))

    def _place(self, index: int, hyper_latents: int) -> tuple[TableIndex, NDArray[np.float64]]:
        raw_scale = self._raw_scale(index, hyper_latents)
        return zero_mean_index(scale_index(raw_scale), "logistic", SKIP), np.zeros(len(raw_scale))

    def _raw_scale(self, index: int, hyper_latents: int) -> NDArray[np.float64]:
        row = self._raw_scales[_nearest(index)].astype(np.float64)
        rounded: NDArray[np.float64] = np.rint(row * 2**RAW_SCALE_BITS) / 2**RAW_SCALE_BITS
        return rounded + _octaves(hyper_latents)

    def _chosen(
        self, samples: Sequence[Sample], index: int, hyper_latents: int, pixels: int, lam: float
    ) -> NDArray[np.int64] | None:
        """The whole numbers s (K,) of the best filter; what it was expected to bring is held against what it brings."""
        by_filter = self._filters.reshape(len(self._offsets), 3, -1)
        taps = np.concatenate([by_filter, self._offsets[:, :, None]], axis=2).transpose(2, 1, 0).astype(np.float64)
        raw_scale, step = self._raw_scale(index, hyper_latents), self.step(index, hyper_latents)
        prices = prices_at(np.exp2(raw_scale), scale_index(raw_scale) <= SKIP)
        for every_pixel in (False, True):
            found = functools.reduce(operator.add, (sums(*sample, self.side, every_pixel) for sample in samples))
            numbers, expected = best_numbers(project(found, taps), step, prices, lam * pixels / found.pixels)
            if numbers is None:
                return None
            coefficients = numbers.astype(np.float64) * step
            left = sum(self._error(coefficients, *sample) for sample in samples)
            if found.error - left > _TRUE * expected:
                return numbers
        return None

    def _error(self, coefficients: NDArray[np.float64], x_hat: Floats, x: Floats) -> float:
        """The squared error that a filter leaves."""
        left = self.apply(x_hat[None], coefficients)[0, :, : x.shape[1], : x.shape[2]] - x
        return float(np.square(left).sum(axis=2, dtype=np.float32).sum(dtype=np.float64))


def sums(x_hat: Floats, x: Floats, side: int, every_pixel: bool = False) -> Sums:
    """x_hat (3, H, W) and the picture at its top left, x (3, h, w): over the pixels of x.

    What correlates with the error is taken from all pixels; what taps have in common with one another, which is dearer
    and which fewer tell as well, from some unless `every_pixel`.
    """
    (height, width), middle = x.shape[1:], side // 2
    error = np.ascontiguousarray(x - x_hat[:, :height, :width]).reshape(3, -1)
    around = np.pad(x_hat, ((0, 0), (middle, middle), (middle, middle)), mode="edge")
    around = around[:, : height + side - 1, : width + side - 1]
    cross = np.empty((3, side, side, 3), np.float64)
    for row in range(side):
        for column in range(side):
            shifted = np.ascontiguousarray(around[:, row : row + height, column : column + width]).reshape(3, -1)
            cross[:, row, column] = shifted @ error.T
    crossed = np.concatenate([cross.reshape(-1, 3), error.sum(axis=1, dtype=np.float64)[None]])
    gram = _gram(around, side, 1 if every_pixel else _spacing(height * width))
    return Sums(gram, crossed, float(np.square(error).sum(dtype=np.float64)), height * width)


def _spacing(pixels: int) -> int:
    """Of so many rows and columns one is compared."""
    every = 1
    while pixels > _SAMPLES * every**2:
        every += 1
    return every


def _gram(around: Floats, side: int, every: int) -> NDArray[np.float64]:
    """Products of what places (h, w) see in (3, h + side - 1, w + side - 1), and 1, summed for all: (F, F).

    From one row and column of each `every`, by chance: at even distances a picture's own period might hide.
    """
    seen = np.lib.stride_tricks.sliding_window_view(around, (side, side), axis=(1, 2))  # (3, h, w, side, side)
    rows, columns = (_scattered(length, every) for length in seen.shape[1:3])
    total = np.zeros((3 * side**2 + 1, 3 * side**2 + 1))
    for some in np.array_split(rows, max(len(rows) * len(columns) // _CHUNK, 1)):
        taps = seen[:, some[:, None], columns].transpose(1, 2, 0, 3, 4).reshape(len(some) * len(columns), -1)
        with_one = np.concatenate([taps, np.ones((len(taps), 1), np.float32)], axis=1).astype(np.float64)
        total += with_one.T @ with_one
    gram: NDArray[np.float64] = total * (seen.shape[1] * seen.shape[2] / (len(rows) * len(columns)))
    return gram


def _scattered(length: int, every: int) -> NDArray[np.int64]:
    """One of each `every` whole numbers below `length`; the same each time."""
    starts = np.arange(0, length, every)
    chance = np.random.default_rng(0).random(len(starts))
    return starts + (chance * np.minimum(length - starts, every)).astype(np.int64)


def _nearest(index: int) -> int:
    """The trained rate whose tables serve a quality index."""
    return math.floor(Level(index).rate_level + 0.5)


def _octaves(hyper_latents: int) -> float:
    """How many times the usual side this picture's is, as a power of two; whole and half ones."""
    return (hyper_latents.bit_length() - USUAL) / 2
