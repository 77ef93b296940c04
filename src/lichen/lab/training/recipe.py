"""Recipes: all that decides a training apart from its data, one TOML file each, checked by the types below.

`lichen train --explain` prints every key with its default; what it says of a key is in the docstrings below.
"""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from lichen.errors import UnknownWeights, UsageError
from lichen.lab.engine.precision import native_bfloat16
from lichen.lab.losses.correlation import Correlation, Estimate
from lichen.lab.losses.distortion import MS_SSIM_SIDE_MIN
from lichen.lab.losses.objective import Decorrelation, Objective, StageWeights
from lichen.lab.models.checkpoint import Unfilled
from lichen.lab.models.config import Distortion, ModelConfig, MsSsimRates, OneMsSsimRate, OneRate
from lichen.lab.models.prior_configs import FactorizedContext
from lichen.lab.models.zoo import row
from lichen.lab.training.schema import Change, InvalidEntry, load_toml, located, override, read


class Quantiser(enum.Enum):
    """What stands in for rounding in training."""

    MIXED = "mixed"  # noise for the rate, straight-through for the synthesis (Minnen & Singh 2020)
    NOISE = "noise"  # uniform noise for both (Balle 2017; Ali 2023, section 3.1)
    ROUNDED_SCALES = "rounded-scales"  # as mixed, but scales learn from rounded latents, as files have them


class Bfloat16(enum.Enum):
    """Whether transforms train in bfloat16 under autocast; prior and losses never do."""

    OFF = False
    ON = True
    AUTO = "auto"  # where the processor or the GPU multiplies in it

    def used_on(self, device: torch.device) -> bool:
        """Whether it is used on a device."""
        if self is not Bfloat16.AUTO:
            return self is Bfloat16.ON
        if device.type == "cuda":
            return bool(torch.cuda.is_bf16_supported(including_emulation=False))
        return native_bfloat16()


@dataclass(frozen=True)
class Halving:
    """A learning rate that is halved again and again (Ali 2023, section 4.1). Raises `UsageError`.

    start: the step of the first halving.
    every: steps from one halving to the next.
    end: the step from which it is halved no more.
    """

    start: int
    every: int
    end: int

    def __post_init__(self) -> None:
        if self.every < 1:
            raise UsageError("every must be at least 1")
        if self.end < self.start:
            raise UsageError("end must not be before start")

    def factor(self, step: int) -> float:
        """What the learning rate is multiplied by at a step, counted from 0."""
        if step < self.start:
            return 1.0
        return float(0.5 ** (1 + (min(step, self.end - 1) - self.start) // self.every))


@dataclass(frozen=True)
class Recipe:
    """A training: model, length, crops, learning rate, losses. Raises `UsageError` for values out of range.

    The learning rate warms up, stays, and falls along a cosine over the last steps, or is halved instead. Clipped
    gradients, and crops that are mirrored (half of them) and transposed (a quarter), are not in the papers.

    model: the row of the zoo that is trained (`lichen models` lists them).
    steps: how many training steps.
    crop: the side of the square crops in pixels, a multiple of 64; of several, each step takes one in turn.
    batch: crops of a step, over all processes.
    learning_rate: of Adam, at its highest.
    block_rate: what it is multiplied by for the block transform of the default model, whose start is good already.
    warmup: steps over which the learning rate rises.
    cooldown: share of the steps, at the end, over which it falls along a cosine to a hundredth.
    halving: a table: halve the learning rate at given steps, in place of the cooldown.
    ema: memory of the moving average of the weights, which is what is saved for use; 0 saves the weights themselves.
    clip: the largest norm of the gradient; a larger gradient is scaled down to it.
    balance: for many rates at once: rates weigh (lambda / lambda_mid)^-balance; at 0.5 about equally in relative terms.
    lambdas: weights of the distortion, for models of one rate each; a training makes one of them (`--lambda`). Without
        them the rates are those of the row, many at once.
    distortion: what lambda weighs: mse (in units of 1/255) or ms-ssim (1 - MS-SSIM).
    quantiser: what stands in for rounding: mixed (noise for the rate, straight-through for the synthesis), noise (for
        both), or rounded-scales (as mixed, but scales learn from rounded latents).
    correlation: a table: the correlation loss.
    stages: a table: weights of the rates of a prior's stages (Global Reference).
    start: weights to begin with, relative to the recipe; `--start` takes its place.
    start_with: the parts of these weights to begin with, such as ["analysis", "prior.synthesis"]; all if empty.
    only: the parts of the model that learn, such as ["thumbnail", "prior.context"]; all if empty.
    seed: of the start, crops, noise and rates; another seed sees other crops.
    bfloat16: transforms in bfloat16: true, false, or "auto" where the processor or the GPU multiplies in it.
    config: a table: changes to the row's config, at any depth; `kind` names another class of a part.
    """

    model: str
    steps: int
    crop: tuple[int, ...] = (128,)
    batch: int = 8
    learning_rate: float = 5e-4
    block_rate: float = 0.1
    warmup: int = 200
    cooldown: float = 0.3
    halving: Halving | None = None
    ema: float = 0.999
    clip: float = 1.0
    balance: float = 0.5
    lambdas: tuple[float, ...] = ()
    distortion: Distortion = Distortion.MSE
    quantiser: Quantiser = Quantiser.MIXED
    correlation: Decorrelation | None = None
    stages: StageWeights | None = None
    start: Path | None = None
    start_with: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    seed: int = 1
    bfloat16: Bfloat16 = Bfloat16.OFF
    config: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for key in ("steps", "batch", "warmup"):
            if getattr(self, key) < 1:
                raise UsageError(f"{key} must be at least 1")
        for key in ("learning_rate", "clip"):
            if not 0 < getattr(self, key) < math.inf:
                raise UsageError(f"{key} must be positive")
        if not self.crop or any(side < 1 or side % 64 for side in self.crop):
            raise UsageError(f"crop must be a multiple of 64 pixels, or several, not {list(self.crop)}")
        if self.distortion is Distortion.MS_SSIM and min(self.crop) < MS_SSIM_SIDE_MIN:
            raise UsageError(f"crop must be at least 192 pixels for MS-SSIM, not {min(self.crop)}")
        for key in ("block_rate", "balance", "seed"):
            if not 0 <= getattr(self, key) < math.inf:
                raise UsageError(f"{key} must not be negative, and finite")
        if not 0 <= self.cooldown <= 1:
            raise UsageError("cooldown must lie in [0, 1]")
        if not 0 <= self.ema < 1:
            raise UsageError("ema must lie in [0, 1)")
        how = self.correlation.map if self.correlation is not None else Correlation()
        if self.batch < 2 and (how.estimate is Estimate.UNBIASED or how.across_pictures):
            raise UsageError("batch must be at least 2 for map.estimate = 'unbiased' and for map.across_pictures")
        if any(not 0 < lam < math.inf for lam in self.lambdas):
            raise UsageError("lambdas must be positive")

    def rate_at(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        warm = self.learning_rate * min((step + 1) / self.warmup, 1)
        if self.halving is not None:
            return warm * self.halving.factor(step)
        start = self.steps * (1 - self.cooldown)
        if step >= start:
            share = (step - start) / max(self.steps - start, 1)
            return self.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(share, 1))))
        return warm

    def crop_at(self, step: int) -> int:
        """The side of a step's crops in pixels: of several, each step takes one in turn."""
        return self.crop[step % len(self.crop)]

    def shared_by(self, processes: int) -> int:
        """The pictures of a batch that each process takes. Raises `UsageError` where they cannot be equal."""
        if self.batch % processes:
            raise UsageError(f"a batch of {self.batch} cannot be shared evenly by {processes} processes; change batch")
        return self.batch // processes

    def with_lambda(self, lam: float | None) -> Recipe:
        """The recipe of one of its models: `lam` out of `lambdas`, None without a choice. Raises `UsageError`."""
        listed = ", ".join(f"{value:g}" for value in self.lambdas)
        if lam is None and len(self.lambdas) > 1:
            raise UsageError(f"this recipe is for one of several models: choose with --lambda, out of {listed}")
        if lam is not None and lam not in self.lambdas:
            raise UsageError(f"no lambda {lam:g} in this recipe; there are: {listed or 'none, it trains many at once'}")
        return self if lam is None else dataclasses.replace(self, lambdas=(lam,))

    def model_config(self) -> ModelConfig:
        """The row's config with this recipe's changes. Raises `InvalidEntry`."""
        config, similar = row(self.model).config, self.distortion is Distortion.MS_SSIM
        if similar:
            config = dataclasses.replace(config, rates=MsSsimRates() if config.rates.count > 1 else OneMsSsimRate())
        config = override(config, self.config, ("config",))
        if self.lambdas:
            one = OneMsSsimRate if similar else OneRate
            config = dataclasses.replace(config, rates=one(self.lambdas[0]))
        if config.rates.distortion is not self.distortion:
            text = f"these rates are for {config.rates.distortion.value}, not {self.distortion.value}: mend distortion"
            raise InvalidEntry(("config", "rates", "kind"), text)
        return config

    def objective(self) -> Objective:
        """The loss that is minimised."""
        return Objective(self.model_config().rates, self.balance, self.correlation, self.stages)


def load_recipe(path: Path, changes: Sequence[Change] = ()) -> Recipe:
    """Read and check a recipe, with some values changed; `start` is relative to it. Raises `BadRecipe`, with a line."""
    text, data = load_toml(path)
    try:
        for change in changes:
            change.apply(data)
        recipe = read(Recipe, data)
        if "halving" in data and "cooldown" in data:
            raise InvalidEntry(("cooldown",), "cooldown and [halving] exclude each other; leave one out")
        if recipe.lambdas and "balance" in data:
            raise InvalidEntry(("balance",), "balance is for many rates at once; leave it or lambdas out")
        _check_model(recipe)
    except InvalidEntry as wrong:
        raise located(path, text, wrong, changes) from wrong
    if recipe.start is not None:
        recipe = dataclasses.replace(recipe, start=path.parent / recipe.start)
    return recipe


def _check_model(recipe: Recipe) -> None:
    """Check that the row exists, takes the changes, and can be built with them. Raises `InvalidEntry`."""
    try:
        config = recipe.model_config()
    except UnknownWeights as error:
        raise InvalidEntry(("model",), str(error)) from error
    if recipe.correlation is not None and isinstance(config.context, FactorizedContext):
        text = f"alpha needs a model with a scale, and {recipe.model!r} has none; leave [correlation] out"
        raise InvalidEntry(("correlation", "alpha"), text)
    try:
        with Unfilled():
            config.build()
    except (UsageError, ArithmeticError, IndexError, RuntimeError, TypeError, ValueError) as error:
        raise InvalidEntry(("config",), f"no model can be built with this [config]: {error}") from error
