"""Principal filters, from training pictures: the directions in which pictures' own filters differ most.

For each picture and level the best filter w follows from its sums. In units in which all changes of the average
picture count alike, and of its own error's size, these w are points; principal are the axes of their cloud (PCA about
0: no filter). An amount of a filter then is worth as much as the same amount of any other, and one step serves all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lichen.coding.scales import RAW_SCALE_BITS, SCALE_MAX, SCALE_MIN, SCALES
from lichen.lab.post_filter.filters import USUAL, PostFilter, octaves
from lichen.runtime.filter_choice import prices_at, project, quantised
from lichen.runtime.filter_sums import Sums

USUAL_PIXELS = 1.5 * 2 ** (USUAL - 1) * 64**2  # of a picture for which tables are: those of Kodak
_RIDGE = 1e-5  # of the average picture, for filters that are seen nowhere
_FARTHEST = 1.0  # how far a picture's filter counts, as a share of its error: few rule the cloud otherwise
_ROUNDS = 2


@dataclass(frozen=True)
class Example:
    """A training picture of so many pixels and hyper-latents at one trained level, and its sums over some of them."""

    rate_level: int
    found: Sums
    pixels: int
    hyper_latents: int


def learn(principal: PostFilter, examples: Sequence[Example], lams: Sequence[float]) -> None:
    """Set a `PostFilter` by examples of each level, whose lambdas are `lams`. In place."""
    side, count = principal.side, len(principal.offsets)
    taps = _axes(examples, count)
    by_colour = torch.from_numpy(taps).permute(2, 1, 0).float()  # (K, 3, 3 n n + 1)
    principal.filters.copy_(by_colour[:, :, :-1].reshape(-1, 3, side, side))
    principal.offsets.copy_(by_colour[:, :, -1])
    for rate_level, lam in enumerate(lams):
        of_level = [example for example in examples if example.rate_level == rate_level]
        step = math.sqrt(18 / (255**2 * math.log(2) * lam * USUAL_PIXELS))
        principal.steps[rate_level] = round(math.log2(step) * 2**RAW_SCALE_BITS) / 2**RAW_SCALE_BITS
        principal.raw_scales[rate_level] = _spreads(taps, of_level, step, lam)


def _axes(examples: Sequence[Example], count: int) -> NDArray[np.float64]:
    """The principal filters' taps (F, 3, K), whose change of the average picture is 1 for each pixel."""
    average = np.mean([example.found.gram / example.found.pixels for example in examples], axis=0)
    values, vectors = np.linalg.eigh(average + 1e-7 * np.eye(len(average)))
    there, back = (vectors * values**power @ vectors.T for power in (0.5, -0.5))
    points = []
    for example in examples:
        gram = example.found.gram + _RIDGE * average * example.found.pixels
        point = there @ np.linalg.solve(gram, example.found.cross)
        point *= math.sqrt(3 * example.found.pixels / max(example.found.error, 1e-9))
        points.append((point * min(1.0, _FARTHEST / max(float(np.linalg.norm(point)), 1e-9))).ravel())
    axes = np.linalg.svd(np.array(points), full_matrices=False)[2][:count]
    filled = np.zeros((count, axes.shape[1]))
    filled[: len(axes)] = axes
    return np.asarray(np.einsum("fg,kgc->fck", back, filled.reshape(count, -1, 3)))


def _spreads(taps: NDArray[np.float64], examples: Sequence[Example], step: float, lam: float) -> Tensor:
    """log2 of the deviation (K,) at which the numbers that these examples state cost least."""
    raw_scales = torch.linspace(math.log2(SCALE_MIN), math.log2(SCALE_MAX), SCALES, dtype=torch.float64)
    chosen = np.full(taps.shape[2], int(np.argmin(np.abs(raw_scales.numpy()))))  # a deviation of about 1
    for _ in range(_ROUNDS):
        sums = np.zeros((SCALES, taps.shape[2]))
        for example in examples:
            finer = octaves(example.hyper_latents)
            prices = prices_at(torch.exp2(raw_scales + finer).numpy())
            worth = lam * 255**2 / 3 * example.pixels / example.found.pixels
            matrix, vector = project(example.found, taps)
            own = step * 2.0**-finer
            sums += prices[:, np.abs(quantised(matrix * (worth * own**2), vector * (worth * own), prices[chosen]))]
        chosen = np.argmin(sums, axis=0)
    best: Tensor = torch.round(raw_scales[torch.from_numpy(chosen)] * 2**RAW_SCALE_BITS) / 2**RAW_SCALE_BITS
    return best
