"""A training as `lichen train` runs it: progress, checkpoints, validation by file bytes, a log."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from lichen.batch.runner import interruptible
from lichen.errors import TrainingDiverged, UsageError
from lichen.image.picture import Picture
from lichen.lab.engine.precision import native_bfloat16
from lichen.lab.training.data import Cache, Crops, open_pictures
from lichen.lab.training.log import Log, NullSink, StepMetrics, TensorBoard
from lichen.lab.training.loop import Trainer
from lichen.lab.training.processes import DistributedProcesses, SingleProcess, find_processes
from lichen.lab.training.recipe import Bfloat16, Recipe, load_recipe
from lichen.lab.training.schema import Change
from lichen.lab.training.state import refuse_others, resume_run, save_run, start_from, weights_of
from lichen.metrics import psnr_db
from lichen.runtime.allocator import keep_freed_memory

VALID_SECONDS = 900  # from one validation to the next
VALID_PICTURES = 8
VALID_QUALITIES = (15, 40, 65, 90)
LOG_SECONDS = 10  # between two writings of log.csv, and until the first checkpoint
STOP_SECONDS = 0.5  # after Ctrl-C, for the step at work to be between two updates


@dataclass(frozen=True)
class Run:
    """What is asked for beside the recipe: where data and results are, for how long, on what device.

    `changes` are values of the recipe, `key=value`; `steps`, `batch`, `crop` and `start` take the place of the
    recipe's, `lam` chooses one of its lambdas. Times are in minutes; `max_minutes` None is no limit.
    """

    recipe: Path
    data: Path
    output: Path
    valid: Path | None = None
    max_minutes: float | None = None
    steps: int | None = None
    batch: int | None = None
    crop: tuple[int, ...] = ()
    changes: tuple[str, ...] = ()
    lam: float | None = None
    start: Path | None = None
    cache: Cache = Cache.RAM
    device: str = "cpu"
    save_minutes: float = 2.0
    log_steps: int = 100
    tensorboard: bool = False

    def chosen(self) -> Recipe:
        """The recipe with what was chosen. Raises `BadRecipe`, `UsageError`."""
        given = {"steps": self.steps, "batch": self.batch, "crop": list(self.crop) or None}
        changes = [Change.of(text) for text in self.changes]
        changes += [Change((key,), value, f"--{key}") for key, value in given.items() if value is not None]
        recipe = load_recipe(self.recipe, changes).with_lambda(self.lam)
        recipe = dataclasses.replace(recipe, start=self.start or recipe.start)
        if recipe.start_with and recipe.start is None:
            raise UsageError("start_with are parts of weights to begin with: give these by start, or --start")
        return recipe


def _valid_line(weights: Path, pictures: list[Picture], device: str) -> str:
    """Mean bits per pixel of files, and mean PSNR, at a few qualities."""
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


class _Clock:
    """How long a training still takes, by its pace so far; saving and validating count too."""

    def __init__(self, step: int, steps: int, max_minutes: float) -> None:
        self._start, self._steps = time.monotonic(), steps
        self._stop = self._start + 60 * max_minutes
        self._since = self._start, step

    def left(self, step: int) -> str:
        """The time to the last step, or to the end of the minutes given if that is sooner; step > the first."""
        now, (begin, first) = time.monotonic(), self._since
        seconds = (self._steps - step) * (now - begin) / (step - first)
        return f"about {duration(max(min(seconds, self._stop - now), 0))} to go"

    def warm(self, step: int) -> None:
        """Measure the pace from here on: the first step takes longer than others."""
        self._since = time.monotonic(), step


def duration(seconds: float) -> str:
    """A time in the two units that matter: `40 s`, `12 min`, `3 h 10 min`, `2 d 4 h`."""
    minutes = round(seconds / 60)
    if seconds < 99:
        return f"{seconds:.0f} s"
    if minutes < 99:
        return f"{minutes} min"
    hours = round(minutes / 60)
    return f"{minutes // 60} h {minutes % 60} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


class _Session:
    """What the first process does around the steps of a training: progress, lines, checkpoints, validation."""

    def __init__(self, trainer: Trainer, log: Log, run: Run, console: Console) -> None:
        self.trainer, self.log, self.options = trainer, log, run
        self.checks = open_pictures(run.valid, VALID_PICTURES) if run.valid else []
        self.saved = self.validated = self.logged = time.monotonic()
        self.saved_step = self.first = trainer.step
        self.clock = _Clock(trainer.step, trainer.recipe.steps, _minutes(run))
        columns = (BarColumn(20), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
        self.progress = Progress(*columns, console=console)
        self.bar = self.progress.add_task("", total=trainer.recipe.steps, completed=trainer.step)

    def run(self) -> None:
        """Train in a thread of its own: Ctrl-C is felt at once, and no half step is saved then."""
        recipe, minutes = self.trainer.recipe, _minutes(self.options)
        with self.progress:
            try:
                interruptible(lambda report, stop: self.trainer.run(recipe.steps, minutes, self._report, stop))
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
        self.saved = self.logged = time.monotonic()
        self.saved_step = self.trainer.step

    def validate(self) -> None:
        if self.checks:
            weights = weights_of(self.trainer, self.options.output)
            self.progress.console.print(_valid_line(weights, self.checks, self.options.device))
            self.validated = time.monotonic()

    def _report(self, metrics: StepMetrics) -> None:
        self.progress.update(self.bar, completed=metrics.step, description=metrics.line())
        means, now = self.log.add(metrics), time.monotonic()
        if means:
            self.progress.console.print(f"step {means.step}: {means.line()}; {self.clock.left(means.step)}")
        check = bool(self.checks) and now - self.validated > VALID_SECONDS
        pause = 60 * self.options.save_minutes
        if check or now - self.saved > (pause if self.saved_step else min(pause, LOG_SECONDS)):
            self.save()
        elif means and now - self.logged > LOG_SECONDS:
            self.log.save()
            self.logged = now
        if check:
            self.validate()
        if metrics.step == self.first + 1:
            self.clock.warm(metrics.step)


def _minutes(run: Run) -> float:
    return math.inf if run.max_minutes is None else run.max_minutes


@contextlib.contextmanager
def _flushing_denormals() -> Iterator[None]:
    """Decaying parameters of a GDN can make matrix products several times slower; who calls keeps them as they were."""
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


@_flushing_denormals()
def train_session(run: Run, console: Console) -> None:
    """Train as asked, or resume the run in its output (`lichen train --help`). Raises `LichenError` of many kinds."""
    keep_freed_memory()
    recipe = run.chosen()
    processes = find_processes(run.device)
    console.quiet = console.quiet or processes.index > 0
    crops = Crops.of_folder(run.data, run.cache, processes.device)
    console.print(f"{crops.count} pictures, {crops.unreadable} unreadable")
    trainer = Trainer(recipe, crops, processes)
    if trainer.bfloat16 and processes.device.type == "cpu" and not native_bfloat16():
        console.print("this processor only emulates bfloat16: --set bfloat16=auto is faster")
    elif recipe.bfloat16 is Bfloat16.AUTO:
        console.print(f"transforms train in {'bfloat16' if trainer.bfloat16 else 'float32'}")
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
    _train(trainer, log, run, console, processes=processes)
    where = weights_of(trainer, run.output)
    console.print(f"{where} holds the weights of step {trainer.step}; give it to --weights", markup=False)


def _train(
    trainer: Trainer, log: Log, run: Run, console: Console, processes: SingleProcess | DistributedProcesses
) -> None:
    """The first process reports and saves; the others only train."""
    if processes.index > 0:
        trainer.run(trainer.recipe.steps, _minutes(run), lambda metrics: None)
    else:
        if run.tensorboard:
            log.sink = TensorBoard(run.output / "tensorboard", trainer.step)
        _Session(trainer, log, run, console).run()
    processes.finish()
