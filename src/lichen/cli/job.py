"""A job of encode or decode as a person or a program sees it: a bar, a line for each picture, an exit code."""

from __future__ import annotations

import functools
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

import typer

from lichen.cli.app import EXIT_INPUT, EXIT_USAGE, parse_size, say
from lichen.cli.progress import Bar, with_progress
from lichen.errors import UsageError
from lichen.options import EngineName, Tune

if TYPE_CHECKING:
    from lichen.batch.budget import MemoryBudget
    from lichen.batch.runner import JobOptions
    from lichen.batch.tasks import Done, Task
    from lichen.batch.work import Work
    from lichen.codec import Codec


@dataclass(frozen=True)
class Shown:
    """What is printed of a job: a line for each picture that is done, or JSON lines, or errors alone."""

    line: Callable[[Done], str]
    quiet: bool = False
    as_json: bool = False
    dry_run: bool = False


def job_options(threads: int, device: str, max_memory: str | None, skip_existing: bool, force: bool) -> JobOptions:
    """What a job may use and leave. Raises `UsageError` for a size that is none."""
    from lichen.batch.runner import JobOptions

    memory_bytes = None if max_memory is None else parse_size(max_memory)
    return JobOptions(threads, device, memory_bytes, skip_existing, force=force)


def codec_of(
    model: str,
    weights: Path | None,
    max_pixels: int,
    how: JobOptions,
    tune: Tune = Tune.PSNR,
    engine: EngineName = EngineName.AUTO,
) -> Callable[[], Codec]:
    """What loads the codec of a job, when that has begun."""
    from lichen.codec import Codec

    return functools.partial(Codec, model, weights, how.device, max_pixels, how.memory_bytes, tune=tune, engine=engine)


def run_tasks(
    tasks: list[Task],
    codec: Callable[[], Codec],
    work: Callable[[Codec, MemoryBudget], Work],
    how: JobOptions,
    shown: Shown,
) -> None:
    """Run the tasks with a progress bar; exit 3 when any failed, 130 when stopped. Raises `UsageError`."""
    from lichen.batch.runner import check, run_job
    from lichen.batch.tasks import STANDARD

    if shown.as_json and any(task.target == STANDARD for task in tasks):
        raise UsageError("standard output takes the picture or --json, not both; give an `output`")
    count = Counter[str]()

    def job(report: Callable[[Done], None], stop: Event) -> None:
        for done in (
            map(functools.partial(check, how=how), tasks)
            if shown.dry_run
            else run_job(tasks, codec, work, how, stop=stop)
        ):
            report(done)

    def tell(bar: Bar, done: Done) -> None:
        _tell(done, shown, count)
        bar.advance()

    def stopped(bar: Bar) -> str:
        return f"{_summary(count)}, {len(tasks) - bar.done} left; to go on, add --skip-existing"

    with_progress(job, tell, stopped, total=len(tasks), shown=len(tasks) > 1 and not shown.quiet)
    if len(tasks) > 1 and not shown.quiet:
        say(f"{_summary(count)}; {count['in']} bytes became {count['out']}")
    if count["failed"]:
        raise typer.Exit(EXIT_USAGE if count["failed"] == count["misused"] else EXIT_INPUT)


def _tell(done: Done, shown: Shown, count: Counter[str]) -> None:
    outcome = "failed" if done.error is not None else "skipped" if done.skipped else "done"
    count[outcome] += 1
    count["misused"] += isinstance(done.error, UsageError)
    count["in"] += done.size_in_bytes
    count["out"] += done.size_out_bytes
    if shown.as_json:
        typer.echo(json.dumps(_facts(done, outcome)))
        return
    for notice in () if shown.quiet else done.notices:
        say(f"{done.task.source}: note: {notice}")
    if done.error is not None:
        say(f"lichen: {done.error}")
    elif not done.skipped and not shown.quiet:
        say(f"{done.task.source} -> {done.task.target}" if shown.dry_run else shown.line(done))


def _facts(done: Done, outcome: str) -> dict[str, object]:
    return {
        "source": str(done.task.source),
        "target": str(done.task.target),
        "outcome": outcome,
        "size_in_bytes": done.size_in_bytes,
        "size_out_bytes": done.size_out_bytes,
        "width": done.width,
        "height": done.height,
        "notices": list(done.notices),
        "error": None if done.error is None else str(done.error),
    }


def _summary(count: Counter[str]) -> str:
    skipped = f", {count['skipped']} skipped" if count["skipped"] else ""
    return f"{count['done']} done{skipped}, {count['failed']} failed"
