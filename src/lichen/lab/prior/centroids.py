"""Reconstruction points: where within its interval a rounded latent is put back, learned."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lichen.coding.scales import SCALES
from lichen.lab.fixed_point.grid import round_to_grid
from lichen.lab.prior.entropy_parameters import EntropyParameters

SHIFT_MAX = 0.4375  # of an interval of width 1: a reconstruction stays nearest to its own symbol
KINDS = 2  # symbols +-1, and all larger ones


class Centroids(nn.Module):
    """y_hat = mean + s + sign(s) t[i, min(|s|, 2)] for a symbol s of scale index i; the mean itself where s = 0.

    Densities fall away from their mean, so what was rounded to s is on average nearer to it: at small scales by a
    third of the interval. The table t (SCALES, 2) starts at 0 and is learned; it lies in +-SHIFT_MAX.
    """

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(SCALES, KINDS))

    def forward(self, y_hat: Tensor, symbols: Tensor, parameters: EntropyParameters) -> Tensor:
        """y_hat (B, n, c) = mean + symbols -> the same with its points moved; in place where nothing learns."""
        flat = symbols.detach().flatten()
        where = flat.nonzero()[:, 0]
        found = torch.round(flat[where])
        raw_scale = parameters.raw_scale.detach().flatten()[where].double()
        index = parameters.family.scale.index(raw_scale).long()
        kind = found.abs().clamp_(max=KINDS).long().clamp_(min=0) - 1  # where s is 0 after all, its sign is
        shift = (self.table.clamp(-SHIFT_MAX, SHIFT_MAX)[index, kind] * found.sign()).to(y_hat.dtype)
        moved = y_hat.flatten()
        added = moved.index_add if torch.is_grad_enabled() else moved.index_add_
        return added(0, where, shift).view(y_hat.shape)

    def fixed_point(self) -> Centroids:
        """The fixed-point module: its table on the activations' grid."""
        fixed = Centroids()
        table = round_to_grid(self.table.detach().clamp(-SHIFT_MAX, SHIFT_MAX))
        fixed.table = nn.Parameter(table, requires_grad=False)
        return fixed
