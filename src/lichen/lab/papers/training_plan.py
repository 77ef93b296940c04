"""Every training that an experiment needs: its recipe, and where its weights come to lie."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lichen.errors import OutputExists
from lichen.image.files import write_atomically
from lichen.lab.models.checkpoint import load_checkpoint
from lichen.lab.models.config import Distortion
from lichen.lab.models.zoo import row
from lichen.lab.papers.protocol import MS_SSIM_CROP, Experiment, TrainingScale, Variant
from lichen.lab.training.state import STATE

Train = Callable[[Path, Path, Path], None]  # recipe, data, output: a run, resumed if there is one


@dataclass(frozen=True)
class Training:
    """One training: a variant at a lambda, its recipe as TOML, and the folder of its run."""

    variant: Variant
    lam: float
    recipe: str
    folder: Path

    @property
    def weights(self) -> Path:
        """The weights file that the run leaves."""
        return self.folder / f"{self.variant.model}.safetensors"


def plan(experiment: Experiment, scale: TrainingScale, output: Path) -> list[Training]:
    """Every training of an experiment. Raises `UnknownWeights` when this version lacks a model."""
    return [
        Training(variant, lam, recipe_of(variant, lam, scale), output / "runs" / _plain(variant.name) / f"{lam:g}")
        for variant in experiment.variants
        for lam in experiment.lambdas(variant, scale)
    ]


def _plain(name: str) -> str:
    return re.sub(r"[^\w.]+", "-", name.lower()).strip("-")


def recipe_of(variant: Variant, lam: float, scale: TrainingScale) -> str:
    """The training of a variant at a lambda, as `lichen train` reads it."""
    similar = variant.distortion is Distortion.MS_SSIM
    lines = [
        f'model = "{row(variant.model).name}"',
        f"steps = {scale.steps}",
        f"crop = [{max(scale.crop, MS_SSIM_CROP) if similar else scale.crop}]",
        f"batch = {scale.batch}",
        f"learning_rate = {scale.learning_rate}",
        f"lambdas = [{lam}]",
        f"warmup = {min(scale.warmup, scale.steps)}",
        f"ema = {scale.ema}",
        f'distortion = "{variant.distortion.value}"',
        f'quantiser = "{variant.quantiser.value}"',
        *([] if scale.halving else [f"cooldown = {scale.cooldown}"]),
    ]
    if scale.halving:
        halving = zip(("start", "every", "end"), scale.halving, strict=True)
        lines += ["", "[halving]", *(f"{name} = {step}" for name, step in halving)]
    term = variant.decorrelated
    if term:
        lines += ["", "[correlation]", f"alpha = {term.alpha}", "", "[correlation.map]"]
        lines += [f"window = {term.window}", f'mask = "{term.mask.value}"']
    if variant.stages:
        early, late = ([*weights] for weights in variant.stages)
        lines += ["", "[stages]", f"change = {scale.steps // 2}", f"early = {early}", f"late = {late}"]
    if variant.config:
        lines += ["", variant.config]
    return "\n".join(lines) + "\n"


def write_recipes(trainings: Sequence[Training]) -> None:
    """Leave each training's recipe in its folder."""
    for training in trainings:
        write_atomically(training.folder / "recipe.toml", training.recipe.encode(), overwrite=True)


def train_missing(
    trainings: Sequence[Training], scale: TrainingScale, data: Path, train: Train, say: Callable[[str], None]
) -> None:
    """Run those trainings that are not finished; `say` hears of each. Finished smoke runs keep no state to resume.

    Raises `OutputExists` when a folder holds a training by another recipe.
    """
    for training in trainings:
        _refuse_other_recipe(training)
    write_recipes(trainings)
    for number, training in enumerate(trainings, 1):
        if not _finished(training, scale):
            say(f"training {number} of {len(trainings)}: {training.variant.name}, lambda {training.lam:g}")
            train(training.folder / "recipe.toml", data, training.folder)
        if scale.meaningless and _finished(training, scale):  # nobody goes on with it, and it is the largest file
            (training.folder / STATE).unlink(missing_ok=True)


def _refuse_other_recipe(training: Training) -> None:
    """What a folder holds must be of this very training, apart from its length."""
    path = training.folder / "recipe.toml"
    if not path.is_file():
        return
    before, now = ({**tomllib.loads(text), "steps": 0} for text in (path.read_text(), training.recipe))
    if before != now:
        raise OutputExists(f"{training.folder} holds a training by another recipe; give another --output")


def _finished(training: Training, scale: TrainingScale) -> bool:
    return training.weights.is_file() and load_checkpoint(training.weights).facts["steps"] >= scale.steps
