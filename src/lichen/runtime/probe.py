"""Sums whose results are known: what runs graphs is tried by them before it decides a bit.

The graph `probe` (`lab.export.probe`) has a layer of each kind that priors are made of. Its weights and inputs are made
by a formula, so that sums come near 2^24, beyond which float32 is not exact; what they must give is computed in
float64. A product that begins at its offset, fast multiplications, or a fast transform of convolutions is found.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lichen.runtime.fixed_point import FLOAT32_MAX, on_grid

Floats = NDArray[np.float32]
WEIGHT_UNIT, INPUT_UNIT = 2.0**-9, 2.0**-5
ROWS = 9  # of the square of inputs


@dataclass(frozen=True)
class Layer:
    """A layer of the probe: its tensors, and inputs (1, Cin, h, w) of which its sums come near 2^24 units."""

    kernel: int
    weight: Floats
    bias: Floats
    x: Floats

    @staticmethod
    def of(inputs: int, outputs: int, kernel: int, largest: int) -> Layer:
        """Of a 1 x 1 layer, or of a depthwise one of a larger kernel, with inputs below so many units."""
        seen = inputs if kernel == 1 else kernel**2
        place = np.arange(outputs * seen)
        whole = np.where(place % 4 == 0, place * 7907 % 511 * 2 - 511, 1)  # a quarter large: inputs may be so too
        weight = (whole.reshape(outputs, -1, kernel, kernel) * WEIGHT_UNIT).astype(np.float32)
        bias = ((np.arange(outputs) * 37 % 101 - 50) / 64).astype(np.float32)
        x = np.arange(inputs * ROWS**2) * 7919 % (2 * largest - 1) - (largest - 1)
        return Layer(kernel, weight, bias, (x.reshape(1, inputs, ROWS, ROWS) * INPUT_UNIT).astype(np.float32))

    def results(self) -> Floats:
        """What it must give, (1, Cout, h, w): sums in float64, rounded to the grid and clamped."""
        x, weight, middle = self.x[0].astype(np.float64), self.weight.astype(np.float64), self.kernel // 2
        if self.kernel == 1:
            sums = np.einsum("oi,ihw->ohw", weight[:, :, 0, 0], x)
        else:
            padded = np.pad(x, ((0, 0), (middle, middle), (middle, middle)))
            near = np.lib.stride_tricks.sliding_window_view(padded, (self.kernel, self.kernel), axis=(1, 2))
            sums = np.einsum("chwij,cij->chw", near, weight[:, 0])
        found: Floats = on_grid(sums + self.bias[:, None, None], FLOAT32_MAX)[None].astype(np.float32)
        return found


def layers() -> dict[str, Layer]:
    """The layers by name, each of a kind and size that libraries have a kernel of its own for."""
    return {
        "narrow": Layer.of(64, 24, 1, 2**11),
        "wide": Layer.of(320, 32, 1, 2**9),
        "near": Layer.of(64, 64, 3, 2**12),
        "far": Layer.of(64, 64, 5, 2**12),
    }


@dataclass(frozen=True)
class ProbeTensors:
    """The tensors of the probe's layers by name, as a weights file has those of a prior."""

    entries: Mapping[str, Floats]

    def floats(self, name: str) -> Floats:
        """The tensor of this name (any shape)."""
        return self.entries[name]


def tensors() -> ProbeTensors:
    """The weights that fill the probe."""
    made = layers().items()
    weights, biases = ({f"{name}.{part}": getattr(layer, part) for name, layer in made} for part in ("weight", "bias"))
    return ProbeTensors(weights | biases)
