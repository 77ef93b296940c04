"""The coder of a search for latents: soft rounding that hardens, as in stochastic Gumbel annealing (Yang 2020)."""

from __future__ import annotations

import torch
from torch import Tensor

from lichen.lab.prior.entropy_parameters import AnyEntropyParameters
from lichen.lab.prior.estimator import ste_round

_EDGE = 1e-4  # distances to the integers below and above are kept this far from 0, for finite gradients


class Annealer:
    """Counts bits, as an `Estimator`, of latents that are rounded down or up at random, and softly.

    The odds of rounding up a residual at distance d above the integer below are the exponential of (atanh d -
    atanh(1 - d)) / temperature, and the choice is a sample of the binary concrete distribution: as the temperature
    falls it becomes rounding to the nearest. `bits` lists the bits (B,) of each call of `code`. Hyper-latents, whose
    block comes first, are rounded straight-through: they follow from y.
    """

    sequential = False

    def __init__(self, temperature: float, chance: torch.Generator) -> None:
        self.temperature, self._chance = temperature, chance
        self.bits: list[Tensor] = []

    def code(self, parameters: AnyEntropyParameters, y: Tensor | None, group: int = 0) -> Tensor:
        if y is None:
            raise ValueError("an Annealer needs y")
        residual = y - parameters.centre
        rounded = self._soft(residual) if self.bits else ste_round(residual)
        coded = ~parameters.skipped
        self.bits.append(torch.where(coded, parameters.training_bits(rounded), 0.0).sum(dim=(1, 2)))
        return torch.where(coded, rounded, 0.0)

    def quantize(self, y: Tensor) -> Tensor:
        """y_hat of a serial model, known before it is coded: rounded, straight-through."""
        return ste_round(y)

    def _soft(self, residual: Tensor) -> Tensor:
        below = torch.floor(residual).detach()
        up = (residual - below).clamp(_EDGE, 1 - _EDGE)
        odds = (torch.atanh(up) - torch.atanh(1 - up)) / self.temperature
        chance = torch.empty(residual.shape, device=residual.device).uniform_(_EDGE, 1 - _EDGE, generator=self._chance)
        return below + torch.sigmoid(odds + torch.logit(chance))
