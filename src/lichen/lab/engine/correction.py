"""Corrections between coding steps (`runtime.correction`) in PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lichen.lab.models.model import Model
from lichen.lab.prior.schedules import Schedule
from lichen.lab.tensors import product
from lichen.runtime.correction import Corrector, LinearBranch
from lichen.runtime.tiles import Tile, Tiling


class TorchBranch(LinearBranch):
    """As `LinearBranch`, its product by PyTorch (`lab.tensors.product`)."""

    def product(self, blocks: NDArray[np.float32]) -> NDArray[np.float32]:
        """blocks (n, 3 s^2) -> (n, M)."""
        return product(blocks, self.weight)


@dataclass(frozen=True)
class Corrections:
    """The corrections of one picture's walk (`prior.walk.Correction`)."""

    corrector: Corrector
    schedule: Schedule

    def __call__(self, number: int, y_hat: Tensor, y: Tensor) -> Tensor:
        """y (1, M, h, w) where steps from this number on are left; y_hat holds what is decoded."""
        if not self.corrector.due(number):
            return y
        left = torch.zeros(1, *y.shape[2:], y.shape[1], dtype=torch.bool).permute(0, 3, 1, 2)
        for step in self.schedule.steps(y.shape[2], y.shape[3], torch.device("cpu")):
            if step.number >= number:
                step.put_(left, torch.ones_like(step.gather(left)))
        return torch.from_numpy(self.corrector(y_hat.numpy(), y.numpy(), left.numpy())).to(y)


def corrections(
    model: Model,
    tiling: Tiling,
    *,
    rate_level: float,
    lam: float,
    every: int,
    synthesise: Callable[[Tensor], Tensor],
    original: Callable[[Tile], Tensor],
) -> Corrections | None:
    """As `Corrector`, of tensors; None for a model whose synthesis has no linear branch.

    `synthesise` is of y_hat (1, M, h, w), `original` gives a tile's pixels (1, 3, H, W) in [0, 1].
    """
    found = model.linear_branch
    if found is None:
        return None

    def synthesised(y_hat: NDArray[np.float32]) -> NDArray[np.float32]:
        pixels: NDArray[np.float32] = synthesise(torch.from_numpy(y_hat)).float().cpu().numpy()
        return pixels

    corrector = Corrector(
        branch=TorchBranch(*(x.detach().float().cpu().numpy() for x in found)),
        tiling=tiling,
        unit=model.hyper_stride // model.stride,
        rate_level=rate_level,
        lam=lam,
        every=every,
        synthesise=synthesised,
        original=lambda tile: original(tile).cpu().numpy(),
    )
    return Corrections(corrector, model.prior.context.schedule)
