"""Global Reference (Qian 2021): the best earlier patch, anywhere in the picture, as a source.

For each position the causal part of its 3 x 3 patch is compared, by cosine, with that of every strictly
earlier position in raster order, in training as in coding. The winner's surroundings go through a masked
convolution, weighed by the similarity S and by a confidence U: how probable the winner was. Three
stages predict in turn: local context, + reference, + hyper-latent; only the last is coded.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from lichen.lab.prior.entropy_parameters import EntropyParameters
from lichen.lab.prior.families import Gaussian, gaussian_bits
from lichen.lab.prior.masked import FixedPointMasked, MaskedConv, causal, neighbours
from lichen.lab.prior.reference_fixed_point import FixedPointConfidence, FixedPointLogMean, FixedPointWeigh
from lichen.lab.prior.reference_search import Search
from lichen.lab.prior.schedules import Raster, Step
from lichen.lab.prior.serial import EVERYTHING, SerialState, filled, flattened, padded
from lichen.lab.prior.sources import at_points, stack
from lichen.lab.prior.walk import ContextModel

SEARCHED_AT_ONCE = 128  # positions: the whole matrix of similarities is never held


class Weigh(nn.Module):
    """Features x (B, n, C) times similarity and confidence, (B, n, 1) each."""

    def forward(self, x: Tensor, similarity: Tensor, confidence: Tensor) -> Tensor:
        return x * (similarity * confidence)

    def fixed_point(self) -> FixedPointWeigh:
        """The fixed-point module."""
        return FixedPointWeigh()


class LogMean(nn.Module):
    """log2 of the mean of two deviations, elementwise, given as log2: log-sum-exp without over- or underflow."""

    def forward(self, one: Tensor, other: Tensor) -> Tensor:
        return torch.logaddexp2(one.float(), other.float()) - 1

    def fixed_point(self) -> FixedPointLogMean:
        """The fixed-point module."""
        return FixedPointLogMean()


class Confidence(nn.Module):
    """U: the channels' mean of P(y_hat) under mean and raw = log2 scale, (B, n, C) -> (B, n, 1), without gradient."""

    @torch.no_grad()
    def forward(self, y_hat: Tensor, parameters: EntropyParameters) -> Tensor:
        bits = gaussian_bits(y_hat.float() - parameters.mean.float(), parameters.scale)
        return torch.exp2(-bits).mean(dim=2, keepdim=True)

    def fixed_point(self) -> FixedPointConfidence:
        """The fixed-point module."""
        return FixedPointConfidence()


class Certainty(nn.Module):
    """In place of U in the paper's ablation: every winner is trusted, (B, n, C) -> ones (B, n, 1)."""

    def forward(self, y_hat: Tensor, parameters: EntropyParameters) -> Tensor:
        return y_hat.new_ones(*y_hat.shape[:2], 1)

    def fixed_point(self) -> Certainty:
        """Nothing is computed: its own fixed-point module."""
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
class _Found:
    """What the search gives for a block of n positions: winners (B, n), S and U (B, n, 1), and the first stage."""

    block: Tensor
    local: Tensor
    first: EntropyParameters
    winner: Tensor
    similarity: Tensor
    confidence: Tensor


class _Ahead:
    """Parameters of all positions in raster order, computed block by block as they are asked for."""

    def __init__(self, blocks: Iterator[EntropyParameters]) -> None:
        self._blocks, self._start = blocks, 0
        self._block: EntropyParameters | None = None

    def at(self, position: int) -> EntropyParameters:
        """Those of one position; positions must be asked for in order."""
        while self._block is None or position >= self._start + self._block.mean.shape[1]:
            self._start += 0 if self._block is None else self._block.mean.shape[1]
            self._block = next(self._blocks)
        row = slice(position - self._start, position - self._start + 1)
        return replace(self._block, mean=self._block.mean[:, row], raw_scale=self._block.raw_scale[:, row], earlier=())

    def all(self) -> EntropyParameters:
        """Those of all positions, with their earlier stages."""
        return _join(list(self._blocks))


@dataclass(frozen=True)
class _Reading:
    """What a reader keeps beside y_hat: the search, confidences (1, h w, 1), and which positions each one sees."""

    search: Search
    confidence: Tensor
    around: Tensor
    index: Tensor


@dataclass(frozen=True)
class ReferenceState(SerialState):
    """As `SerialState`; `foretold` gives parameters where y_hat is known, `reading` is a reader's."""

    foretold: _Ahead | None = None
    reading: _Reading | None = None
    first: EntropyParameters | None = None  # the first stage of the position at hand


class ReferenceModel(ContextModel):
    """Local context, best earlier patch and hyper-latent, stage by stage; trained at once, coded in raster order.

    The first stage sees M channels, the second 2M, the third 2M + `features`; each is three 1 x 1
    layers of `hidden` channels. Stages add to the mean; deviations are averaged in the logarithm. Without
    features (no hyper-latent) there is no third stage, and the second is coded.
    """

    forced = True

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

    def begin(self, features: Tensor, rate_level: Tensor, y_hat: Tensor | None = None) -> ReferenceState:
        shape = height, width = (features.shape[2], features.shape[3])
        if y_hat is not None:
            foretold = _Ahead(self._foretold(y_hat, features))
            flat = y_hat.new_zeros(len(y_hat), height * width + 1, self.latents)
            return ReferenceState(flattened(features), flat, shape, foretold=foretold)
        if not isinstance(self.local, FixedPointMasked):
            raise ValueError("files are read with a prior in fixed point")
        around, index = neighbours(self.local.mask, height, width), neighbours(self.reference.mask, height, width)
        flat = features.new_zeros(1, height * width + 1, self.latents)
        confidence = features.new_zeros(1, height * width, 1)
        reading = _Reading(Search(flat[0], height, width), confidence, around, index)
        return ReferenceState(flattened(features), flat, shape, reading=reading)

    def steps(self, state: ReferenceState, sequential: bool) -> list[Step]:
        return self.schedule.steps(*state.shape, state.features.device) if sequential else [EVERYTHING]

    def predict(self, step: Step, state: ReferenceState) -> tuple[EntropyParameters, ReferenceState]:
        (cell,) = step.cells
        if state.foretold is not None:
            whole = cell.positions is None
            return (state.foretold.all() if whole else state.foretold.at(int(cell.positions[0]))), state  # type: ignore[index]
        reading = state.reading
        assert reading is not None
        local = self.local.gathered(state.flat, reading.around[cell.positions])
        first = self._first(local)
        winner, similarity = reading.search.next()
        found = self.reference.gathered(state.flat, reading.index[winner])
        seen = self.weigh(found, similarity[None], reading.confidence[:, winner])
        parameters = self._last(first, local, seen, state.features[:, cell.positions])
        return parameters, replace(state, first=first)

    def absorb(self, step: Step, state: ReferenceState, symbols: Tensor) -> ReferenceState:
        flat = filled(state.flat, step, symbols)
        if state.reading is not None:
            (cell,) = step.cells
            state.reading.confidence[:, cell.positions] = self.confidence(flat[:, cell.positions], state.first)
        return replace(state, flat=flat)

    def _foretold(self, known: Tensor, features: Tensor) -> Iterator[EntropyParameters]:
        """The parameters of all positions in raster order, block by block, given all of y_hat (B, M, h, w)."""
        height, width = known.shape[2:]
        flat, common = padded(flattened(known)), flattened(features)
        index = neighbours(self.reference.mask, height, width)
        for found in self._search(flat, height, width):
            gathered = [
                self.reference.gathered(flat[picture : picture + 1], index[winner])
                for picture, winner in enumerate(found.winner)
            ]
            seen = self.weigh(torch.cat(gathered), found.similarity.to(flat.dtype), found.confidence)
            yield self._last(found.first, found.local, seen, common[:, found.block])

    def _search(self, flat: Tensor, height: int, width: int) -> Iterator[_Found]:
        """Block by block, what is found for y_hat (B, h w + 1, M), its last row zero."""
        around = neighbours(self.local.mask, height, width)
        searches = [Search(picture.detach(), height, width) for picture in flat]
        confidence = flat.new_zeros(len(flat), height * width, 1)
        for block in torch.arange(height * width, device=flat.device).split(SEARCHED_AT_ONCE):
            local = self.local.gathered(flat, around[block])
            first = self._first(local)
            confidence[:, block] = self.confidence(flat[:, block], first)
            found = [search.block(block) for search in searches]
            winner = torch.stack([position for position, _ in found])
            certain = torch.stack([values[places] for values, places in zip(confidence, winner, strict=True)])
            yield _Found(block, local, first, winner, similarity=torch.stack([s for _, s in found]), confidence=certain)

    @torch.no_grad()
    def matches(self, known: Tensor) -> Matches:
        """What each position of one picture's y_hat (1, M, h, w) refers to."""
        height, width = known.shape[2:]
        found = list(self._search(padded(flattened(known)), height, width))
        winner = torch.cat([block.winner[0] for block in found])
        similarity = torch.cat([block.similarity[0, :, 0] for block in found])
        confidence = torch.cat([block.confidence[0, :, 0] for block in found])
        return Matches(*(values.view(height, width) for values in (winner, similarity, confidence)))

    def _first(self, local: Tensor) -> EntropyParameters:
        mean, raw_scale = at_points(self.first, local).chunk(2, dim=2)
        return EntropyParameters(mean, raw_scale, self.family)

    def _last(self, first: EntropyParameters, local: Tensor, seen: Tensor, features: Tensor) -> EntropyParameters:
        """The coded stage's parameters, with those before it."""
        second = self._update(first, at_points(self.second, torch.cat([local, seen], dim=2)))
        if self.third is None:
            return replace(second, earlier=(first,))
        third = self._update(second, at_points(self.third, torch.cat([local, seen, features], dim=2)))
        return replace(third, earlier=(first, second))

    def _update(self, before: EntropyParameters, change: Tensor) -> EntropyParameters:
        mean, raw_scale = change.chunk(2, dim=2)
        return EntropyParameters(before.mean + mean, self.log_mean(before.raw_scale, raw_scale), self.family)


def _join(blocks: list[EntropyParameters]) -> EntropyParameters:
    """The parameters of all positions, with their earlier stages, of consecutive ones."""
    mean, raw_scale = torch.cat([b.mean for b in blocks], dim=1), torch.cat([b.raw_scale for b in blocks], dim=1)
    earlier = tuple(_join(list(stages)) for stages in zip(*(b.earlier for b in blocks), strict=True))
    return EntropyParameters(mean, raw_scale, blocks[0].family, earlier)
