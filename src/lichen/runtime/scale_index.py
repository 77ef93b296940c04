"""Scale indices and tables by rate, in numpy: what the codec computes of a prior beside its graphs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lichen.coding.scales import LOG_STEP, RAW_SCALE_BITS, SCALE_MIN, SCALES
from lichen.runtime.fixed_point import on_grid

_SHIFT = 0.5 - (math.log2(SCALE_MIN) - 2.0 ** -(RAW_SCALE_BITS + 1)) / LOG_STEP


def scale_index(raw_scale: NDArray[np.float64]) -> NDArray[np.uint8]:
    """The coder's scale index, 0 ... 63, of raw scales on their grid, elementwise.

    It is how many thresholds are not above the raw scale.
    """
    index: NDArray[np.uint8] = (raw_scale * (1 / LOG_STEP) + _SHIFT).clip(0, SCALES - 1).astype(np.uint8)
    return index


def at_rate(table: NDArray[Any], rate_level: float) -> NDArray[np.float64]:
    """A table (rates, C) on the activation grid, interpolated at a rate level and rounded to the grid: (C,)."""
    exact, last = on_grid(table), len(table) - 1
    below = min(int(rate_level), max(last - 1, 0))
    low, high = exact[below], exact[min(below + 1, last)]
    return on_grid(low + (high - low) * (rate_level - below))
