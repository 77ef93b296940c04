"""Weights of a prior in fixed point, from those of a weights file: integers in float32 (docs/format.md, section 3).

The lab's fixed-point modules in float32 use it too; those in float64 round by `lab.fixed_point.grid`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lichen.errors import BadCheckpoint

Floats = NDArray[np.float32]
ACTIVATION_BITS = 12  # fractional bits of activations
FLOAT32_MAX = 1024.0 - 2.0**-ACTIVATION_BITS
FLOAT32_ROUNDER = 1.5 * 2.0 ** (23 - ACTIVATION_BITS)  # adding it rounds |x| < 1024 to the grid, half to even
WEIGHT_BITS = 9  # of a weight's magnitude in steps
WEIGHT_LIMIT = 128  # what a weight must stay below
WEIGHT_SMALLEST = 2.0**-24  # what an output's largest weight is taken as, at least
REACH_BITS = 7  # a depthwise layer sees its input within +-128
FLOAT64_MAX = 2048.0 - 2.0**-ACTIVATION_BITS  # of activations in float64


def stepped(weight: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Weights (Cout, ...) as multiples of each output's step, and the bits (Cout,) of its sum of magnitudes in steps.

    Raises `BadCheckpoint` for weights that are not finite or beyond 128.
    """
    rows = weight.astype(np.float64).reshape(len(weight), -1)
    largest = np.abs(rows).max(axis=1, keepdims=True)
    if not (largest < WEIGHT_LIMIT).all():
        said = f"a weight of the prior is not within +-{WEIGHT_LIMIT}: the weights file is damaged"
        raise BadCheckpoint(f"{said}; train or download it anew")
    largest = np.maximum(largest, WEIGHT_SMALLEST)
    step = np.exp2(np.frexp(largest)[1] - float(WEIGHT_BITS))
    step = np.where(np.rint(largest / step) < 2**WEIGHT_BITS, step, 2 * step)
    whole = np.rint(rows / step)
    totals = np.abs(whole).sum(axis=1).astype(np.int64)
    bits = np.array([max((int(total) - 1).bit_length(), 2) for total in totals], np.int64)
    return (whole * step).reshape(weight.shape), bits


def on_grid(values: NDArray[np.floating], most: float = FLOAT64_MAX) -> NDArray[np.float64]:
    """Values of any shape rounded to multiples of 2^-12, half to even, and clamped.

    Raises `BadCheckpoint` for what is no number.
    """
    if not np.isfinite(values).all():
        said = "a number of the prior is not finite: the weights file is damaged"
        raise BadCheckpoint(f"{said}; train or download it anew")
    rounded: NDArray[np.float64] = np.rint(values.astype(np.float64) * 2.0**ACTIVATION_BITS) / 2.0**ACTIVATION_BITS
    return rounded.clip(-most, most)


def minus_offset(bias: NDArray[np.floating]) -> Floats:
    """(n,) -> (n,): minus the biases on the grid, and minus what rounds to the grid when added."""
    exact: Floats = -(on_grid(bias).clip(-FLOAT32_MAX, FLOAT32_MAX) + FLOAT32_ROUNDER).astype(np.float32)
    return exact


def coarseness(bits: NDArray[np.int64]) -> Floats:
    """(): what a pointwise layer's input is rounded by, 1.5 times the power of two of its longest sum."""
    return np.array(1.5 * 2.0 ** int(bits.max()), np.float32)


def depthwise_rounder(bits: NDArray[np.int64]) -> Floats:
    """(C,): what rounds a depthwise layer's input to each channel's step when added."""
    rounder: Floats = (1.5 * np.exp2(bits + REACH_BITS - 1.0)).astype(np.float32)
    return rounder
