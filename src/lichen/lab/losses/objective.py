"""The training objective: rate, distortion and the correlation loss, for one lambda or many at once."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from lichen.errors import UsageError
from lichen.lab.losses.correlation import Correlation, NoiseFunction, correlation_loss, uniform
from lichen.lab.losses.distortion import distorted, mse, shrunk
from lichen.lab.models.config import AnyRates, Distortion
from lichen.lab.prior.latents import Coded


@dataclass(frozen=True)
class Decorrelation:
    """The term alpha x correlation loss (Ali 2023, eq. 13). Raises `UsageError` for values out of range.

    alpha: the weight of the loss; its size belongs to the reduction (`map.reduction`).
    ramp: two steps; alpha grows linearly from 0 at the first to its value at the second. [0, 0] is the paper's constant
        alpha.
    map: how the correlation is taken.
    """

    alpha: float
    ramp: tuple[int, int] = (0, 0)
    map: Correlation = field(default_factory=Correlation)

    def __post_init__(self) -> None:
        if not self.alpha >= 0:
            raise UsageError(f"alpha must not be negative, not {self.alpha}")
        if not 0 <= self.ramp[0] <= self.ramp[1]:
            raise UsageError(f"ramp must be two steps, the first not after the last, not {list(self.ramp)}")

    def alpha_at(self, step: int) -> float:
        """alpha at a step, counted from 0."""
        first, last = self.ramp
        if step >= last:
            return self.alpha
        return self.alpha * max(step - first, 0) / max(last - first, 1)


@dataclass(frozen=True)
class StageWeights:
    """Weights of the rates of a prior's stages (Qian 2021, section 4). Raises `UsageError` if they do not add up to 1.

    change: the step from which `late` holds.
    early: a weight for each stage, before that step.
    late: a weight for each stage, from that step on.
    """

    change: int
    early: tuple[float, ...] = (0.3, 0.3, 0.4)
    late: tuple[float, ...] = (0.1, 0.1, 0.8)

    def __post_init__(self) -> None:
        for name, weights in (("early", self.early), ("late", self.late)):
            if abs(sum(weights) - 1) > 1e-6 or min(weights) < 0 or len(weights) != len(self.early):
                raise UsageError(f"{name} must be a weight for each stage, adding up to 1, not {list(weights)}")

    def at(self, step: int) -> tuple[float, ...]:
        """The weights of a step, counted from 0."""
        return self.early if step < self.change else self.late


@dataclass(frozen=True)
class LossTerms:
    """A loss and its parts: `loss` is a scalar with gradient, the others are (B,) without.

    `estimated_bpp` is that of the stage that is coded, `distortion` is what lambda weighs, `mse` is in units of 1/255.
    """

    loss: Tensor
    estimated_bpp: Tensor
    distortion: Tensor
    mse: Tensor


@dataclass(frozen=True)
class Objective:
    """The loss: mean over the batch of w (R + lambda D), plus alpha L_corr (Ali 2023, eq. 9 and 13).

    R is in bits per pixel, D is 255^2 MSE or 1 - MS-SSIM, as the rates say. The 255^2 MSE of a thumbnail is added to D.
    Each picture has the lambda of its rate level, and the weight w = (lambda / lambda_mid)^-balance: at balance 0.5
    the rates weigh about equally in relative terms, as in a BD-rate; with one lambda w is 1.
    """

    rates: AnyRates
    balance: float = 0.5
    correlation: Decorrelation | None = None
    stages: StageWeights | None = None

    def __call__(
        self, coded: Coded, x: Tensor, rate_level: Tensor, step: int = 0, noise: NoiseFunction = uniform
    ) -> LossTerms:
        """The loss of `coded` for pictures x (B, 3, H, W) in [0, 1] at rate levels (B,); `step` is counted from 0.

        `noise` is for a correlation of noisy latents. Raises `UsageError` when the model has no scale to normalise by,
        or not the stages that are weighed, or thumbnails where D is not MSE.
        """
        if coded.thumbnail is not None and self.rates.distortion is not Distortion.MSE:
            raise UsageError("thumbnails are weighed by their MSE: train them with rates that mean MSE")
        share = rate_level / max(self.rates.count - 1, 1)
        lam = self.rates.low * (self.rates.high / self.rates.low) ** share
        middle = (self.rates.low * self.rates.high) ** 0.5
        pixels = x.shape[2] * x.shape[3]
        distortion = distorted(self.rates.distortion, coded.x_hat, x)
        rate = (self._weighed(coded, step) + coded.bits_z) / pixels
        small = 0.0 if coded.thumbnail is None else mse(coded.thumbnail, shrunk(x, coded.thumbnail))
        loss = ((lam / middle) ** -self.balance * (rate + lam * (distortion + small))).mean()
        if self.correlation is not None:
            loss = loss + self._correlated(coded, self.correlation, step, noise)
        with torch.no_grad():
            error = distortion if self.rates.distortion is Distortion.MSE else mse(coded.x_hat, x)
            return LossTerms(loss, coded.bits / pixels, distortion.detach(), error.detach())

    def _weighed(self, coded: Coded, step: int) -> Tensor:
        """Bits of y (B,), those of its stages weighed."""
        if self.stages is None:
            return coded.bits_y
        weights = self.stages.at(step)
        if len(weights) != len(coded.bits_y_stages):
            raise UsageError(f"{len(weights)} weights for a prior of {len(coded.bits_y_stages)} stages; mend [stages]")
        return torch.stack([w * bits for w, bits in zip(weights, coded.bits_y_stages, strict=True)]).sum(dim=0)

    @staticmethod
    def _correlated(coded: Coded, term: Decorrelation, step: int, noise: NoiseFunction) -> Tensor:
        if coded.latents is None:
            raise UsageError(
                "alpha needs a model with a scale; this one has none (factorized): leave [correlation] out"
            )
        return term.alpha_at(step) * correlation_loss(coded.latents, term.map, noise)
