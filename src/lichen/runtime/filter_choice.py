"""Which adaptive post-filter brings a decoded picture nearest to its original, for what bits cost: numpy only.

Both engines choose by it; they differ in how they apply a filter that is tried.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lichen.coding.scales import FLOOR, SCALE_MAX, SCALE_MIN
from lichen.runtime.filter_sums import Product, Sample, Sums, sums

LARGEST = 1023  # whole numbers beyond are not tried
_STATED_BITS = 8  # what stating a filter at all may cost beside its numbers: the last word of a stream may end later
_SWEEPS = 3
_TRUE = 0.8  # the share of what was expected that must come true


@dataclass(frozen=True)
class Choice:
    """The filters that a file may state: each weight on `taps` (F, 3, K), what is counted in `step`, `prices` (K, n).

    A filter sees a square of `side` pixels; prices are bits of whole numbers by their size; `product` is of matrices.
    """

    side: int
    taps: NDArray[np.float64]
    step: float
    prices: NDArray[np.float64]
    product: Product = np.matmul

    def best(
        self, samples: Sequence[Sample], lam: float, error_left: Callable[[NDArray[np.float64]], float]
    ) -> NDArray[np.int64] | None:
        """The whole numbers s (K,) of the best filter by lam 255^2 MSE + bits; None where no filter pays.

        `samples` show the picture or some of it; `lam` is for all of it. `error_left` gives the squared errors that
        coefficients (K,) leave in the samples: what was expected of them is held against it. Where too few places were
        compared (a page with few lines on it) all are, and if that does not help either there is no filter.
        """
        for every_pixel in (False, True):
            each = (sums(*sample, self.side, every_pixel, product=self.product) for sample in samples)
            found = functools.reduce(operator.add, each)
            projected = project(found, self.taps)
            numbers, expected = best_numbers(projected, self.step, self.prices, lam / found.pixels)
            if numbers is None:
                return None
            if found.error - error_left(numbers.astype(np.float64) * self.step) > _TRUE * expected:
                return numbers
        return None


def project(found: Sums, taps: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A (K, K) and b (K,): with coefficients c of the principal filters squared errors fall by 2 b c - c A c."""
    colours = range(3)
    matrix = sum(taps[:, c].T @ found.gram @ taps[:, c] for c in colours)
    return np.asarray(matrix), np.asarray(sum(taps[:, c].T @ found.cross[:, c] for c in colours))


def best_numbers(
    projected: tuple[NDArray[np.float64], NDArray[np.float64]],
    step: float,
    prices: NDArray[np.float64],
    lam: float,
) -> tuple[NDArray[np.int64] | None, float]:
    """The best whole numbers s (K,) by lam 255^2 MSE + bits, and by how much squared errors should fall.

    `step` is what coefficients are counted in, `prices` (K, sizes) are bits, `lam` is for a pixel that was summed.
    None where no filter pays.
    """
    worth = lam * 255**2 / 3  # bits for each unit of squared errors
    matrix, vector = projected[0] * step**2, projected[1] * step
    numbers = quantised(worth * matrix, worth * vector, prices)
    if cost(numbers, worth * matrix, worth * vector, prices) >= -_STATED_BITS:
        return None, 0.0
    return numbers, float(2 * vector @ numbers - numbers @ matrix @ numbers)


def quantised(
    matrix: NDArray[np.float64], vector: NDArray[np.float64], prices: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Whole numbers s (K,) with which s A s - 2 b s + the sum of prices[k, |s_k|] is small.

    A is (K, K), b (K,), prices (K, n). They are bettered one after the other, from the best filter, rounded, and from
    none: where filters can hardly be told apart (a grey picture's colours) the former is far off.
    """
    ridge = 1e-6 * float(np.trace(matrix)) / len(vector) + 1e-12
    best = np.rint(np.linalg.solve(matrix + ridge * np.eye(len(vector)), vector)).clip(-LARGEST, LARGEST)
    found = [_bettered(start, matrix, vector, prices, ridge=ridge) for start in (best, np.zeros_like(best))]
    return min(found, key=lambda s: cost(s, matrix, vector, prices))


def cost(
    numbers: NDArray[np.int64], matrix: NDArray[np.float64], vector: NDArray[np.float64], prices: NDArray[np.float64]
) -> float:
    """s A s - 2 b s and its price, for s (K,), A (K, K), b (K,) and prices (K, n)."""
    price = prices[np.arange(len(numbers)), np.abs(numbers)].sum()
    return float(numbers @ matrix @ numbers - 2 * vector @ numbers + price)


def _bettered(
    numbers: NDArray[np.float64],
    matrix: NDArray[np.float64],
    vector: NDArray[np.float64],
    prices: NDArray[np.float64],
    ridge: float,
) -> NDArray[np.int64]:
    left = vector - matrix @ numbers
    for k in [*range(len(vector))] * _SWEEPS:
        own, before = float(matrix[k, k]), float(numbers[k])
        pull = float(left[k]) + own * before
        nearest = math.floor(min(max(pull / (own + ridge), -LARGEST), LARGEST - 1))
        tried = (0, nearest, nearest + 1)
        best = min(tried, key=lambda s: s * (own * s - 2 * pull) + prices[k, abs(s)])
        if best != before:
            left -= matrix[k] * (best - before)
            numbers[k] = best
    whole: NDArray[np.int64] = numbers.astype(np.int64)
    return whole


def prices_at(scales: NDArray[np.float64], skipped: NDArray[np.bool_] | None = None) -> NDArray[np.float64]:
    """Bits (K, sizes) of whole numbers by their size, under logistic distributions of deviations (K,).

    What is `skipped` (K,) cannot be but 0.
    """
    inverse = math.pi / math.sqrt(3) / np.clip(scales, SCALE_MIN, SCALE_MAX)[:, None]
    above = (0.5 - np.arange(LARGEST + 1.0)) * inverse
    log_mass = np.log1p(-np.exp(-inverse)) - np.logaddexp(0, -above) - np.logaddexp(0, above - inverse)
    bits: NDArray[np.float64] = np.minimum(-log_mass / math.log(2), -math.log2(FLOOR))
    if skipped is not None:
        bits[skipped] = [0.0] + [np.inf] * LARGEST
    return bits
