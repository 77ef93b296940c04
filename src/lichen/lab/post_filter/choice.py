"""The lab engine's side of choosing an adaptive post-filter: what decoded tensors and their originals show."""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from torch.nn.grad import conv2d_weight

from lichen.lab.post_filter.filters import PostFilter
from lichen.runtime.filter_choice import Sums, best_numbers, prices_at, project

_TRUE = 0.8  # the share of what was expected that must come true
_SAMPLES = 2**14  # places of a window that are compared, about
_CHUNK = 2**16  # and at once

Sample = tuple[Tensor, Tensor]  # what was decoded (1, 3, H, W), and the picture (1, 3, h, w) at its top left


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


def choose(
    principal: PostFilter, samples: Sequence[Sample], level: float, hyper_latents: int, pixels: int, lam: float
) -> NDArray[np.int64] | None:
    """The whole numbers s (K,) of the best filter by lam 255^2 MSE + bits; None where no filter pays.

    `samples` show the picture's `pixels`, or some of them. What a filter was expected to bring is held against what it
    brings: where too few places were compared (a page with few lines on it) all are, and if that does not help either
    there is no filter.
    """
    taps: NDArray[np.float64] = principal.taps().double().cpu().numpy()
    parameters = principal.entropy_parameters(level, hyper_latents)
    prices = prices_at(parameters.scale[0, 0].double().numpy(), parameters.skipped[0, 0].numpy())
    for every_pixel in (False, True):
        found = functools.reduce(operator.add, (sums(*sample, principal.side, every_pixel) for sample in samples))
        projected, own = project(found, taps), lam * pixels / found.pixels
        numbers, expected = best_numbers(projected, principal.step(level, hyper_latents), prices, own)
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
