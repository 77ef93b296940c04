"""The three coders that a walk can be given: count bits, write them, read them.

They share `code(y, belief, mask) -> y_hat`. An `Estimator` is differentiable and works on batches;
`Writer` and `Reader` code one picture and need a prior in fixed point (`lichen.prior.exact`).
"""

from __future__ import annotations

import torch
from torch import Tensor

from lichen.coding.rangecoder import SymbolReader, SymbolWriter
from lichen.prior.density import Belief, gaussian_bits

SYMBOL_MAX = 2**20  # symbols beyond +-this are clamped by the encoder (y_hat follows)


def ste_round(x: Tensor) -> Tensor:
    """round(x) with the gradient of the identity."""
    return x + (torch.round(x) - x).detach()


class Estimator:
    """Counts bits. `bits` lists, for each call of `code`, the bits of each picture, (B,).

    With `noise` a generator-free uniform noise prices the latents in training (Balle 2017) while
    y_hat is rounded straight-through (Minnen & Singh 2020); without, both are rounded as in a file,
    positions of smallest scale being skipped like there.
    """

    def __init__(self, noise: bool) -> None:
        self.noise = noise
        self.bits: list[Tensor] = []

    def code(self, y: Tensor | None, belief: Belief, mask: Tensor) -> Tensor:
        if y is None:
            raise ValueError("an Estimator needs y")
        residual = y - belief.mean
        if self.noise:
            priced = residual.float() + torch.rand_like(residual, dtype=torch.float32) - 0.5
            rounded, counted = ste_round(residual), mask.expand_as(residual)
        else:
            counted = mask & ~belief.skipped
            rounded = torch.where(counted, torch.round(residual), 0.0)
            priced = rounded.float()
        bits = torch.where(counted, gaussian_bits(priced, belief.scale), 0.0)
        self.bits.append(bits.sum(dim=(1, 2, 3)))
        return torch.where(mask, belief.mean + rounded, 0.0)


def _coded(belief: Belief, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Which latents are coded, (C, h, w) bool, and their scale indices, flat in (C, h, w) order."""
    if belief.mean.dtype != torch.float64 or belief.mean.shape[0] != 1:
        raise ValueError("files are coded one picture at a time, with a prior frozen to fixed point")
    coded = mask & ~belief.skipped[0]
    return coded, belief.index[0][coded]


class Writer:
    """Turns the latents of one picture into bytes."""

    def __init__(self) -> None:
        self._out = SymbolWriter()

    def code(self, y: Tensor | None, belief: Belief, mask: Tensor) -> Tensor:
        if y is None:
            raise ValueError("a Writer needs y")
        coded, index = _coded(belief, mask)
        symbols = torch.round(y[0].double() - belief.mean[0]).clamp(-SYMBOL_MAX, SYMBOL_MAX)[coded]
        self._out.write(symbols.to(torch.int32).cpu().numpy(), index.cpu().numpy())
        return _scatter(belief, mask, coded, symbols)

    def finish(self) -> bytes:
        """The payload: everything written so far."""
        return self._out.finish()


class Reader:
    """Turns the bytes of a `Writer` back into latents. Raises `BadFile` on an impossible payload."""

    def __init__(self, payload: bytes) -> None:
        self._in = SymbolReader(payload)

    def code(self, y: Tensor | None, belief: Belief, mask: Tensor) -> Tensor:
        coded, index = _coded(belief, mask)
        symbols = torch.from_numpy(self._in.read(index.cpu().numpy())).to(belief.mean)
        return _scatter(belief, mask, coded, symbols)


def _scatter(belief: Belief, mask: Tensor, coded: Tensor, symbols: Tensor) -> Tensor:
    y_hat = torch.where(mask, belief.mean[0], 0.0)
    y_hat[coded] += symbols
    return y_hat[None]
