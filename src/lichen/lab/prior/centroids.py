"""Where within its interval a rounded latent is put back: learned points of reconstruction."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lichen.coding.scales import SCALES
from lichen.lab.fixed_point.grid import round_to_grid
from lichen.lab.prior.families import EntropyParameters

MOST = 0.4375  # of an interval of width 1: a reconstruction stays nearest to its own symbol
KINDS = 2  # symbols +-1, and all larger ones


class Centroids(nn.Module):
    """y_hat = mean + s + sign(s) t[i, min(|s|, 2)] for a symbol s of scale index i; the mean itself where s = 0.

    Densities fall away from their mean, so what was rounded to s is on average nearer to it: at small scales by a
    third of the interval. The table t (SCALES, 2) starts at 0 and is learned; it lies in +-MOST.
    """

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(SCALES, KINDS))

    def forward(self, decoded: Tensor, belief: EntropyParameters) -> Tensor:
        """decoded (B, n, c), mean + s of this belief -> y_hat of the same shape; in place where nothing learns."""
        flat, mean = decoded.flatten(), belief.mean.detach().flatten()
        where = (flat != mean).nonzero()[:, 0]
        found = torch.round(flat.detach()[where] - mean[where])
        index = belief.family.scale.index(belief.raw.detach().flatten()[where].double()).long()
        kind = found.abs().clamp_(max=KINDS).long().clamp_(min=0) - 1  # where s is 0 after all, its sign is
        shift = (self.table.clamp(-MOST, MOST)[index, kind] * found.sign()).to(flat.dtype)
        added = flat.index_add if torch.is_grad_enabled() else flat.index_add_
        return added(0, where, shift).view(decoded.shape)

    def fixed_point(self) -> Centroids:
        """The fixed-point twin: its table on the activations' grid."""
        twin = Centroids()
        twin.table = nn.Parameter(round_to_grid(self.table.detach().clamp(-MOST, MOST)), requires_grad=False)
        return twin
