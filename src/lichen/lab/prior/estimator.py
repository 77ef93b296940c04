"""The coder that counts bits: differentiable, for training and estimates."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lichen.lab.prior.entropy_parameters import AnyEntropyParameters
from lichen.lab.prior.noise import Noise
from lichen.lab.prior.trellis import rounded_as_coded


def ste_round(x: Tensor) -> Tensor:
    """round(x), elementwise, with the gradient of the identity (straight-through estimator)."""
    return x + (torch.round(x) - x).detach()


class Estimator:
    """Counts bits. `bits` lists, for each call of `code`, the bits of each picture, (B,); `stages` those of the
    earlier stages of the parameters that have some, a tuple for each such call.

    With `noise`, for training, noisy latents are priced (Balle 2017), while symbols are rounded straight-through
    (Minnen & Singh 2020) or noisy too, as the noise says, which may also have the scales learn from rounded latents.
    Without, both are rounded as in a file, positions of smallest scale being skipped like there.
    """

    sequential = False

    def __init__(self, noise: Noise | None) -> None:
        self.noise = noise
        self.bits: list[Tensor] = []
        self.stages: list[tuple[Tensor, ...]] = []

    def code(self, parameters: AnyEntropyParameters, y: Tensor | None, group: int = 0) -> Tensor:
        if y is None:
            raise ValueError("an Estimator needs y")
        residual = y - parameters.centre
        if self.noise is not None:
            noisy = residual.float() + self.noise(residual)
            symbols = noisy if self.noise.in_synthesis else ste_round(residual)
            as_coded = torch.round(residual.detach()) if self.noise.rounded_scales else None
            self._count(parameters, lambda own: own.training_bits(noisy, as_coded))
        else:
            coded = ~parameters.skipped
            symbols = torch.where(coded, rounded_as_coded(residual, parameters), 0.0)
            self._count(parameters, lambda own: torch.where(coded, own.bits(symbols), 0.0))
        return symbols

    def _count(self, parameters: AnyEntropyParameters, price: Callable[[AnyEntropyParameters], Tensor]) -> None:
        self.bits.append(price(parameters).sum(dim=(1, 2)))
        if parameters.earlier:
            self.stages.append(tuple(price(stage).sum(dim=(1, 2)) for stage in parameters.earlier))

    def quantize(self, y: Tensor) -> Tensor:
        """y_hat of a serial model, known before it is coded: rounded, straight-through in training."""
        return ste_round(y) if self.noise else torch.round(y)
