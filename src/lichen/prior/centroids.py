"""Where within its interval a rounded latent is put back: learned points of reconstruction."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lichen.prior.density import SCALES, Belief
from lichen.prior.exact import snap

MOST = 0.4375  # of an interval of width 1: a reconstruction stays nearest to its own symbol
NOTHING = 2.0**-10  # what floats leave of a difference that is 0


class Centroids(nn.Module):
    """y_hat = mean + s + sign(s) t[i, min(|s|, 2)] for a symbol s of scale index i; the mean itself where s = 0.

    Densities fall away from their mean, so what was rounded to s is on average nearer to it: at small scales by a
    third of the interval. The table t (SCALES, 2) starts at 0 and is learned; it lies in +-MOST.
    """

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(SCALES, 2))

    def forward(self, decoded: Tensor, belief: Belief) -> Tensor:
        """decoded (B, n, c), mean + s of this belief -> y_hat of the same shape.

        In a search s may lie between integers: then t does so too.
        """
        symbols = (decoded - belief.mean).detach().flatten()
        where = (symbols.abs() > NOTHING).nonzero()[:, 0]
        found = symbols[where]
        index = belief.gaussian.scale.index(belief.raw.detach().double().flatten()[where]).long()
        one, more = self.table.clamp(-MOST, MOST)[index].unbind(dim=1)
        size = found.abs()
        shift = (one * size.clamp(max=1) + (more - one) * (size - 1).clamp(0, 1)) * found.sign()
        return decoded.flatten().index_add(0, where, shift.to(decoded.dtype)).view(decoded.shape)

    def exact(self) -> Centroids:
        """The fixed-point twin: its table on the activations' grid."""
        twin = Centroids()
        twin.table = nn.Parameter(snap(self.table.detach().clamp(-MOST, MOST)), requires_grad=False)
        return twin
