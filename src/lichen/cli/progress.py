"""A progress bar over work that Ctrl-C stops at once, with one line that says what to do next.

Of several things it shows how many are done; of one alone, for how long it has run and how far it is.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from threading import Event
from typing import TypeVar

import typer
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from lichen.cli.app import EXIT_STOPPED, console, say
from lichen.progress import Stage

I = TypeVar("I")  # noqa: E741
R = TypeVar("R")


class PaceColumn(ProgressColumn):
    """How many are done in a second, and when all will be."""

    def render(self, task: Task) -> Text:
        """`2.4/s, until 17:05`; a day's end and more as a date too; empty until something is done."""
        if not task.speed or task.time_remaining is None:
            return Text("")
        end = datetime.now() + timedelta(seconds=task.time_remaining)
        return Text(
            f"{task.speed:.2g}/s, until {end:{'%H:%M' if end.date() == datetime.now().date() else '%d %b %H:%M'}}"
        )


class Bar:
    """How much of the work is done; `total` is None until it is known."""

    def __init__(self, progress: Progress, name: str, total: int | None) -> None:
        self.done, self.total = 0, total
        self._progress, self._task = progress, progress.add_task(name, total=total)

    def update(self, done: int, total: int | None) -> None:
        """So many are done of so many."""
        self.done, self.total = done, total
        self._progress.update(self._task, completed=done, total=total)

    def show(self, stage: Stage) -> None:
        """How far the picture is that is worked on."""
        self._progress.update(self._task, description=f"{stage.name} {stage.done} of {stage.total}")

    def advance(self) -> None:
        """One more is done."""
        self.update(self.done + 1, self.total)


def with_progress(
    work: Callable[[Callable[[I], None], Event], R],
    tell: Callable[[Bar, I], None],
    stopped: Callable[[Bar], str],
    name: str = "",
    total: int | None = None,
    shown: bool = True,
) -> R:
    """Do work(report, stop) with a bar, and tell what it reports; the bar can be left out.

    After Ctrl-C the line of `stopped` is printed, and the process ends with `EXIT_STOPPED`.
    """
    from lichen.batch.runner import interruptible

    text = TextColumn("{task.description}")
    several = text, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), PaceColumn()
    columns = (SpinnerColumn(), TimeElapsedColumn(), text) if total == 1 else several
    with Progress(*columns, console=console, transient=True, disable=not (shown and console.is_terminal)) as progress:
        bar = Bar(progress, name, total)
        try:
            return interruptible(work, lambda item: tell(bar, item))
        except KeyboardInterrupt:
            say(f"stopped: {stopped(bar)}")
            raise typer.Exit(EXIT_STOPPED) from None
