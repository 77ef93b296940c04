"""Global Reference's stages without its reference (Qian 2021, Figure 13): local context, then the hyper-latent."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from lichen.lab.prior.entropy_parameters import EntropyParameters
from lichen.lab.prior.families import Gaussian
from lichen.lab.prior.masked import FixedPointMasked, MaskedConv, causal, neighbours
from lichen.lab.prior.reference import LogMean
from lichen.lab.prior.schedules import Step, Wavefront
from lichen.lab.prior.serial import EVERYTHING, SerialState, filled, flattened
from lichen.lab.prior.sources import at_points, stack
from lichen.lab.prior.walk import ContextModel


class StagedModel(ContextModel):
    """Two stages that predict in turn, of which the second is coded; trained at once, coded as a wavefront.

    The first stage sees the M channels of a causal 5 x 5, the second also the `features` of the hyper-latent; each is
    three 1 x 1 layers of `hidden` channels. The second adds to the mean; deviations are averaged in the logarithm.
    """

    forced = True

    def __init__(self, latents: int, features: int, hidden: int, slope: float, family: Gaussian) -> None:
        super().__init__()
        self.schedule, self.latents, self.family = Wavefront(), latents, family
        self.local = MaskedConv(latents, latents, causal(5))
        ways = (latents, latents + features)
        self.first, self.second = (stack([w, hidden, hidden, 2 * latents], slope) for w in ways)
        self.log_mean = LogMean()

    def begin(self, features: Tensor, rate_level: Tensor, y_hat: Tensor | None = None) -> SerialState:
        shape = height, width = (features.shape[2], features.shape[3])
        flat, common = features.new_zeros(len(features), height * width + 1, self.latents), flattened(features)
        if y_hat is not None:
            ahead = self._both(self.local(y_hat), common)
            return SerialState(common, flat.to(y_hat.dtype), shape, ahead)
        if not isinstance(self.local, FixedPointMasked):
            raise ValueError("files are read with a prior in fixed point")
        return SerialState(common, flat, shape, None, index=neighbours(self.local.mask, height, width))

    def steps(self, state: SerialState, sequential: bool) -> list[Step]:
        return self.schedule.steps(*state.shape, state.features.device) if sequential else [EVERYTHING]

    def predict(self, step: Step, state: SerialState) -> tuple[EntropyParameters, SerialState]:
        (cell,) = step.cells
        if state.ahead is not None and cell.positions is None:
            return state.ahead, state
        if state.ahead is not None:
            mean, raw_scale = (x[:, cell.positions] for x in (state.ahead.mean, state.ahead.raw_scale))
            return EntropyParameters(mean, raw_scale, self.family), state
        assert state.index is not None
        local = self.local.gathered(state.flat, state.index[cell.positions])
        return self._both(local, state.features[:, cell.positions]), state

    def absorb(self, step: Step, state: SerialState, symbols: Tensor) -> SerialState:
        return replace(state, flat=filled(state.flat, step, symbols))

    def _both(self, local: Tensor, features: Tensor) -> EntropyParameters:
        """From the local context (B, n, M) and features (B, n, F): the second stage's parameters, and the first's."""
        mean, raw_scale = at_points(self.first, local).chunk(2, dim=2)
        first = EntropyParameters(mean, raw_scale, self.family)
        change, second = at_points(self.second, torch.cat([local, features], dim=2)).chunk(2, dim=2)
        return EntropyParameters(mean + change, self.log_mean(raw_scale, second), self.family, (first,))
