"""The coders that write and read files: entropy parameters in fixed point -> the numpy coder's tables and symbols."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lichen.coding.coders import Reader, Writer
from lichen.coding.scales import RAW_SCALE_BITS
from lichen.coding.table_index import (
    SYMBOL_MAX,
    TableIndex,
    fractional_mean_index,
    per_channel_index,
    zero_mean_index,
)
from lichen.lab.prior.entropy_parameters import AnyEntropyParameters, EntropyParameters, LearnedEntropyParameters

_FEW = 64  # values that show what the others are


class FileWriter:
    """Turns the latents of one picture into bytes; needs a prior in fixed point (`lab.fixed_point`)."""

    sequential = True

    def __init__(self) -> None:
        self._writer = Writer()

    def code(self, parameters: AnyEntropyParameters, y: Tensor | None, group: int = 0) -> Tensor:
        if y is None:
            raise ValueError("a FileWriter needs y")
        residual = _flat(y.double() - parameters.centre)
        return _block(self._writer.write(table_index(parameters), residual, group), parameters)

    def quantize(self, y: Tensor) -> Tensor:
        """y_hat of a serial model, known before it is coded."""
        return torch.round(y.double()).clamp_(-SYMBOL_MAX, SYMBOL_MAX)

    def finish(self) -> tuple[bytes, ...]:
        """The payloads, one for each channel group."""
        return self._writer.finish()


class FileReader:
    """Turns the payloads of a `FileWriter` back into latents, or the first of them: progressive decoding.

    Latents of channel groups that are not there become their mean, or 0 (ELIC supplement 5). Raises `BadFile`.
    """

    sequential = True

    def __init__(self, payloads: Sequence[bytes], fill_mean: bool = True) -> None:
        self._reader, self._fill_mean = Reader(payloads), fill_mean

    def code(self, parameters: AnyEntropyParameters, y: Tensor | None, group: int = 0) -> Tensor:
        symbols = self._reader.read(table_index(parameters), group)
        if symbols is not None:
            return _block(symbols, parameters)
        return torch.zeros_like(parameters.mean) if self._fill_mean else -parameters.centre

    def quantize(self, y: Tensor) -> Tensor:
        """A reader knows no y (B, M, h, w): raises `ValueError`."""
        raise ValueError("a FileReader knows nothing beforehand")


def table_index(parameters: AnyEntropyParameters) -> TableIndex:
    """Where a block's latents find their frequencies.

    Raises `ValueError` for a batch, and for float32 parameters that are seen to be off the grid.
    """
    exact = parameters.mean.dtype == torch.float64
    exact = exact or (isinstance(parameters, EntropyParameters) and _on_grid(parameters))
    if not exact or parameters.mean.shape[0] != 1:
        raise ValueError("files are coded one picture at a time, with a prior in fixed point")
    if isinstance(parameters, LearnedEntropyParameters):
        return per_channel_index(parameters.frequencies.cpu().numpy().astype(np.int64), parameters.mean.shape[1])
    family = parameters.family
    index = _flat(family.scale.index(parameters.raw_scale))
    if family.mean_in_cdf:
        return fractional_mean_index(_flat(parameters.mean), index)
    return zero_mean_index(index, family.tables, family.skip, parameters.trellis)


def _on_grid(parameters: EntropyParameters) -> bool:
    """Whether the first few are multiples of 2^-12: in fixed point all are, of a float network hardly any."""
    few = torch.cat([parameters.mean.flatten()[:_FEW], parameters.raw_scale.flatten()[:_FEW]]) * 2**RAW_SCALE_BITS
    return torch.equal(few, few.round())


def _flat(values: Tensor) -> NDArray[Any]:
    flat: NDArray[Any] = values.flatten().cpu().numpy()
    return flat


def _block(symbols: NDArray[np.int64], parameters: AnyEntropyParameters) -> Tensor:
    """Symbols as a block of the parameters' shape, kind and device."""
    return torch.from_numpy(symbols).to(parameters.mean).view(parameters.mean.shape)
