"""The three coders that a walk can be given: count bits, write them, read them.

They share `code(y, belief) -> y_hat` over dense blocks (B, n, c) of latents, and `quantize` for serial
models, whose y_hat is known wherever y is. `sequential` coders need a schedule's steps one by one. An `Estimator` is
differentiable and works on batches; `Writer` and `Reader` code one picture and need a prior in fixed
point (`lichen.lab.fixed_point.convert`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lichen.coding.rangecoder import SymbolReader, SymbolWriter
from lichen.coding.table_index import TableIndex, address
from lichen.lab.prior.families import AnyEntropyParameters
from lichen.lab.prior.noise import Noise

SYMBOL_MAX = 2**20  # symbols beyond +-this are clamped by the encoder (y_hat follows)


def ste_round(x: Tensor) -> Tensor:
    """round(x) with the gradient of the identity."""
    return x + (torch.round(x) - x).detach()


class Estimator:
    """Counts bits. `bits` lists, for each call of `code`, the bits of each picture, (B,); `stages` those of the
    earlier stages of the beliefs that have some, a tuple for each such call.

    With `noise`, for training, noisy latents are priced (Balle 2017), while y_hat is rounded
    straight-through (Minnen & Singh 2020) or noisy too, as the noise says, which may also have the scales learn from
    rounded latents; without, both are rounded
    as in a file, positions of smallest scale being skipped like there.
    """

    sequential = False

    def __init__(self, noise: Noise | None) -> None:
        self.noise = noise
        self.bits: list[Tensor] = []
        self.stages: list[tuple[Tensor, ...]] = []

    def code(self, y: Tensor | None, belief: AnyEntropyParameters) -> Tensor:
        if y is None:
            raise ValueError("an Estimator needs y")
        residual = y - belief.centre
        if self.noise is not None:
            noisy = residual.float() + self.noise(residual)
            rounded = noisy if self.noise.in_synthesis else ste_round(residual)
            as_coded = torch.round(residual.detach()) if self.noise.rounded_scales else None
            self._count(belief, lambda b: b.training_bits(noisy, as_coded))
        else:
            coded = ~belief.skipped
            rounded = torch.where(coded, torch.round(residual), 0.0)
            self._count(belief, lambda b: torch.where(coded, b.bits(rounded), 0.0))
        return belief.centre + rounded

    def _count(self, belief: AnyEntropyParameters, price: Callable[[AnyEntropyParameters], Tensor]) -> None:
        self.bits.append(price(belief).sum(dim=(1, 2)))
        if belief.earlier:
            self.stages.append(tuple(price(stage).sum(dim=(1, 2)) for stage in belief.earlier))

    def quantize(self, y: Tensor) -> Tensor:
        """y_hat of a serial model, known before it is coded: rounded, straight-through in training."""
        return ste_round(y) if self.noise else torch.round(y)


class Writer:
    """Turns the latents of one picture into bytes."""

    sequential = True

    def __init__(self) -> None:
        self._out = SymbolWriter()

    def code(self, y: Tensor | None, belief: AnyEntropyParameters) -> Tensor:
        if y is None:
            raise ValueError("a Writer needs y")
        place = address(belief)
        residual: NDArray[np.float64] = (y.double() - belief.centre).flatten().cpu().numpy()
        rounded = np.rint(place.of(residual)).clip(-SYMBOL_MAX, SYMBOL_MAX).astype(np.int64)
        self._out.write(place.to_symbols(rounded), place.index, place.tables)
        return _y_hat(belief, place, rounded)

    def quantize(self, y: Tensor) -> Tensor:
        """y_hat of a serial model, known before it is coded."""
        return torch.round(y.double()).clamp_(-SYMBOL_MAX, SYMBOL_MAX)

    def finish(self) -> bytes:
        """The payload: everything written so far."""
        return self._out.finish()


class Reader:
    """Turns the bytes of a `Writer` back into latents. Raises `BadFile` on an impossible payload."""

    sequential = True

    def __init__(self, payload: bytes) -> None:
        self._in = SymbolReader(payload)

    def code(self, y: Tensor | None, belief: AnyEntropyParameters) -> Tensor:
        place = address(belief)
        return _y_hat(belief, place, place.from_symbols(self._in.read(place.index, place.tables)))

    def quantize(self, y: Tensor) -> Tensor:
        raise ValueError("a Reader knows nothing beforehand")


class GroupWriter:
    """A `Writer` with a stream for each channel group: the calls of `code` numbered `starts`, from 0, begin them."""

    sequential = True

    def __init__(self, starts: Sequence[int]) -> None:
        self._writers, self._starts, self._calls = [Writer()], frozenset(starts), 0

    def code(self, y: Tensor | None, belief: AnyEntropyParameters) -> Tensor:
        if self._calls in self._starts:
            self._writers.append(Writer())
        self._calls += 1
        return self._writers[-1].code(y, belief)

    def quantize(self, y: Tensor) -> Tensor:
        """y_hat of a serial model, known before it is coded."""
        return self._writers[-1].quantize(y)

    def finish(self) -> tuple[bytes, ...]:
        """The payloads, one for each stream."""
        return tuple(writer.finish() for writer in self._writers)


class GroupReader:
    """Turns the payloads of a `GroupWriter` back into latents, or the first of them: progressive decoding.

    Latents of streams that are not there become their mean, or 0 (ELIC supplement 5). Raises `BadFile`.
    """

    sequential = True

    def __init__(self, payloads: Sequence[bytes], starts: Sequence[int], fill_mean: bool = True) -> None:
        self._readers: Iterator[Reader] = map(Reader, payloads)
        self._reader: Reader | None = next(self._readers, None)
        self._starts, self._calls, self._fill_mean = frozenset(starts), 0, fill_mean

    def code(self, y: Tensor | None, belief: AnyEntropyParameters) -> Tensor:
        if self._calls in self._starts:
            self._reader = next(self._readers, None)
        self._calls += 1
        if self._reader is not None:
            return self._reader.code(y, belief)
        return belief.mean if self._fill_mean else torch.zeros_like(belief.mean)

    def quantize(self, y: Tensor) -> Tensor:
        raise ValueError("a GroupReader knows nothing beforehand")


def _y_hat(belief: AnyEntropyParameters, place: TableIndex, rounded: NDArray[np.int64]) -> Tensor:
    """centre + rounded where coded, the centre where skipped."""
    centre = belief.centre
    values: NDArray[Any] = centre.flatten().cpu().numpy().copy()
    if place.coded is None:
        values += rounded
    else:
        values[place.coded] += rounded
    return torch.from_numpy(values).view(centre.shape).to(centre.device)
