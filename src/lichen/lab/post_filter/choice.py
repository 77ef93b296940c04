"""The lab engine's side of choosing an adaptive post-filter: tensors to numpy, by which the codec chooses too."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, from_numpy

from lichen.lab.post_filter.filters import PostFilter
from lichen.lab.tensors import product
from lichen.runtime import filter_sums
from lichen.runtime.filter_choice import Choice, prices_at
from lichen.runtime.filter_sums import Sums

Sample = tuple[Tensor, Tensor]  # what was decoded (1, 3, H, W), and the picture (1, 3, h, w) at its top left


def sums(x_hat: Tensor, x: Tensor, side: int, every_pixel: bool = False) -> Sums:
    """x_hat (1, 3, H, W) and the picture at its top left, x (1, 3, h, w): as `filter_sums.sums`."""
    return filter_sums.sums(*_arrays((x_hat, x)), side, every_pixel, product=product)


def _arrays(sample: Sample) -> filter_sums.Sample:
    x_hat, x = (tensor[0].detach().float().cpu().numpy() for tensor in sample)
    return x_hat, x


def choose(
    principal: PostFilter, samples: Sequence[Sample], rate_level: float, hyper_latents: int, pixels: int, lam: float
) -> NDArray[np.int64] | None:
    """The whole numbers s (K,) of the best filter by lam 255^2 MSE + bits; None where no filter pays.

    `samples` show the picture's `pixels`, or some of them.
    """
    parameters = principal.entropy_parameters(rate_level, hyper_latents)
    prices = prices_at(parameters.scale[0, 0].double().numpy(), parameters.skipped[0, 0].numpy())
    taps = principal.taps().double().cpu().numpy()
    choice = Choice(principal.side, taps, principal.step(rate_level, hyper_latents), prices, product=product)

    def error_left(coefficients: NDArray[np.float64]) -> float:
        return sum(_error(principal, from_numpy(coefficients), *sample) for sample in samples)

    return choice.best([_arrays(sample) for sample in samples], lam * pixels, error_left)


def _error(principal: PostFilter, coefficients: Tensor, x_hat: Tensor, x: Tensor) -> float:
    """The squared error that a filter leaves."""
    left = principal(x_hat, coefficients)[:, :, : x.shape[2], : x.shape[3]].sub_(x)
    return float(left.square_().sum(dim=3).double().sum())
