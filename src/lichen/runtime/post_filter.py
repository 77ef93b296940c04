"""The adaptive post-filter of a file, by numpy and one graph: read, applied, and chosen by the encoder."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lichen.coding.scales import RAW_SCALE_BITS, SKIP
from lichen.coding.table_index import TableIndex, zero_mean_index
from lichen.errors import BadCheckpoint
from lichen.runtime.filter_choice import Choice, prices_at
from lichen.runtime.filter_sums import Floats, Sample
from lichen.runtime.graphs import Graphs
from lichen.runtime.level import Level
from lichen.runtime.onnx_walk import FileCoder
from lichen.runtime.scale_index import scale_index
from lichen.runtime.weights_file import WeightsFile

USUAL = 7  # binary digits of 64 ... 127 hyper-latents: the size of pictures that tables are for
_LIMITS = 64, 2**16  # of tables, and of filters: no file's numbers can take a picture beyond float32


class Filters:
    """A model's principal filters: x_hat + the sum over k of c_k (filters_k * x_hat + offsets_k).

    Raises `BadCheckpoint` for numbers out of all range.
    """

    def __init__(self, weights: WeightsFile, graphs: Graphs) -> None:
        self._graphs = graphs
        names = ("filters", "offsets", "steps", "raw_scales")
        filters, self._offsets, self._steps, self._raw_scales = (
            weights.floats(f"post_filter.{name}") for name in names
        )
        self._filters = filters.reshape(len(self._offsets), 3, *filters.shape[1:])  # (K, 3, 3, n, n)
        for table, most in zip(
            (self._steps, self._raw_scales, filters, self._offsets), sorted(_LIMITS * 2), strict=True
        ):
            if not np.abs(table).max() <= most:
                raise BadCheckpoint(
                    f"{weights.path}: the numbers of its filters are out of all range; train or download it anew"
                )

    @property
    def learned(self) -> bool:
        """Whether there is anything to choose from."""
        return bool(self._filters.any())

    @property
    def side(self) -> int:
        """Of the square of pixels that a filter sees."""
        return int(self._filters.shape[-1])

    def read(self, coder: FileCoder, index: int, hyper_latents: int) -> NDArray[np.float64]:
        """The coefficients c (K,) that stand behind the latents. Raises `BadFile`."""
        place, zeros = self._place(index, hyper_latents)
        return coder.code(place, zeros, None).astype(np.float64) * self.step(index, hyper_latents)

    def write(
        self, coder: FileCoder, samples: Sequence[Sample], index: int, hyper_latents: int, pixels: int, lam: float
    ) -> NDArray[np.float64] | None:
        """State the best filter of a picture behind its latents.

        Gives its coefficients (K,), None where no filter pays.
        """
        choice = self._choice(index, hyper_latents)
        numbers = choice.best(samples, lam * pixels, lambda c: sum(self._error(c, *sample) for sample in samples))
        if numbers is None:
            return None
        place, zeros = self._place(index, hyper_latents)
        symbols = coder.code(place, zeros, numbers.astype(np.float64))
        return symbols.astype(np.float64) * choice.step

    def apply(self, x_hat: Floats, coefficients: NDArray[np.float64]) -> Floats:
        """x_hat (1, 3, H, W) and c (K,) -> the filtered picture."""
        amounts, middle = coefficients.astype(np.float32), self.side // 2
        kernel = np.tensordot(amounts, self._filters, axes=1)
        kernel[:, :, middle, middle] += np.eye(3, dtype=np.float32)
        filtered: Floats
        (filtered,) = self._graphs.run("post_filter", x_hat=x_hat, kernel=kernel, offsets=amounts @ self._offsets)
        return filtered

    def step(self, index: int, hyper_latents: int) -> float:
        """What coefficients are counted in, in a file of this quality index and size."""
        return float(2.0 ** (float(self._steps[_nearest(index)]) - _octaves(hyper_latents)))

    def _place(self, index: int, hyper_latents: int) -> tuple[TableIndex, NDArray[np.float64]]:
        raw_scale = self._raw_scale(index, hyper_latents)
        return zero_mean_index(scale_index(raw_scale), "logistic", SKIP), np.zeros(len(raw_scale))

    def _raw_scale(self, index: int, hyper_latents: int) -> NDArray[np.float64]:
        row = self._raw_scales[_nearest(index)].astype(np.float64)
        rounded: NDArray[np.float64] = np.rint(row * 2**RAW_SCALE_BITS) / 2**RAW_SCALE_BITS
        return rounded + _octaves(hyper_latents)

    def _choice(self, index: int, hyper_latents: int) -> Choice:
        by_filter = self._filters.reshape(len(self._offsets), 3, -1)
        taps = np.concatenate([by_filter, self._offsets[:, :, None]], axis=2).transpose(2, 1, 0).astype(np.float64)
        raw_scale = self._raw_scale(index, hyper_latents)
        prices = prices_at(np.exp2(raw_scale), scale_index(raw_scale) <= SKIP)
        return Choice(self.side, taps, self.step(index, hyper_latents), prices)

    def _error(self, coefficients: NDArray[np.float64], x_hat: Floats, x: Floats) -> float:
        """The squared error that a filter leaves."""
        left = self.apply(x_hat[None], coefficients)[0, :, : x.shape[1], : x.shape[2]] - x
        return float(np.square(left).sum(axis=2, dtype=np.float32).sum(dtype=np.float64))


def _nearest(index: int) -> int:
    """The trained rate whose tables serve a quality index."""
    return math.floor(Level(index).rate_level + 0.5)


def _octaves(hyper_latents: int) -> float:
    """How many times the usual side this picture's is, as a power of two; whole and half ones."""
    return (hyper_latents.bit_length() - USUAL) / 2
