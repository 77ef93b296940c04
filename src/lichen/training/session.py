"""A training as a person runs it: progress, checkpoints, validation by file bytes, a log."""

from __future__ import annotations

import dataclasses
import time
from collections import deque
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from lichen.codec import Codec, _device
from lichen.errors import LichenError
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
    checks = [open_picture(p) for p in list_pictures(valid)[:VALID_PICTURES]] if valid else []
    trainer = Trainer(recipe, crops, _device(device))
    if trainer.resume(output):
        console.print(f"resumed at step {trainer.step}")
    log, weights = _Log(output), output / f"{recipe.model}.safetensors"
    saved = validated = time.monotonic()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("training", total=recipe.steps, completed=trainer.step)

        def report(figures: Figures) -> None:
            nonlocal saved, validated
            progress.update(bar, completed=figures.step)
            line, now = log.add(figures), time.monotonic()
            if line:
                progress.console.print(line)
            if now - saved > SAVE_SECONDS:
                trainer.save(output)
                log.save()
                saved = now
            if checks and now - validated > VALID_SECONDS:
                trainer.save(output)
                progress.console.print(_valid_line(weights, checks, device))
                validated = time.monotonic()

        try:
            trainer.run(recipe.steps, max_minutes, report)
        finally:
            trainer.save(output)
            log.save()
    if checks:
        console.print(_valid_line(weights, checks, device))
    console.print(f"{weights} holds the weights of step {trainer.step}; give it to --weights")
    if trainer.step == 0:
        raise LichenError("no step was made; give more --max-minutes")
