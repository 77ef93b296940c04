"""What a training says of itself: figures of each step, their means in a CSV file and for TensorBoard."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from lichen.errors import UsageError
from lichen.image.files import write_atomically


@dataclass(frozen=True)
class StepMetrics:
    """What a step reports, of the whole batch.

    `correlation` is the mean of |C| of the 3 x 3 correlation map without its centre, nan for models
    without a scale; `skipped` counts steps so far.
    """

    step: int
    loss: float
    estimated_bpp: float
    psnr_db: float
    correlation: float
    skipped: int
    images_per_s: float

    def line(self) -> str:
        """For people."""
        return (
            f"loss {self.loss:.4f}, estimated {self.estimated_bpp:.3f} bpp, {self.psnr_db:.2f} dB, "
            f"correlation {self.correlation:.4f}, {self.images_per_s:.1f} images/s, {self.skipped} skipped"
        )


NAMES = tuple(f.name for f in dataclasses.fields(StepMetrics))
_MEANS = tuple(name for name in NAMES if name not in {"step", "skipped"})


class Sink(Protocol):
    """Where mean figures go beside the CSV file."""

    def write(self, figures: StepMetrics) -> None: ...


class NullSink:
    """No further log."""

    def write(self, figures: StepMetrics) -> None:
        return


class TensorBoard:
    """Events for TensorBoard in a folder; those after `step` are taken back, when a run is resumed."""

    def __init__(self, folder: Path, step: int) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise UsageError("TensorBoard is not installed: pip install 'lichen[train]'") from error
        self._writer: Any = SummaryWriter(str(folder), purge_step=step + 1)

    def write(self, figures: StepMetrics) -> None:
        for name in NAMES[1:]:
            self._writer.add_scalar(f"train/{name}", getattr(figures, name), figures.step)
        self._writer.flush()


class Log:
    """`log.csv` of a run: a line of mean figures every `every` steps.

    The sums since the last line belong to the run's state, so that a resumed run writes the same lines.
    """

    def __init__(self, folder: Path, every: int, sink: Sink) -> None:
        self.path, self.every, self.sink = folder / "log.csv", every, sink
        self.lines: list[str] = []
        self._sums = dict.fromkeys(_MEANS, 0.0)
        self._count = 0

    def add(self, figures: StepMetrics) -> StepMetrics | None:
        """Take in a step; gives the means when a line is due."""
        for name in _MEANS:
            self._sums[name] += getattr(figures, name)
        self._count += 1
        if figures.step % self.every:
            return None
        averages: dict[str, Any] = {name: total / self._count for name, total in self._sums.items()}
        means = dataclasses.replace(figures, **averages)
        values = [getattr(means, name) for name in NAMES]
        self.lines.append(",".join(str(v) if isinstance(v, int) else f"{v:.6g}" for v in values))
        self.sink.write(means)
        self._sums, self._count = dict.fromkeys(_MEANS, 0.0), 0
        return means

    def save(self) -> None:
        """Write the file, whole."""
        write_atomically(self.path, ("\n".join([",".join(NAMES), *self.lines]) + "\n").encode(), overwrite=True)

    def state(self) -> list[float]:
        """For a checkpoint: the sums since the last line."""
        return [self._count, *self._sums.values()]

    def restore(self, state: list[float], step: int) -> None:
        """Take up the file of a run that is at `step`; lines after it are dropped."""
        count, *sums = state
        self._count, self._sums = int(count), dict(zip(_MEANS, sums, strict=True))
        stored = self.path.read_text().splitlines()[1:] if self.path.exists() else []
        self.lines = [line for line in stored if int(line.split(",", 1)[0]) <= step]
