"""Serial models: every latent may see all before it, and files are nevertheless written and read in few steps.

What a file holds is round(y) (the mean stays inside the density), so wherever y is known, y_hat is known beforehand
and one pass gives all entropy parameters: in training, in estimates and when writing. Only a reader goes step by step,
and evaluates each step's windows alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lichen.lab.prior.entropy_parameters import EntropyParameters
from lichen.lab.prior.families import Gaussian
from lichen.lab.prior.masked import FixedPointMasked, neighbours
from lichen.lab.prior.schedules import Cell, Step, Wavefront
from lichen.lab.prior.sources import Neighbourhood
from lichen.lab.prior.walk import ContextModel

EVERYTHING = Step(0, (Cell(slice(None)),))  # all latents at once, for coders that know them


@dataclass(frozen=True)
class SerialState:
    """`flat` (B, h w + 1, M) is y_hat as far as it is decoded, its last position zero, for what lies outside.

    `features` are (B, h w, F); `ahead` are the parameters of all latents, where y_hat is known from the beginning.
    """

    features: Tensor
    flat: Tensor
    shape: tuple[int, int]
    ahead: EntropyParameters | None = None
    index: Tensor | None = None  # (h w, taps): the positions that each one sees

    @property
    def known(self) -> Tensor:
        """y_hat (B, M, h, w)."""
        return Cell(slice(None)).back(self.flat[:, :-1], self.shape)


class SerialModel(ContextModel):
    """Causal local context (Minnen 2018): trained as one teacher-forced step, coded as a wavefront."""

    forced = True

    def __init__(self, source: Neighbourhood, latents: int, family: Gaussian) -> None:
        super().__init__()
        self.schedule, self.source = Wavefront(), source
        self.latents, self.family = latents, family

    def begin(self, features: Tensor, rate_level: Tensor, y_hat: Tensor | None = None) -> SerialState:
        height, width = features.shape[2:]
        flat = features.new_zeros(len(features), height * width + 1, self.latents)
        common = flattened(features)
        if y_hat is not None:
            mean, raw_scale = self.source.at(self.source(features, y_hat, None), Cell(slice(None)))
            ahead = EntropyParameters(mean, raw_scale, self.family)
            return SerialState(common, flat.to(y_hat.dtype), (height, width), ahead)
        if not isinstance(self.source.gather, FixedPointMasked):
            raise ValueError("files are read with a prior in fixed point")
        return SerialState(
            common, flat, (height, width), None, index=neighbours(self.source.gather.mask, height, width)
        )

    def steps(self, state: SerialState, sequential: bool) -> list[Step]:
        return self.schedule.steps(*state.shape, state.features.device) if sequential else [EVERYTHING]

    def predict(self, step: Step, state: SerialState) -> tuple[EntropyParameters, SerialState]:
        (cell,) = step.cells
        if state.ahead is not None:
            mean, raw_scale = state.ahead.mean, state.ahead.raw_scale
            if cell.positions is not None:
                mean, raw_scale = mean[:, cell.positions], raw_scale[:, cell.positions]
            return EntropyParameters(mean, raw_scale, self.family), state
        assert state.index is not None and isinstance(self.source.gather, FixedPointMasked)
        local = self.source.gather.gathered(state.flat, state.index[cell.positions])
        mean, raw_scale = self.source.join(local, state.features[:, cell.positions])
        return EntropyParameters(mean, raw_scale, self.family), state

    def absorb(self, step: Step, state: SerialState, symbols: Tensor) -> SerialState:
        return replace(state, flat=filled(state.flat, step, symbols))


def filled(flat: Tensor, step: Step, y_hat: Tensor) -> Tensor:
    """flat (B, h w + 1, M) with a step's y_hat (B, n, M); in place but where the step is everything."""
    (cell,) = step.cells
    if cell.positions is None:
        return padded(y_hat)
    flat[:, cell.positions] = y_hat.to(flat.dtype)
    return flat


def flattened(planes: Tensor) -> Tensor:
    """(B, C, h, w) -> (B, h w, C)."""
    return planes.permute(0, 2, 3, 1).flatten(1, 2)


def padded(flat: Tensor) -> Tensor:
    """(B, h w, M) with one position of zeros more, for what lies outside."""
    return torch.cat([flat, flat.new_zeros(len(flat), 1, flat.shape[2])], dim=1)
