"""The three coders that a walk can be given: count bits, write them, read them.

They share `code(y, belief) -> y_hat` over dense blocks (B, n, c) of latents. An `Estimator` is
differentiable and works on batches; `Writer` and `Reader` code one picture and need a prior in fixed
point (`lichen.prior.exact`).
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lichen.coding.noise import Noise
from lichen.coding.rangecoder import SymbolReader, SymbolWriter
from lichen.prior.density import SKIP, Belief, gaussian_bits, gaussian_bits_far, scale_index

SYMBOL_MAX = 2**20  # symbols beyond +-this are clamped by the encoder (y_hat follows)


def ste_round(x: Tensor) -> Tensor:
    """round(x) with the gradient of the identity."""
    return x + (torch.round(x) - x).detach()


class Estimator:
    """Counts bits. `bits` lists, for each call of `code`, the bits of each picture, (B,).

    With `noise`, for training, noisy latents are priced (Balle 2017), while y_hat is rounded
    straight-through (Minnen & Singh 2020) or noisy too, as the noise says; without, both are rounded
    as in a file, positions of smallest scale being skipped like there.
    """

    def __init__(self, noise: Noise | None) -> None:
        self.noise = noise
        self.bits: list[Tensor] = []

    def code(self, y: Tensor | None, belief: Belief) -> Tensor:
        if y is None:
            raise ValueError("an Estimator needs y")
        residual = y - belief.mean
        if self.noise is not None:
            noisy = residual.float() + self.noise(residual)
            rounded = noisy if self.noise.in_synthesis else ste_round(residual)
            bits = gaussian_bits_far(noisy, belief.scale)
        else:
            coded = ~belief.skipped
            rounded = torch.where(coded, torch.round(residual), 0.0)
            bits = torch.where(coded, gaussian_bits(rounded.float(), belief.scale), 0.0)
        self.bits.append(bits.sum(dim=(1, 2)))
        return belief.mean + rounded


class _Block:
    """One call of `code`: which latents are coded, and by which table.

    Flat, in the format's order: position, then channel.
    """

    def __init__(self, belief: Belief) -> None:
        if belief.mean.dtype != torch.float64 or belief.mean.shape[0] != 1:
            raise ValueError("files are coded one picture at a time, with a prior frozen to fixed point")
        self.mean = belief.mean
        index = scale_index(belief.raw).flatten().cpu().numpy()
        self.coded = np.flatnonzero(index > SKIP)
        self.index: NDArray[np.uint8] = index[self.coded]

    def y_hat(self, symbols: NDArray[np.int32]) -> Tensor:
        """mean + symbol where coded, the mean where skipped."""
        values = np.zeros(self.mean.numel())
        values[self.coded] = symbols
        return torch.from_numpy(values).view(self.mean.shape).to(self.mean.device).add_(self.mean)


class Writer:
    """Turns the latents of one picture into bytes."""

    def __init__(self) -> None:
        self._out = SymbolWriter()

    def code(self, y: Tensor | None, belief: Belief) -> Tensor:
        if y is None:
            raise ValueError("a Writer needs y")
        block = _Block(belief)
        residual = (y.double() - belief.mean).flatten().cpu().numpy()[block.coded]
        symbols = np.rint(residual).clip(-SYMBOL_MAX, SYMBOL_MAX).astype(np.int32)
        self._out.write(symbols, block.index)
        return block.y_hat(symbols)

    def finish(self) -> bytes:
        """The payload: everything written so far."""
        return self._out.finish()


class Reader:
    """Turns the bytes of a `Writer` back into latents. Raises `BadFile` on an impossible payload."""

    def __init__(self, payload: bytes) -> None:
        self._in = SymbolReader(payload)

    def code(self, y: Tensor | None, belief: Belief) -> Tensor:
        block = _Block(belief)
        return block.y_hat(self._in.read(block.index))
