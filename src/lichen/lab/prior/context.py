"""Context models of parallel schedules: sources predict each step from the hyper-latent and what is decoded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from lichen.lab.prior.adaptation import Adaptation, ScaleStatistics
from lichen.lab.prior.centroids import Centroids
from lichen.lab.prior.entropy_parameters import EntropyParameters
from lichen.lab.prior.families import OURS, Family
from lichen.lab.prior.schedules import Cell, FixedSchedule, Step, joined
from lichen.lab.prior.trellis import dequantized
from lichen.lab.prior.walk import ContextModel
from lichen.lab.transforms.blocks import SLOPE, LevelTable, Pointwise, zero_

Hidden = tuple[Tensor, ...]  # maps that a source's network gives, (B, S, h, w) each


class Source(nn.Module):
    """A network that predicts steps.

    `forward(features, known, before)` sees features (B, F, h, w) and y_hat (B, M, h, w), zero where unknown; `before`
    is what this source gave for the step before, None if that had another source. `at(hidden, cell)` then gives the
    parameters of a cell by its last layer, whose input is `prepared` once for all cells.
    """

    predict: Pointwise
    local: ClassVar[bool] = True  # whether a tile with a halo is enough

    def at(self, hidden: Hidden, cell: Cell) -> tuple[Tensor, Tensor]:
        """Mean and raw scale of a cell, (B, n, c) each: here by the rows of one last layer of 2M outputs."""
        latents = self.predict.weight.shape[0] // 2
        channels = torch.arange(latents, device=hidden[0].device)[cell.channels]
        rows = torch.cat([channels, channels + latents])
        mean, raw_scale = self.predict.rows(cell.at(hidden[0]), rows).chunk(2, dim=2)
        return mean, raw_scale

    def with_residual(self, hidden: Hidden, decoded: Tensor) -> Tensor:
        """A cell's decoded latents (B, n, c) with the latent residual that is predicted for them; here none."""
        return decoded


class HyperOnly(Source):
    """Source of a step that sees the hyper-latent only: its features (B, F, h, w) as they are."""

    def __init__(self, features: int, latents: int) -> None:
        super().__init__()
        self.predict = zero_(Pointwise(features, 2 * latents))

    def forward(self, features: Tensor, known: Tensor, before: Hidden | None) -> Hidden:
        return (self.predict.prepared(features),)


class HyperAndLocal(Source):
    """Source of a step that also sees what is decoded around it.

    features (B, F, h, w) and y_hat (B, M, h, w), zero where unknown -> (B, hidden, h, w). The neighbourhood is a
    depthwise 5 x 5 over a 1 x 1 mixture of channels. `known` holds nothing of the step to be coded, so the kernel
    needs no mask.
    """

    def __init__(self, features: int, latents: int, local: int, hidden: int) -> None:
        super().__init__()
        self.gather = nn.Sequential(Pointwise(latents, local), nn.Conv2d(local, local, 5, padding=2, groups=local))
        self.mix = nn.Sequential(Pointwise(features + local, hidden), nn.LeakyReLU(SLOPE))
        self.predict = zero_(Pointwise(hidden, 2 * latents))

    def forward(self, features: Tensor, known: Tensor, before: Hidden | None) -> Hidden:
        return (self.predict.prepared(self.mix(torch.cat([features, self.gather(known)], dim=1))),)


@dataclass(frozen=True)
class _Prediction:
    """What was predicted for a step, and by what: `unmoved` are the parameters before scale offsets."""

    number: int
    hidden: Hidden
    offsets: Tensor | None
    unmoved: EntropyParameters
    parameters: EntropyParameters


@dataclass(frozen=True)
class State:
    """What encoder and decoder know: features (B, F, h, w), y_hat (B, M, h, w), scale statistics, rate_level (B,)."""

    features: Tensor
    rate_level: Tensor
    known: Tensor
    statistics: ScaleStatistics | None = None
    trellis: bool = False
    prediction: _Prediction | None = None  # of the step at hand, or of the one before where it serves again


class ParallelModel(ContextModel):
    """A schedule and sources: each source predicts as many steps, one after the other, as there are for each source.

    `base_raw_scale` (levels, M) is where the raw scales start, the sources predicting the difference; None is 0.
    Without `centroids` y_hat is mean + symbol. With `adaptation` decoded symbols offset the scales of later steps.
    """

    schedule: FixedSchedule

    def __init__(
        self,
        schedule: FixedSchedule,
        sources: Sequence[Source],
        latents: int,
        base_raw_scale: Tensor | None = None,
        family: Family = OURS,
        centroids: Centroids | None = None,
        adaptation: Adaptation | None = None,
    ) -> None:
        super().__init__()
        if schedule.count % len(sources):
            raise ValueError(f"{schedule.count} steps cannot be shared by {len(sources)} sources")
        self.schedule, self.steps_each = schedule, schedule.count // len(sources)
        self.sources = nn.ModuleList(sources)
        self.latents = latents
        self.base_raw_scale = None if base_raw_scale is None else LevelTable(base_raw_scale)
        self.family, self.centroids, self.adaptation = family, centroids, adaptation

    def begin(self, features: Tensor, rate_level: Tensor, y_hat: Tensor | None = None) -> State:
        batch, _, height, width = features.shape
        exact = torch.promote_types(features.dtype, torch.float32)  # autocast features do not make y_hat coarse
        known = features.new_zeros(batch, height, width, self.latents, dtype=exact).permute(0, 3, 1, 2)
        statistics = None if self.adaptation is None else ScaleStatistics.empty(features, self.latents, exact)
        return State(features, rate_level, known, statistics)

    def trellis_coded(self, state: State) -> State:
        if self.family.mean_in_cdf:
            return cast("State", super().trellis_coded(state))
        return replace(state, trellis=True)

    def steps(self, state: State, sequential: bool) -> list[Step]:
        return self.schedule.steps(state.features.shape[2], state.features.shape[3], state.features.device)

    def predict(self, step: Step, state: State) -> tuple[EntropyParameters, State]:
        hidden, offsets = self._hidden_of(step, state)
        source, base = self._source(step.number), None
        if self.base_raw_scale is not None:
            base = self.base_raw_scale(state.rate_level)[:, None, :, 0, 0]
        cells = [self._cell_parameters(source.at(hidden, cell), cell, base) for cell in step.cells]
        mean, raw_scale = joined([c.mean for c in cells]), joined([c.raw_scale for c in cells])
        unmoved = EntropyParameters(mean, raw_scale, self.family, trellis=state.trellis)
        parameters = unmoved
        if offsets is not None:
            by = [ScaleStatistics.at_latents(offsets, cell, state.known.shape[2:]) for cell in step.cells]
            parameters = unmoved.offset_scales(joined(by))
        return parameters, replace(
            state, prediction=_Prediction(step.number, hidden, offsets, unmoved, parameters=parameters)
        )

    def absorb(self, step: Step, state: State, symbols: Tensor) -> State:
        prediction, statistics, known = state.prediction, state.statistics, state.known
        assert prediction is not None
        if self.adaptation is not None and statistics is not None and step.number < self.schedule.count - 1:
            statistics = self.adaptation.count(
                statistics, step, prediction.unmoved, symbols.detach(), shape=known.shape[2:]
            )
        y_hat = prediction.parameters.centre + symbols
        if self.centroids is not None:
            y_hat = self.centroids(y_hat, symbols, prediction.parameters)
        if state.trellis:
            y_hat = dequantized(y_hat, symbols, prediction.parameters)
        known = known.clone() if torch.is_grad_enabled() else known  # in place where nothing learns
        source = self._source(step.number)
        for cell, values in zip(step.cells, step.split(y_hat, known.shape[1:]), strict=True):
            cell.put_(known, source.with_residual(prediction.hidden, values))
        return replace(state, known=known, statistics=statistics, prediction=self._served(prediction, step))

    def everywhere(self, features: Tensor, known: Tensor) -> Tensor:
        """All steps' parameters at all positions (B, P, h, w), given the same y_hat: what depends on what."""
        maps: list[Tensor] = []
        state = State(features, features.new_zeros(len(features)), known)
        for step in self.steps(state, sequential=True):
            hidden = self._look(step.number, state, None)
            for cell in step.cells:
                maps += self._source(step.number).at(hidden, Cell(cell.channels))
        return Cell(slice(None)).back(torch.cat(maps, dim=2), features.shape[2:])

    @property
    def local(self) -> bool:
        """Whether steps can be coded tile by tile."""
        return all(isinstance(source, Source) and source.local for source in self.sources)

    def _hidden_of(self, step: Step, state: State) -> tuple[Hidden, Tensor | None]:
        """What the step's source sees, and the scale offsets; those of its number's first step serve all of it."""
        before = state.prediction
        if before is not None and before.number == step.number:
            return before.hidden, before.offsets
        offsets = None
        if self.adaptation is not None and state.statistics is not None and step.number > 0:
            offsets = self.adaptation(step.number, state.statistics)
        return self._look(step.number, state, None if before is None else before.hidden), offsets

    def _look(self, number: int, state: State, before: Hidden | None) -> Hidden:
        source = self._source(number)
        if number % self.steps_each and before is None:
            before = source(state.features, state.known, None)
        hidden: Hidden = source(state.features, state.known, before)
        return hidden

    def _served(self, prediction: _Prediction, step: Step) -> _Prediction | None:
        """The prediction where the next step wants it; else it is let go of before the next source looks."""
        shared = not step.last or (step.number + 1) % self.steps_each != 0
        return prediction if shared else None

    def _source(self, number: int) -> Source:
        source = self.sources[number // self.steps_each]
        assert isinstance(source, Source)
        return source

    def _cell_parameters(self, given: tuple[Tensor, Tensor], cell: Cell, base: Tensor | None) -> EntropyParameters:
        mean, raw_scale = given
        raw_scale = raw_scale if base is None else raw_scale + base[:, :, cell.channels]
        return EntropyParameters(mean, raw_scale, self.family)
