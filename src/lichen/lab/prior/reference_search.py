"""The search of Global Reference (Qian 2021): the most similar strictly earlier patch, by exact integers."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from lichen.lab.fixed_point.grid import round_to_grid
from lichen.lab.prior.masked import causal, neighbours

COMPARED_WITHIN = 2047.0  # latents are clamped to +-this, so that products of patches are exact integers


class Search:
    """Finds the most similar strictly earlier position, by exact integers: the same on every machine.

    `flat` (h w + 1, M) holds one picture's latents, its last row zero; `next` may be called while it fills. Patches
    are never put together: the product of two is the sum of their latents' products, tap by tap.
    """

    def __init__(self, flat: Tensor, height: int, width: int) -> None:
        self._flat = flat
        self._index = neighbours(causal(3).to(flat.device), height, width)
        self._clamped = torch.zeros_like(flat, dtype=torch.float64)
        self._squares = flat.new_zeros(height * width + 1, dtype=torch.float64)
        self._norms = flat.new_zeros(height * width, dtype=torch.float64)
        self._learnt = self._known = 0

    def block(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Winners (n,) and similarities (n, 1), in [0, 1] on the grid, of consecutive `positions`."""
        start, stop = int(positions[0]), int(positions[-1]) + 1
        self._learn(start, stop)
        scores = self._products(start, stop).div_(self._norms[:stop].clamp(min=1))
        order = torch.arange(stop, device=positions.device)
        scores.masked_fill_(order >= positions[:, None], 0).clamp_(min=0)
        best = scores.amax(dim=1)
        winner = torch.where(scores == best[:, None], order, stop).amin(dim=1)
        return winner, round_to_grid((best / self._norms[start:stop].clamp(min=1)).clamp_(max=1))[:, None]

    def next(self) -> tuple[Tensor, Tensor]:
        """`block` for the next single position, whose surroundings are known by now."""
        position = torch.tensor([self._known], device=self._flat.device)
        self._known += 1
        return self.block(position)

    def _learn(self, start: int, stop: int) -> None:
        """Take in the latents that the patches before `stop` hold, and those patches' norms from `start` on."""
        fresh = self._flat[self._learnt : stop - 1].double().clamp(-COMPARED_WITHIN, COMPARED_WITHIN)
        self._clamped[self._learnt : stop - 1] = fresh
        self._squares[self._learnt : stop - 1] = fresh.square().sum(dim=1)
        self._norms[start:stop] = self._squares[self._index[start:stop]].sum(dim=1).sqrt()
        self._learnt = stop - 1

    def _products(self, start: int, stop: int) -> Tensor:
        """The patches from `start` times all those before `stop`, (n, stop): exact in any order."""
        wanted = self._clamped[self._index[start:stop]].transpose(0, 1).flatten(0, 1)  # taps, then positions
        single = F.pad(wanted @ self._clamped[:stop].t(), (0, 1))  # with what lies outside
        columns = self._index[:stop].clamp(max=stop).t()
        total = single.new_zeros(stop - start, stop)
        for product, column in zip(single.chunk(len(columns)), columns, strict=True):
            total += product.index_select(1, column)
        return total
