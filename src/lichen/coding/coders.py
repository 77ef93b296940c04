"""The three coders that a walk can be given: count bits, write them, read them.

They share `code(y, belief, mask) -> y_hat`. An `Estimator` is differentiable and works on batches;
`Writer` and `Reader` code one picture and need a prior in fixed point (`lichen.prior.exact`).
"""

from __future__ import annotations

import torch
from torch import Tensor

from lichen.coding.rangecoder import SymbolReader, SymbolWriter
from lichen.prior.density import SKIP, Belief, gaussian_bits, gaussian_bits_far, scale_index

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
            rounded, counted = ste_round(residual), mask.expand_as(residual)
            noisy = residual.float() + torch.rand_like(residual, dtype=torch.float32) - 0.5
            priced = gaussian_bits_far(noisy, belief.scale)
        else:
            counted = mask & ~belief.skipped
            rounded = torch.where(counted, torch.round(residual), 0.0)
            priced = gaussian_bits(rounded.float(), belief.scale)
        bits = torch.where(counted, priced, 0.0)
        self.bits.append(bits.sum(dim=(1, 2, 3)))
        return torch.where(mask, belief.mean + rounded, 0.0)


class _Step:
    """The latents of one call of `code`: flat positions, means, and which are coded by which table.

    Order is (channel, row, column), as the format wants it.
    """

    def __init__(self, belief: Belief, mask: Tensor) -> None:
        if belief.mean.dtype != torch.float64 or belief.mean.shape[0] != 1:
            raise ValueError("files are coded one picture at a time, with a prior frozen to fixed point")
        self.shape = belief.mean.shape
        self.positions = mask.flatten().nonzero()[:, 0]
        self.mean = belief.mean.flatten()[self.positions]
        index = scale_index(belief.raw.flatten()[self.positions])
        self.coded = (index > SKIP).nonzero()[:, 0]
        self.index = index[self.coded].cpu().numpy()

    def y_hat(self, symbols: Tensor) -> Tensor:
        """mean + symbol where coded, the mean where skipped, 0 where not of this step."""
        values = self.mean.index_add(0, self.coded, symbols)
        y_hat = values.new_zeros(self.shape)
        y_hat.flatten()[self.positions] = values
        return y_hat


class Writer:
    """Turns the latents of one picture into bytes."""

    def __init__(self) -> None:
        self._out = SymbolWriter()

    def code(self, y: Tensor | None, belief: Belief, mask: Tensor) -> Tensor:
        if y is None:
            raise ValueError("a Writer needs y")
        step = _Step(belief, mask)
        residual = y.double().flatten()[step.positions[step.coded]] - step.mean[step.coded]
        symbols = residual.round_().clamp_(-SYMBOL_MAX, SYMBOL_MAX)
        self._out.write(symbols.to(torch.int32).cpu().numpy(), step.index)
        return step.y_hat(symbols)

    def finish(self) -> bytes:
        """The payload: everything written so far."""
        return self._out.finish()


class Reader:
    """Turns the bytes of a `Writer` back into latents. Raises `BadFile` on an impossible payload."""

    def __init__(self, payload: bytes) -> None:
        self._in = SymbolReader(payload)

    def code(self, y: Tensor | None, belief: Belief, mask: Tensor) -> Tensor:
        step = _Step(belief, mask)
        return step.y_hat(torch.from_numpy(self._in.read(step.index)).to(belief.mean))
