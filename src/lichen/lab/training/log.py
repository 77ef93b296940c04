"""The log of a training: metrics of each step, and their means in a CSV file and for TensorBoard."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from lichen.errors import UsageError
from lichen.extras import missing
from lichen.image.files import write_atomically


@dataclass(frozen=True)
class StepMetrics:
    """The metrics of a step, over the whole batch: estimates, not file sizes.

    `correlation` is the mean of |C| of the 3 x 3 correlation map without its centre, nan for models without a scale;
    `skipped` is how many steps were skipped so far.
    """

    step: int
    loss: float
    estimated_bpp: float
    psnr_db: float
    correlation: float
    skipped: int
    images_per_s: float

    def line(self) -> str:
        """One line of text."""
        return (
            f"loss {self.loss:.4f}, estimated {self.estimated_bpp:.3f} bpp, {self.psnr_db:.2f} dB, "
            f"correlation {self.correlation:.4f}, {self.images_per_s:.1f} images/s, {self.skipped} skipped"
        )


NAMES = tuple(f.name for f in dataclasses.fields(StepMetrics))
EARLY = (1, 3, 10, 30)  # steps with a line of their own, so that a slow training shows something soon
_MEANS = tuple(name for name in NAMES if name not in {"step", "skipped"})


class Sink(Protocol):
    """Where means go beside the CSV file."""

    def write(self, metrics: StepMetrics) -> None:
        """Take in one step's figures."""
        ...


class NullSink:
    """A sink that drops everything."""

    def write(self, metrics: StepMetrics) -> None:
        return


class TensorBoard:
    """Events for TensorBoard in a folder; those after `step` are withdrawn, for a run that is resumed.

    Raises `UsageError` without TensorBoard.
    """

    def __init__(self, folder: Path, step: int) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise UsageError(missing("tensorboard")) from error
        self._writer: Any = SummaryWriter(str(folder), purge_step=step + 1)

    def write(self, metrics: StepMetrics) -> None:
        for name in NAMES[1:]:
            self._writer.add_scalar(f"train/{name}", getattr(metrics, name), metrics.step)
        self._writer.flush()


class Log:
    """`log.csv` of a run: a line of means every `every` steps, and a few before the first of these.

    The sums since the last line belong to the run's state, so that a resumed run writes the same lines.
    """

    def __init__(self, folder: Path, every: int, sink: Sink) -> None:
        self.path, self.every, self.sink = folder / "log.csv", every, sink
        self.lines: list[str] = []
        self._sums = dict.fromkeys(_MEANS, 0.0)
        self._count = 0

    def add(self, metrics: StepMetrics) -> StepMetrics | None:
        """Add a step; returns the means since the last line when a line is due."""
        for name in _MEANS:
            self._sums[name] += getattr(metrics, name)
        self._count += 1
        if metrics.step % self.every and not (metrics.step in EARLY and metrics.step < self.every):
            return None
        averages: dict[str, Any] = {name: total / self._count for name, total in self._sums.items()}
        means = dataclasses.replace(metrics, **averages)
        values = [getattr(means, name) for name in NAMES]
        self.lines.append(",".join(str(v) if isinstance(v, int) else f"{v:.6g}" for v in values))
        self.sink.write(means)
        self._sums, self._count = dict.fromkeys(_MEANS, 0.0), 0
        return means

    def save(self) -> None:
        """Write the file, whole."""
        write_atomically(self.path, ("\n".join([",".join(NAMES), *self.lines]) + "\n").encode(), overwrite=True)

    def state(self) -> list[float]:
        """The state for a checkpoint: the sums since the last line."""
        return [self._count, *self._sums.values()]

    def restore(self, state: list[float], step: int, lines: list[str]) -> None:
        """Go on with the file of a run that is at `step`, or with `lines` if there is none; later lines are dropped."""
        count, *sums = state
        self._count, self._sums = int(count), dict(zip(_MEANS, sums, strict=True))
        stored = self.path.read_text().splitlines()[1:] if self.path.exists() else lines
        self.lines = [line for line in stored if int(line.split(",", 1)[0]) <= step]
