"""A training as a person runs it: progress, checkpoints, validation by file bytes, a log."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from lichen.batch.waiting import awaited
from lichen.errors import TrainingDiverged, UsageError
from lichen.image.picture import Picture
from lichen.lab.engine.precision import native_bfloat16
from lichen.lab.training.data import Cache, Crops, open_pictures
from lichen.lab.training.log import Log, NullSink, StepMetrics, TensorBoard
from lichen.lab.training.loop import Trainer
from lichen.lab.training.processes import DistributedProcesses, SingleProcess, find_processes
from lichen.lab.training.recipe import Recipe, load_recipe
from lichen.lab.training.state import refuse_others, resume_run, save_run, start_from, weights_of
from lichen.metrics import psnr_db
from lichen.runtime.memory import keep_freed_memory

VALID_SECONDS = 900
VALID_PICTURES = 8
VALID_QUALITIES = (15, 40, 65, 90)
STOP_SECONDS = 0.5  # after Ctrl-C, for the step at work to be between two updates


@dataclass(frozen=True)
class Run:
    """What is asked for beside the recipe: where the data are, where results go, how long, on what.

    `steps`, `lam` and `start` take the place of the recipe's.
    """

    recipe: Path
    data: Path
    output: Path
    valid: Path | None = None
    max_minutes: float = 1e9
    steps: int | None = None
    lam: float | None = None
    start: Path | None = None
    cache: Cache = Cache.RAM
    device: str = "cpu"
    save_minutes: float = 2.0
    log_steps: int = 100
    tensorboard: bool = False

    def chosen(self) -> Recipe:
        """The recipe with what was chosen. Raises `BadRecipe`, `UsageError`."""
        recipe = load_recipe(self.recipe).with_lambda(self.lam)
        recipe = dataclasses.replace(recipe, steps=self.steps or recipe.steps, start=self.start or recipe.start)
        if recipe.start_with and recipe.start is None:
            raise UsageError("start_with are parts of weights to begin with: give these by start, or --start")
        return recipe


def _valid_line(weights: Path, pictures: list[Picture], device: str) -> str:
    """Mean bits per pixel (of files) and PSNR at a few qualities, by the EMA weights."""
    from lichen.codec import Codec

    codec = Codec(weights=weights, device=device)
    one_rate = codec.checkpoint.config.rates.count == 1
    parts = []
    for quality in VALID_QUALITIES[-1:] if one_rate else VALID_QUALITIES:
        bpp = psnr = 0.0
        for picture in pictures:
            data = codec.encode(picture, quality)
            height, width = picture.pixels.shape[:2]
            bpp += 8 * len(data) / (width * height) / len(pictures)
            psnr += psnr_db(codec.decode_picture(data).pixels, picture.pixels) / len(pictures)
        parts.append(f"q{quality} {bpp:.3f} bpp {psnr:.2f} dB")
    return "valid (files): " + ", ".join(parts)


class _Session:
    """What the first process does around the steps of a training: bar, lines, checkpoints, validation."""

    def __init__(self, trainer: Trainer, log: Log, run: Run, console: Console) -> None:
        self.trainer, self.log, self.options = trainer, log, run
        self.checks = open_pictures(run.valid, VALID_PICTURES) if run.valid else []
        self.saved = self.validated = time.monotonic()
        self.saved_step = trainer.step
        columns = (BarColumn(20), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
        self.progress = Progress(*columns, console=console)
        self.bar = self.progress.add_task("", total=trainer.recipe.steps, completed=trainer.step)

    def run(self) -> None:
        """Train, in a thread of its own: Ctrl-C is felt at once, and what is saved then has no half a step."""
        recipe, minutes = self.trainer.recipe, self.options.max_minutes
        with self.progress:
            try:
                awaited(ThreadPoolExecutor(1).submit(self.trainer.run, recipe.steps, minutes, self._report))
            except KeyboardInterrupt:
                self._stop()
                raise
            except BaseException:
                with contextlib.suppress(TrainingDiverged):
                    self.save()
                raise
            self.save()
        self.validate()

    def _stop(self) -> None:
        if self.trainer.whole.acquire(timeout=STOP_SECONDS):  # and keep it: the other thread does no more
            self.save()
        self.progress.console.print(f"stopped: saved at step {self.saved_step}; the same command goes on", markup=False)

    def save(self) -> None:
        save_run(self.trainer, self.log, self.options.output)
        self.saved, self.saved_step = time.monotonic(), self.trainer.step

    def validate(self) -> None:
        if self.checks:
            weights = weights_of(self.trainer, self.options.output)
            self.progress.console.print(_valid_line(weights, self.checks, self.options.device))
            self.validated = time.monotonic()

    def _report(self, figures: StepMetrics) -> None:
        self.progress.update(self.bar, completed=figures.step, description=figures.line())
        means, now = self.log.add(figures), time.monotonic()
        if means:
            self.progress.console.print(f"step {means.step}: {means.line()}")
        if now - self.saved > 60 * self.options.save_minutes:
            self.save()
        if self.checks and now - self.validated > VALID_SECONDS:
            self.save()
            self.validate()


def train_session(run: Run, console: Console) -> None:
    """Train as asked, or resume the run in its output; see `lichen train --help`."""
    torch.set_flush_denormal(True)  # the decaying parameters of a GDN once made matrix products several times slower
    keep_freed_memory()
    recipe = run.chosen()
    processes = find_processes(run.device)
    console.quiet = console.quiet or processes.index > 0
    crops = Crops.of_folder(run.data, run.cache, processes.device)
    console.print(f"{crops.count} pictures, {crops.unreadable} unreadable")
    if recipe.bfloat16 and processes.device.type == "cpu" and not native_bfloat16():
        console.print("this processor only emulates bfloat16: bfloat16 = false in the recipe is faster here")
    trainer = Trainer(recipe, crops, processes)
    log = Log(run.output, run.log_steps, NullSink())
    refuse_others(trainer, log, run.output)
    if resume_run(trainer, log, run.output):
        console.print(f"resumed at step {trainer.step}" + (", with its own weights, not --start" if run.start else ""))
    elif recipe.start is not None:
        fresh = sorted({".".join(name.split(".")[:2]) for name in start_from(trainer, recipe.start)})
        said = f"started from {recipe.start}" + (f"; afresh: {', '.join(fresh)}" if fresh else "")
        console.print(said, markup=False)
    if not processes.agree(trainer.digest()):
        raise UsageError("the processes begin with different weights: let all see the same --output and --start")
    _train(trainer, log, run, console, processes)
    where = weights_of(trainer, run.output)
    console.print(f"{where} holds the weights of step {trainer.step}; give it to --weights", markup=False)


def _train(
    trainer: Trainer, log: Log, run: Run, console: Console, processes: SingleProcess | DistributedProcesses
) -> None:
    """The first process reports and saves; the others only train."""
    if processes.index > 0:
        trainer.run(trainer.recipe.steps, run.max_minutes, lambda figures: None)
    else:
        if run.tensorboard:
            log.sink = TensorBoard(run.output / "tensorboard", trainer.step)
        _Session(trainer, log, run, console).run()
    processes.finish()
