"""A training as a person runs it: progress, checkpoints, validation by file bytes, a log."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections import deque
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from lichen.codec import Codec
from lichen.engine import find_device
from lichen.errors import BadPicture
from lichen.evaluation.metrics import psnr_db
from lichen.files import write_atomically
from lichen.picture import Picture, open_picture
from lichen.training.data import Crops, list_pictures
from lichen.training.loop import Figures, Trainer
from lichen.training.recipe import load_recipe

SAVE_SECONDS = 120
VALID_SECONDS = 900
VALID_PICTURES = 8
VALID_QUALITIES = (15, 40, 65, 90)


class _Log:
    """Keeps the last steps' figures; prints and stores a line every hundred steps."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "log.csv"
        self.recent: deque[Figures] = deque(maxlen=100)
        self.lines = self.path.read_text().splitlines() if self.path.exists() else []
        names = [f.name for f in dataclasses.fields(Figures)]
        self.lines = self.lines or [",".join(names)]

    def add(self, figures: Figures) -> str | None:
        self.recent.append(figures)
        if figures.step % 100:
            return None
        means = {
            f.name: sum(getattr(g, f.name) for g in self.recent) / len(self.recent) for f in dataclasses.fields(Figures)
        }
        means["step"], means["skipped"] = figures.step, figures.skipped
        self.lines.append(",".join(f"{value:.5g}" for value in means.values()))
        return (
            f"step {figures.step}: loss {means['loss']:.4f}, estimated {means['estimated_bpp']:.3f} bpp, "
            f"{means['psnr_db']:.2f} dB, {means['steps_per_s']:.2f} steps/s, {figures.skipped} skipped"
        )

    def save(self) -> None:
        write_atomically(self.path, ("\n".join(self.lines) + "\n").encode(), overwrite=True)


def _valid_line(weights: Path, pictures: list[Picture], device: str) -> str:
    """Mean bits per pixel (of files) and PSNR at a few qualities, by the EMA weights."""
    codec = Codec(weights=weights, device=device)
    parts = []
    for quality in VALID_QUALITIES:
        bpp = psnr = 0.0
        for picture in pictures:
            data = codec.encode(picture, quality)
            height, width = picture.pixels.shape[:2]
            bpp += 8 * len(data) / (width * height) / len(pictures)
            psnr += psnr_db(codec.decode_picture(data).pixels, picture.pixels) / len(pictures)
        parts.append(f"q{quality} {bpp:.3f} bpp {psnr:.2f} dB")
    return "valid (files): " + ", ".join(parts)


def _readable(folder: Path) -> list[Picture]:
    """The first pictures of a folder that can be read."""
    found: list[Picture] = []
    for path in list_pictures(folder):
        with contextlib.suppress(BadPicture):
            found.append(open_picture(path))
        if len(found) == VALID_PICTURES:
            break
    return found


class _Session:
    """What happens around the steps of a training: bar, lines, checkpoints, validation."""

    def __init__(self, trainer: Trainer, checks: list[Picture], output: Path, device: str, console: Console) -> None:
        self.trainer, self.checks, self.output, self.device = trainer, checks, output, device
        self.weights = output / f"{trainer.recipe.model}.safetensors"
        self.log = _Log(output)
        self.saved = self.validated = time.monotonic()
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self.progress = Progress(*columns, console=console)
        self.bar = self.progress.add_task("training", total=trainer.recipe.steps, completed=trainer.step)

    def run(self, max_minutes: float) -> None:
        with self.progress:
            try:
                self.trainer.run(self.trainer.recipe.steps, max_minutes, self._report)
            finally:
                self.save()
        self.validate()

    def save(self) -> None:
        self.trainer.save(self.output)
        self.log.save()
        self.saved = time.monotonic()

    def validate(self) -> None:
        if self.checks:
            self.progress.console.print(_valid_line(self.weights, self.checks, self.device))
            self.validated = time.monotonic()

    def _report(self, figures: Figures) -> None:
        self.progress.update(self.bar, completed=figures.step)
        line, now = self.log.add(figures), time.monotonic()
        if line:
            self.progress.console.print(line)
        if now - self.saved > SAVE_SECONDS:
            self.save()
        if now - self.validated > VALID_SECONDS:
            self.save()
            self.validate()


def train_session(
    recipe_path: Path,
    data: Path,
    valid: Path | None,
    output: Path,
    max_minutes: float,
    steps: int | None,
    device: str,
    console: Console,
) -> None:
    """Train as the recipe says, or resume the run in `output`; see `lichen train --help`."""
    recipe = load_recipe(recipe_path)
    recipe = dataclasses.replace(recipe, steps=steps) if steps else recipe
    crops = Crops.of_folder(data)
    console.print(f"{len(crops.pictures)} pictures, {crops.unreadable} unreadable")
    checks = _readable(valid) if valid else []
    trainer = Trainer(recipe, crops, find_device(device))
    if trainer.resume(output):
        console.print(f"resumed at step {trainer.step}")
    session = _Session(trainer, checks, output, device, console)
    session.run(max_minutes)
    console.print(f"{session.weights} holds the weights of step {trainer.step}; give it to --weights")
