"""The encoder's side: which filter brings a decoded picture nearest to its original, for what bits cost."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from torch.nn.grad import conv2d_weight

from lichen.lab.post_filter.filters import PostFilter
from lichen.lab.prior.families import Logistic

LARGEST = 1023  # whole numbers beyond are not tried
_STATED_BITS = 8  # what stating a filter at all may cost beside its numbers: the last word of a stream may end later
_TRUE = 0.8  # the share of what was expected that must come true
_SWEEPS = 3
_SAMPLES = 2**14  # places of a window that are compared, about
_CHUNK = 2**16  # and at once

Sample = tuple[Tensor, Tensor]  # what was decoded (1, 3, H, W), and the picture (1, 3, h, w) at its top left


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


def sums(x_hat: Tensor, x: Tensor, side: int, every_pixel: bool = False) -> Sums:
    """x_hat (1, 3, H, W) and the picture at its top left, x (1, 3, h, w): over the pixels of x.

    What correlates with the error is taken from all pixels, as a convolution's gradient by its kernel gives it; what
    taps have in common with one another, which is dearer and which fewer tell as well, from some unless `every_pixel`.
    """
    (height, width), beyond = x.shape[2:], side - 1
    error = (x - x_hat[:, :, :height, :width].float()).contiguous()
    around = F.pad(x_hat.float(), (side // 2,) * 4, mode="replicate")[:, :, : height + beyond, : width + beyond]
    cross = conv2d_weight(around.contiguous(), [3, 3, side, side], error).double().flatten(1).T
    crossed = torch.cat([cross, error.double().sum(dim=(2, 3))]).cpu().numpy()
    gram = _gram(around[0], side, 1 if every_pixel else _spacing(height * width))
    return Sums(gram, crossed, float(error.square().sum(dim=3).double().sum()), height * width)


def _spacing(pixels: int) -> int:
    """Of so many rows and columns one is looked at."""
    every = 1
    while pixels > _SAMPLES * every**2:
        every += 1
    return every


def _gram(around: Tensor, side: int, every: int) -> NDArray[np.float64]:
    """Products of what places (h, w) see in (3, h + side - 1, w + side - 1), and 1, summed for all: (F, F).

    From one row and column of each `every`, by chance: at even distances a picture's own period might hide.
    """
    seen = around.permute(1, 2, 0).unfold(0, side, 1).unfold(1, side, 1)  # (h, w, 3, side, side)
    rows, columns = (_scattered(length, every).to(around.device) for length in seen.shape[:2])
    total = torch.zeros(3 * side**2 + 1, 3 * side**2 + 1, dtype=torch.float64, device=around.device)
    for some in rows.split(max(_CHUNK // len(columns), 1)):
        taps = F.pad(seen[some[:, None], columns].flatten(0, 1).flatten(1), (0, 1), value=1.0).double()
        total += taps.T @ taps
    share = len(rows) * len(columns) / (seen.shape[0] * seen.shape[1])
    gram: NDArray[np.float64] = (total / share).cpu().numpy()
    return gram


def _scattered(length: int, every: int) -> Tensor:
    """One of each `every` whole numbers below `length`; the same each time."""
    starts = torch.arange(0, length, every)
    chance = np.random.default_rng(0).random(len(starts))  # a process of `lichen encode` has no generators of PyTorch
    return starts + (torch.from_numpy(chance) * (length - starts).clamp(max=every)).long()


def project(found: Sums, taps: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A (K, K) and b (K,): with coefficients c of the principal filters squared errors fall by 2 b c - c A c."""
    colours = range(3)
    matrix = sum(taps[:, c].T @ found.gram @ taps[:, c] for c in colours)
    return np.asarray(matrix), np.asarray(sum(taps[:, c].T @ found.cross[:, c] for c in colours))


def choose(
    principal: PostFilter, samples: Sequence[Sample], level: float, hyper_latents: int, pixels: int, lam: float
) -> NDArray[np.int64] | None:
    """The whole numbers s (K,) of the best filter by lam 255^2 MSE + bits; None where no filter pays.

    `samples` show the picture's `pixels`, or some of them. What a filter was expected to bring is held against what it
    brings: where too few places were compared (a page with few lines on it) all are, and if that does not help either
    there is no filter.
    """
    taps: NDArray[np.float64] = principal.taps().double().cpu().numpy()
    for every_pixel in (False, True):
        found = functools.reduce(operator.add, (sums(*sample, principal.side, every_pixel) for sample in samples))
        numbers, expected = _best(principal, project(found, taps), level, hyper_latents, lam * pixels / found.pixels)
        if numbers is None:
            return None
        coefficients = torch.from_numpy(numbers) * principal.step(level, hyper_latents)
        if found.error - sum(_error(principal, coefficients, *sample) for sample in samples) > _TRUE * expected:
            return numbers
    return None


def _error(principal: PostFilter, coefficients: Tensor, x_hat: Tensor, x: Tensor) -> float:
    """The squared error that a filter leaves."""
    left = principal(x_hat, coefficients)[:, :, : x.shape[2], : x.shape[3]].sub_(x)
    return float(left.square_().sum(dim=3).double().sum())


def _best(
    principal: PostFilter,
    projected: tuple[NDArray[np.float64], NDArray[np.float64]],
    level: float,
    hyper_latents: int,
    lam: float,
) -> tuple[NDArray[np.int64] | None, float]:
    """The best whole numbers, and by how much squared errors should fall; `lam` is for a pixel that was looked at."""
    step, worth = principal.step(level, hyper_latents), lam * 255**2 / 3  # bits for each unit of squared errors
    matrix, vector = projected[0] * step**2, projected[1] * step
    parameters = principal.entropy_parameters(level, hyper_latents)
    prices = prices_at(parameters.scale[0, 0])
    prices[parameters.skipped[0, 0].numpy()] = [0.0] + [np.inf] * LARGEST  # what is skipped cannot be but 0
    numbers = quantised(worth * matrix, worth * vector, prices)
    if cost(numbers, worth * matrix, worth * vector, prices) >= -_STATED_BITS:
        return None, 0.0
    return numbers, float(2 * vector @ numbers - numbers @ matrix @ numbers)


def quantised(
    matrix: NDArray[np.float64], vector: NDArray[np.float64], prices: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Whole numbers s for which s A s - 2 b s + the sum of prices[k, |s_k|] is small: bettered one after the other.

    From the best filter, rounded, and from none: where filters can hardly be told apart (a grey picture's colours) the
    former is far off.
    """
    ridge = 1e-6 * float(np.trace(matrix)) / len(vector) + 1e-12
    best = np.rint(np.linalg.solve(matrix + ridge * np.eye(len(vector)), vector)).clip(-LARGEST, LARGEST)
    found = [_bettered(start, matrix, vector, prices, ridge) for start in (best, np.zeros_like(best))]
    return min(found, key=lambda s: cost(s, matrix, vector, prices))


def cost(
    numbers: NDArray[np.int64], matrix: NDArray[np.float64], vector: NDArray[np.float64], prices: NDArray[np.float64]
) -> float:
    """s A s - 2 b s and its price."""
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


def prices_at(scales: Tensor) -> NDArray[np.float64]:
    """Bits (K, sizes) of whole numbers by their size, for deviations (K,)."""
    sizes = torch.arange(LARGEST + 1, dtype=torch.float64)
    bits: NDArray[np.float64] = Logistic().bits(sizes, scales[:, None].double()).numpy()
    return bits
