"""The encoder's side: which filter brings a decoded picture nearest to its original, for what bits cost."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from torch.nn.grad import conv2d_weight

from lichen.filtering.filters import PictureFilter
from lichen.prior.density import Belief

SAMPLES = 2**15  # pixels of a window whose surroundings are compared, about
STATED_BITS = 8  # more than it costs to state a filter at all: the last word of a stream may end later
_SWEEPS = 3
_LARGEST = 31  # whole numbers beyond are not tried


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


def sums(x_hat: Tensor, x: Tensor, side: int) -> Sums:
    """x_hat (1, 3, H, W) and the picture at its top left, x (1, 3, h, w): over the pixels of x.

    Beyond the edge of x its edge is seen. What correlates with the error is taken from all pixels, as a convolution's
    gradient by its kernel gives it; what taps have in common with one another, which is dearer and which fewer tell as
    well, from each n-th row and column.
    """
    height, width = x.shape[2:]
    near = x_hat[:, :, :height, :width].float().contiguous()
    error = (x - near).contiguous()
    around = F.pad(near, (side // 2,) * 4, mode="replicate")
    cross = conv2d_weight(around, [3, 3, side, side], error).double().flatten(1).T
    taps = _taps_at(around[0], side, _spacing(height * width))
    gram = taps @ taps.T * (height * width / taps.shape[1])
    of_error = error.double().sum(dim=(2, 3))
    crossed = torch.cat([cross, of_error]).cpu().numpy()
    return Sums(gram.cpu().numpy(), crossed, float(error.square().sum(dim=3).double().sum()), height * width)


def _spacing(pixels: int) -> int:
    """n: odd, so that all places of a block of 8 or 16 are seen alike."""
    every = 1
    while pixels > SAMPLES * every**2:
        every += 2
    return every


def _taps_at(around: Tensor, side: int, every: int) -> Tensor:
    """(3, h + side - 1, w + side - 1) -> what some of the h w places see, and 1: (3 side^2 + 1, places), float64."""
    height, width = (length - side + 1 for length in around.shape[1:])
    top, left = (min(every // 2, length - 1) for length in (height, width))
    seen = [
        around[:, top + down : height + down : every, left + across : width + across : every]
        for down in range(side)
        for across in range(side)
    ]
    taps = torch.stack(seen, dim=1).flatten(0, 1).flatten(1).double()
    return torch.cat([taps, torch.ones_like(taps[:1])])


def project(found: Sums, taps: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A (K, K) and b (K,): with amounts c of the principal filters squared errors fall by 2 b c - c A c."""
    colours = range(3)
    matrix = sum(taps[:, c].T @ found.gram @ taps[:, c] for c in colours)
    return np.asarray(matrix), np.asarray(sum(taps[:, c].T @ found.cross[:, c] for c in colours))


def choose(
    principal: PictureFilter, found: Sums, level: float, hyper_latents: int, pixels: int, lam: float
) -> NDArray[np.int64] | None:
    """The whole numbers s (K,) of the best filter by lam 255^2 MSE + bits; None where no filter pays.

    `found` is of some of the picture's `pixels`.
    """
    matrix, vector = project(found, _taps(principal))
    step = principal.step(level, hyper_latents)
    worth = lam * 255**2 / 3 * pixels / found.pixels  # bits for each unit of the squared errors that were summed
    matrix, vector = matrix * (worth * step**2), vector * (worth * step)
    prices = _prices(principal.belief(level, hyper_latents))
    numbers = quantised(matrix, vector, prices)
    return numbers if cost(numbers, matrix, vector, prices) < -STATED_BITS else None


def quantised(
    matrix: NDArray[np.float64], vector: NDArray[np.float64], prices: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Whole numbers s for which s A s - 2 b s + the sum of prices[k, |s_k|] is small: bettered one after the other.

    From the best filter, rounded, and from none: where filters can hardly be told apart (a grey picture's colours) the
    former is far off.
    """
    ridge = 1e-6 * float(np.trace(matrix)) / len(vector) + 1e-12
    best = np.rint(np.linalg.solve(matrix + ridge * np.eye(len(vector)), vector)).clip(-_LARGEST, _LARGEST)
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
        nearest = math.floor(min(max(pull / (own + ridge), -_LARGEST), _LARGEST - 1))
        tried = (0, nearest, nearest + 1)
        best = min(tried, key=lambda s: s * (own * s - 2 * pull) + prices[k, abs(s)])
        if best != before:
            left -= matrix[k] * (best - before)
            numbers[k] = best
    whole: NDArray[np.int64] = numbers.astype(np.int64)
    return whole


def _prices(belief: Belief) -> NDArray[np.float64]:
    """Bits (K, sizes) of whole numbers by their size; what is skipped cannot be but 0."""
    sizes = torch.arange(_LARGEST + 1, dtype=torch.float64)
    bits: NDArray[np.float64] = belief.gaussian.bits(sizes, belief.scale[0, 0][:, None].double()).numpy()
    bits[belief.skipped[0, 0].numpy()] = [0.0] + [np.inf] * _LARGEST
    return bits


def _taps(principal: PictureFilter) -> NDArray[np.float64]:
    taps: NDArray[np.float64] = principal.taps().double().cpu().numpy()
    return taps
