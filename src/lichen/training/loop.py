"""The trainer: one loop for every model, on a CPU or a GPU, that can be killed at any step."""

from __future__ import annotations

import copy
import dataclasses
import io
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lichen.coding.noise import Noise
from lichen.errors import BadCheckpoint, TrainingDiverged
from lichen.files import write_atomically
from lichen.losses.distortion import psnr_db
from lichen.losses.objective import Terms
from lichen.models.checkpoint import save_checkpoint
from lichen.models.model import Model
from lichen.training.data import Crops
from lichen.training.recipe import Quantiser, Recipe
from lichen.training.schema import plain

BAD_STEPS_MAX = 50  # in a row, then the training stops


@dataclass(frozen=True)
class Figures:
    """What a step reports: smoothed means of the last steps."""

    step: int
    loss: float
    estimated_bpp: float
    psnr_db: float
    skipped: int
    steps_per_s: float


class Trainer:
    """A training and its state: model, its moving average (EMA), optimiser, step.

    Data order and noise are pure functions of (seed, step), so a resumed run repeats the very same
    steps as an uninterrupted one.
    """

    def __init__(self, recipe: Recipe, crops: Crops, device: torch.device) -> None:
        self.recipe, self.crops, self.device = recipe, crops, device
        torch.manual_seed(recipe.seed)
        self.config = recipe.model_config()
        built = self.config.build()
        self.model: Model = built.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.ema: Model = copy.deepcopy(self.model).requires_grad_(False)
        self.objective = recipe.objective()
        blocks = [p for name, p in self.model.named_parameters() if ".linear." in name]
        others = [p for name, p in self.model.named_parameters() if ".linear." not in name]
        groups = [{"params": others, "scale": 1.0}, {"params": blocks, "scale": recipe.block_rate}]
        self.optimiser = torch.optim.Adam(groups, lr=recipe.learning_rate, fused=device.type == "cuda")
        self.step, self.skipped, self._bad_in_a_row, self.seconds = 0, 0, 0, 0.0

    def run(self, until: int, max_minutes: float, report: Callable[[Figures], None]) -> None:
        """Train to step `until`, or for so many minutes; calls `report` after each step."""
        start = time.monotonic()
        while self.step < until and time.monotonic() - start < 60 * max_minutes:
            began = time.perf_counter()
            terms = self._train_step()
            seconds = time.perf_counter() - began
            self.seconds += seconds
            report(
                Figures(
                    self.step,
                    float(terms.loss),
                    float(terms.estimated_bpp.mean()),
                    float(psnr_db(terms.mse).mean()),
                    self.skipped,
                    1 / seconds,
                )
            )

    def _train_step(self) -> Terms:
        recipe = self.recipe
        torch.manual_seed(recipe.seed * 1_000_003 + self.step)
        side = recipe.crop[self.step % len(recipe.crop)]
        x = self.crops.batch(recipe.seed, self.step, recipe.batch, side).to(self.device)
        x = x.contiguous(memory_format=torch.channels_last)
        level = self._levels()
        seeds = [self._seed(i) for i in range(len(x))]
        noise = Noise(seeds, self.device, recipe.quantiser is Quantiser.NOISE)
        for group in self.optimiser.param_groups:
            group["lr"] = group["scale"] * recipe.rate_at(self.step)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=recipe.bfloat16):
            coded = self.model(x, level, noise)
        terms = self.objective(coded, x, level, self.step, noise)
        terms.loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), recipe.clip)
        if math.isfinite(float(norm)) and math.isfinite(float(terms.loss.detach())):
            self.optimiser.step()
            self._average()
            self._bad_in_a_row = 0
        else:
            self.skipped += 1
            self._bad_in_a_row += 1
            if self._bad_in_a_row > BAD_STEPS_MAX:
                raise TrainingDiverged(f"{BAD_STEPS_MAX} steps in a row were not finite; lower learning_rate")
        self.optimiser.zero_grad(set_to_none=True)
        self.step += 1
        return dataclasses.replace(terms, loss=terms.loss.detach())

    def _seed(self, picture: int) -> int:
        """Of the noise of a picture of this step's batch."""
        return ((self.recipe.seed * 1_000_003 + self.step) * 1_000_003 + picture) % 2**63

    def _levels(self) -> Tensor:
        """One level for each picture, spread evenly over all rates within each batch."""
        count, last = self.recipe.batch, self.config.rates.count - 1
        strata = (torch.randperm(count) + torch.rand(count)) / count
        return (strata * last).to(self.device)

    @torch.no_grad()
    def _average(self) -> None:
        """EMA, with a shorter memory at the start so that the first steps do not linger."""
        decay = min(self.recipe.ema, (1 + self.step) / (10 + self.step))
        mine: list[Tensor] = list(self.model.parameters())
        theirs: list[Tensor] = list(self.ema.parameters())
        torch._foreach_lerp_(theirs, mine, 1 - decay)

    def state(self) -> dict[str, Any]:
        """Everything that a resumed training needs."""
        return {
            "recipe": plain(self.recipe),
            "model": self.model.state_dict(),
            "ema": self.ema.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "counts": [self.step, self.skipped, self.seconds],
        }

    def save(self, folder: Path) -> None:
        """Write `state.pt` (to resume) and `NAME.safetensors` (the EMA, to use) into `folder`."""
        buffer = io.BytesIO()
        torch.save(self.state(), buffer)
        write_atomically(folder / "state.pt", buffer.getvalue(), overwrite=True)
        name = self.recipe.model
        save_checkpoint(folder / f"{name}.safetensors", name, self.config, self.ema.state_dict(), self.facts())

    def facts(self) -> dict[str, Any]:
        """What a checkpoint says of its training."""
        return {
            "recipe": plain(self.recipe),
            "steps": self.step,
            "training_hours": round(self.seconds / 3600, 2),
            "device": self.device.type,
            "pictures": len(self.crops.pictures),
        }

    def resume(self, folder: Path) -> bool:
        """Take up the state in `folder`, if there is one. Raises `BadCheckpoint` for another model's."""
        path = folder / "state.pt"
        if not path.exists():
            return False
        state = torch.load(path, map_location=self.device, weights_only=True)
        if state["recipe"]["model"] != self.recipe.model:
            raise BadCheckpoint(f"{path} is of model {state['recipe']['model']!r}; use another --output")
        try:
            self.model.load_state_dict(state["model"])
            self.ema.load_state_dict(state["ema"])
            self.optimiser.load_state_dict(state["optimiser"])
        except (RuntimeError, ValueError) as error:
            raise BadCheckpoint(f"{path} does not fit this version's model; use another --output") from error
        self.step, self.skipped, self.seconds = state["counts"]
        return True
