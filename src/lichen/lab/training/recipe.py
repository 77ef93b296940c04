"""Recipes: one TOML file a training, checked by the types below (`training.schema`)."""

from __future__ import annotations

import dataclasses
import enum
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lichen.errors import UnknownWeights, UsageError
from lichen.lab.losses.correlation import Estimate
from lichen.lab.losses.distortion import MS_SSIM_SIDE_MIN
from lichen.lab.losses.objective import Decorrelation, Objective, StageWeights
from lichen.lab.models.checkpoint import Unfilled
from lichen.lab.models.config import Distortion, ModelConfig, MsSsimRates, OneMsSsimRate, OneRate
from lichen.lab.models.prior_configs import FactorizedContext
from lichen.lab.models.zoo import row
from lichen.lab.training.schema import InvalidEntry, load_toml, located, override, read


class Quantiser(enum.Enum):
    """What stands in for rounding in training."""

    MIXED = "mixed"  # noise for the rate, straight-through for the synthesis (Minnen & Singh 2020)
    NOISE = "noise"  # noise for both (Balle 2017)
    ROUNDED_SCALES = "rounded-scales"  # as mixed, but a scale learns from rounded latents, as files have them


@dataclass(frozen=True)
class Halving:
    """The learning rate is halved at step `start`, then every `every` steps before step `end`."""

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
    """All that decides a training, apart from the data.

    `crop` are sides in pixels: each step takes one of them. `lambdas` is a set of models with one rate each,
    of which a training makes one (`--lambda`); without it the rates are those of the row's config, and
    `balance` weighs them (`losses.objective`). `distortion` is what lambda weighs; for MS-SSIM the row's rates become
    those of its kind. `config` overrides parts of the row's config.

    The learning rate warms up, stays, and falls along a cosine over the last `cooldown` share of the steps,
    or by `halving` instead. `block_rate` scales it for the default model's block transform, whose start is
    already good: jitter there shows as noise at high rates. `clip` bounds the gradient's norm, `ema` is the
    moving average's memory. `start` are weights to begin with, or only their parts `start_with` (`analysis`,
    `prior.synthesis` ...), for another model around a trained transform. With `only` (`thumbnail`, `prior.context` ...)
    those parts of the model learn and the others stay as they are. `bfloat16` autocasts the transforms.
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
    bfloat16: bool = False
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
        if self.batch < 2 and self.correlation is not None and self.correlation.map.estimate is Estimate.UNBIASED:
            raise UsageError("batch must be at least 2 for map.estimate = 'unbiased'")
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
        """The side of a step's crops: its `crop`, or one of them in turn."""
        return self.crop[step % len(self.crop)]

    def shared_by(self, processes: int) -> int:
        """How many pictures of a batch each process takes. Raises `UsageError`."""
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
        """What is minimised."""
        return Objective(self.model_config().rates, self.balance, self.correlation, self.stages)


def load_recipe(path: Path) -> Recipe:
    """Read and check a recipe; `start` is relative to it. Raises `BadRecipe`, with the line."""
    text, data = load_toml(path)
    try:
        recipe = read(Recipe, data)
        if "halving" in data and "cooldown" in data:
            raise InvalidEntry(("cooldown",), "cooldown and [halving] exclude each other; leave one out")
        if recipe.lambdas and "balance" in data:
            raise InvalidEntry(("balance",), "balance is for many rates at once; leave it or lambdas out")
        _check_model(recipe)
    except InvalidEntry as wrong:
        raise located(path, text, wrong) from wrong
    if recipe.start is not None:
        recipe = dataclasses.replace(recipe, start=path.parent / recipe.start)
    return recipe


def _check_model(recipe: Recipe) -> None:
    """The row exists, takes the overrides, and is a network with them. Raises `InvalidEntry`."""
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
