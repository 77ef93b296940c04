"""Global Reference (Qian 2021): the best earlier patch, anywhere in the picture, as a source.

For each position the causal part of its 3 x 3 patch is compared, by cosine, with that of every strictly
earlier position in raster order, in training as in coding. The winner's surroundings go through a masked
convolution, weighed by the similarity S and by a confidence U: how probable the winner was. Three
stages predict in turn: local context, + reference, + hyper-latent; only the last is coded.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lichen.lab.fixed_point.grid import round_to_grid
from lichen.lab.prior.context import Beliefs, Coder, Context
from lichen.lab.prior.families import EntropyParameters, Gaussian, gaussian_bits
from lichen.lab.prior.masked import FixedPointMasked, MaskedConv, causal, neighbours
from lichen.lab.prior.reference_fixed_point import FixedPointConfidence, FixedPointLogMean, FixedPointWeigh
from lichen.lab.prior.schedules import Cell, Raster
from lichen.lab.prior.sources import at_points, stack

BLOCK = 128  # positions that are searched for at a time: the whole matrix of similarities is never held
REACH = 2047.0  # latents are compared within +-this, so that products of patches are exact integers


class Weigh(nn.Module):
    """Features x (B, n, C) times similarity and confidence, (B, n, 1) each."""

    def forward(self, x: Tensor, similarity: Tensor, confidence: Tensor) -> Tensor:
        return x * (similarity * confidence)

    def fixed_point(self) -> FixedPointWeigh:
        """The fixed-point twin."""
        return FixedPointWeigh()


class LogMean(nn.Module):
    """log2 of the mean of two deviations that are given as log2: log-sum-exp without over- or underflow."""

    def forward(self, one: Tensor, other: Tensor) -> Tensor:
        return torch.logaddexp2(one.float(), other.float()) - 1

    def fixed_point(self) -> FixedPointLogMean:
        """The fixed-point twin."""
        return FixedPointLogMean()


class Confidence(nn.Module):
    """U: the channels' mean of P(y_hat) under mean and raw = log2 scale, (B, n, C) -> (B, n, 1), without gradient."""

    @torch.no_grad()
    def forward(self, y_hat: Tensor, belief: EntropyParameters) -> Tensor:
        bits = gaussian_bits(y_hat.float() - belief.mean.float(), belief.scale)
        return torch.exp2(-bits).mean(dim=2, keepdim=True)

    def fixed_point(self) -> FixedPointConfidence:
        """The fixed-point twin."""
        return FixedPointConfidence()


class Certainty(nn.Module):
    """In place of U in the paper's ablation: every winner is trusted, (B, n, C) -> ones (B, n, 1)."""

    def forward(self, y_hat: Tensor, belief: EntropyParameters) -> Tensor:
        return y_hat.new_ones(*y_hat.shape[:2], 1)

    def fixed_point(self) -> Certainty:
        """Nothing is computed: its own fixed-point twin."""
        return self


@dataclass(frozen=True)
class Matches:
    """What one picture's positions refer to (Qian 2021, Figs. 8 and 10), all (h, w).

    `winner` is the best earlier position, as row * w + column (0 where there is none); `similarity` is S and
    `confidence` U of that winner, both in [0, 1].
    """

    winner: Tensor
    similarity: Tensor
    confidence: Tensor


@dataclass(frozen=True)
class _Glance:
    """What the search gives for a block of n positions: pictures' winners (B, n), S and U (B, n, 1), and before it."""

    block: Tensor
    local: Tensor
    first: EntropyParameters
    winner: Tensor
    similarity: Tensor
    confidence: Tensor


class ReferenceModel(Context):
    """Local context, best earlier patch and hyper-latent, stage by stage; trained at once, coded in raster order.

    `inputs`: the first stage sees M channels, the second 2M, the third 2M + `features`; each is three 1 x 1
    layers of `hidden` channels. Stages add to the mean; deviations are averaged in the logarithm. Without
    features (no hyper-latent) there is no third stage, and the second is coded.
    """

    def __init__(
        self, latents: int, features: int, hidden: int, slope: float, family: Gaussian, confident: bool = True
    ) -> None:
        super().__init__()
        self.schedule, self.latents, self.family = Raster(), latents, family
        self.local = MaskedConv(latents, latents, causal(5))
        self.reference = MaskedConv(latents, latents, causal(3, centre=True))
        ways = (latents, 2 * latents, 2 * latents + features)
        self.first, self.second, third = (stack([w, hidden, hidden, 2 * latents], slope) for w in ways)
        self.third = third if features else None
        self.confidence = Confidence() if confident else Certainty()
        self.weigh, self.log_mean = Weigh(), LogMean()

    def walk(self, coder: Coder, features: Tensor, level: Tensor, y: Tensor | None = None) -> tuple[Tensor, Beliefs]:
        if y is None:
            return self._read(coder, features)
        everything = Cell(slice(None))
        known = coder.quantize(y)
        flat = everything.of(y)
        if not coder.sequential:
            belief = _join(list(self._foretold(known, features)))
            return everything.back(coder.code(flat, belief), y.shape[2:]), [(everything, belief)]
        position = 0
        for block in self._foretold(known, features):
            for row in range(block.mean.shape[1]):
                coder.code(flat[:, position : position + 1], _at(block, row))
                position += 1
        return known, []

    def _foretold(self, known: Tensor, features: Tensor) -> Iterator[EntropyParameters]:
        """The beliefs of all positions in raster order, block by block, given all of y_hat (B, M, h, w)."""
        height, width = known.shape[2:]
        flat, common = _padded(_flat(known)), _flat(features)
        index = neighbours(self.reference.mask, height, width)
        for glance in self._look_back(flat, height, width):
            found = [
                self.reference.gathered(flat[picture : picture + 1], index[winner])
                for picture, winner in enumerate(glance.winner)
            ]
            seen = self.weigh(torch.cat(found), glance.similarity.to(flat.dtype), glance.confidence)
            yield self._last(glance.first, glance.local, seen, common[:, glance.block])

    def _look_back(self, flat: Tensor, height: int, width: int) -> Iterator[_Glance]:
        """Block by block, what is found for y_hat (B, h w + 1, M), its last row zero."""
        around = neighbours(self.local.mask, height, width)
        searches = [Search(picture.detach(), height, width) for picture in flat]
        confidence = flat.new_zeros(len(flat), height * width, 1)
        for block in torch.arange(height * width, device=flat.device).split(BLOCK):
            local = self.local.gathered(flat, around[block])
            first = self._first(local)
            confidence[:, block] = self.confidence(flat[:, block], first)
            found = [search.block(block) for search in searches]
            winner = torch.stack([position for position, _ in found])
            certain = torch.stack([values[places] for values, places in zip(confidence, winner, strict=True)])
            yield _Glance(block, local, first, winner, torch.stack([s for _, s in found]), certain)

    @torch.no_grad()
    def matches(self, known: Tensor) -> Matches:
        """What each position of one picture's y_hat (1, M, h, w) refers to."""
        height, width = known.shape[2:]
        glances = list(self._look_back(_padded(_flat(known)), height, width))
        winner = torch.cat([glance.winner[0] for glance in glances])
        similarity = torch.cat([glance.similarity[0, :, 0] for glance in glances])
        confidence = torch.cat([glance.confidence[0, :, 0] for glance in glances])
        return Matches(*(values.view(height, width) for values in (winner, similarity, confidence)))

    def _read(self, coder: Coder, features: Tensor) -> tuple[Tensor, Beliefs]:
        height, width = features.shape[2:]
        if not isinstance(self.local, FixedPointMasked):
            raise ValueError("files are read with a prior frozen to fixed point")
        around, index = neighbours(self.local.mask, height, width), neighbours(self.reference.mask, height, width)
        common = _flat(features)
        flat = features.new_zeros(1, height * width + 1, self.latents)  # the last is what lies outside
        confidence = features.new_zeros(1, height * width, 1)
        search = Search(flat[0], height, width)
        for (cell,) in self.schedule.parts(height, width, features.device):
            local = self.local.gathered(flat, around[cell.positions])
            first = self._first(local)
            winner, similarity = search.next()
            found = self.reference.gathered(flat, index[winner])
            seen = self.weigh(found, similarity[None], confidence[:, winner])
            belief = self._last(first, local, seen, common[:, cell.positions])
            flat[:, cell.positions] = coder.code(None, belief)
            confidence[:, cell.positions] = self.confidence(flat[:, cell.positions], first)
        return Cell(slice(None)).back(flat[:, :-1], features.shape[2:]), []

    def _first(self, local: Tensor) -> EntropyParameters:
        mean, raw = at_points(self.first, local).chunk(2, dim=2)
        return EntropyParameters(mean, raw, self.family)

    def _last(self, first: EntropyParameters, local: Tensor, seen: Tensor, features: Tensor) -> EntropyParameters:
        """The coded stage's belief, with those before it."""
        second = self._update(first, at_points(self.second, torch.cat([local, seen], dim=2)))
        if self.third is None:
            return EntropyParameters(second.mean, second.raw, self.family, (first,))
        third = self._update(second, at_points(self.third, torch.cat([local, seen, features], dim=2)))
        return EntropyParameters(third.mean, third.raw, self.family, (first, second))

    def _update(self, before: EntropyParameters, change: Tensor) -> EntropyParameters:
        mean, raw = change.chunk(2, dim=2)
        return EntropyParameters(before.mean + mean, self.log_mean(before.raw, raw), self.family)


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
        fresh = self._flat[self._learnt : stop - 1].double().clamp(-REACH, REACH)
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


def _flat(planes: Tensor) -> Tensor:
    return planes.permute(0, 2, 3, 1).flatten(1, 2)


def _padded(flat: Tensor) -> Tensor:
    return torch.cat([flat, flat.new_zeros(len(flat), 1, flat.shape[2])], dim=1)


def _at(belief: EntropyParameters, row: int) -> EntropyParameters:
    rows = slice(row, row + 1)
    return EntropyParameters(belief.mean[:, rows], belief.raw[:, rows], belief.family)


def _join(blocks: list[EntropyParameters]) -> EntropyParameters:
    """The belief of all positions, with its earlier stages, of consecutive ones."""
    mean, raw = torch.cat([b.mean for b in blocks], dim=1), torch.cat([b.raw for b in blocks], dim=1)
    earlier = tuple(_join(list(stages)) for stages in zip(*(b.earlier for b in blocks), strict=True))
    return EntropyParameters(mean, raw, blocks[0].family, earlier)
