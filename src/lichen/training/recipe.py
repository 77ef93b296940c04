"""Recipes: one TOML file a training. Unknown keys are refused, with the nearest valid one named."""

from __future__ import annotations

import dataclasses
import difflib
import math
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lichen.errors import BadRecipe, UnknownWeights
from lichen.models.zoo import row


@dataclass(frozen=True)
class Recipe:
    """All that decides a training, apart from the data.

    The learning rate warms up, stays, and falls along a cosine over the last `cooldown` share of the
    steps. `block_rate` scales it for the block transform (the layers named `linear`), whose start is
    already good: jitter there shows as noise at high rates. `balance` is that of `losses.objective`.
    `bfloat16` autocasts the transforms.
    """

    model: str
    steps: int
    crop: int = 128
    batch: int = 8
    learning_rate: float = 5e-4
    block_rate: float = 0.1
    warmup: int = 200
    cooldown: float = 0.3
    ema: float = 0.999
    clip: float = 1.0
    balance: float = 0.5
    seed: int = 1
    bfloat16: bool = False

    def rate_at(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        start = self.steps * (1 - self.cooldown)
        if step >= start:
            share = (step - start) / max(self.steps - start, 1)
            return self.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(share, 1))))
        return self.learning_rate * min((step + 1) / max(self.warmup, 1), 1)


def _check(path: Path, data: dict[str, Any]) -> None:
    fields = {f.name: f for f in dataclasses.fields(Recipe)}
    for key, value in data.items():
        if key not in fields:
            near = difflib.get_close_matches(key, fields, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; there are: {', '.join(fields)}"
            raise BadRecipe(f"{path}: unknown key {key!r}{hint}")
        wanted = {"int": int, "float": (int, float), "str": str, "bool": bool}[str(fields[key].type)]
        if not isinstance(value, wanted) or (isinstance(value, bool) and wanted is not bool):  # type: ignore[arg-type]
            raise BadRecipe(f"{path}: {key} must be of type {fields[key].type}, not {value!r}")
    for key in ("model", "steps"):
        if key not in data:
            raise BadRecipe(f"{path}: {key!r} is missing")


def load_recipe(path: Path) -> Recipe:
    """Read and check a recipe. Raises `BadRecipe`."""
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadRecipe(f"{path}: cannot be read ({error.strerror})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadRecipe(f"{path}: not valid TOML ({error})") from error
    _check(path, data)
    recipe = Recipe(**data)
    for key in ("steps", "crop", "batch", "warmup"):
        if getattr(recipe, key) < 1:
            raise BadRecipe(f"{path}: {key} must be at least 1")
    if recipe.crop % 64:
        raise BadRecipe(f"{path}: crop must be a multiple of 64 pixels, not {recipe.crop}")
    if not 0 <= recipe.cooldown <= 1 or not 0 <= recipe.ema < 1 or recipe.learning_rate <= 0:
        raise BadRecipe(f"{path}: cooldown and ema lie in [0, 1], learning_rate is positive")
    try:
        row(recipe.model)
    except UnknownWeights as error:
        raise BadRecipe(f"{path}: {error}") from error
    return recipe
