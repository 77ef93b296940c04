"""Which adaptive post-filter brings a decoded picture nearest to its original, for what bits cost: numpy only.

Both engines choose by it; they differ in how they sum up what pictures show (`Sums`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lichen.coding.scales import FLOOR, SCALE_MAX, SCALE_MIN

LARGEST = 1023  # whole numbers beyond are not tried
_STATED_BITS = 8  # what stating a filter at all may cost beside its numbers: the last word of a stream may end later
_SWEEPS = 3


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
    found = [_bettered(start, matrix, vector, prices, ridge) for start in (best, np.zeros_like(best))]
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
