"""A job of encode or decode as a person or a program sees it: a bar, a line for each picture, an exit code."""

from __future__ import annotations

import contextlib
import functools
import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

import typer

from lichen.cli.app import EXIT_INPUT, EXIT_USAGE, parse_size, say
from lichen.cli.progress import Bar, with_progress
from lichen.errors import UsageError
from lichen.options import EngineName, Tune
from lichen.progress import Stage, listening

if TYPE_CHECKING:
    from lichen.batch.budget import MemoryBudget
    from lichen.batch.manifest import Manifest
    from lichen.batch.rows import Row
    from lichen.batch.runner import JobOptions
    from lichen.batch.tasks import Task
    from lichen.batch.work import Work
    from lichen.codec import Codec


@dataclass(frozen=True)
class Shown:
    """What is told of a job: a line for each picture that is done, or JSON lines, or errors alone; and a manifest."""

    line: Callable[[Row], str]
    quiet: bool = False
    as_json: bool = False
    dry_run: bool = False
    manifest: Path | None = None


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
    from lichen.batch.rows import Row
    from lichen.batch.runner import check, run_job
    from lichen.batch.tasks import STANDARD

    if shown.as_json and any(task.target == STANDARD for task in tasks):
        raise UsageError("standard output takes the picture or --json, not both; give an `output`")

    def rows(stop: Event) -> Iterator[Row]:
        found = map(functools.partial(check, how=how), tasks)
        return map(Row.of, found if shown.dry_run else run_job(tasks, codec, work, how, stop=stop))

    with opened_manifest(shown, how) as manifest:
        tell_rows(rows, len(tasks), shown, manifest)


@contextlib.contextmanager
def opened_manifest(shown: Shown, how: JobOptions) -> Iterator[Manifest | None]:
    """The manifest of a job; None where none is asked for. Raises as `Manifest`."""
    from lichen.batch.manifest import Manifest

    if shown.manifest is None or shown.dry_run:
        yield None
        return
    with Manifest(shown.manifest, resumed=how.skip_existing, force=how.force) as manifest:
        yield manifest


def tell_rows(rows: Callable[[Event], Iterator[Row]], total: int, shown: Shown, manifest: Manifest | None) -> None:
    """What becomes of a job's pictures, with a progress bar; exit 3 when any failed, 130 when stopped."""
    count = Counter[str]()

    def job(report: Callable[[Row | Stage], None], stop: Event) -> None:
        with listening(report) if total == 1 else contextlib.nullcontext():
            for row in rows(stop):
                report(row)

    def tell(bar: Bar, what: Row | Stage) -> None:
        if isinstance(what, Stage):
            bar.show(what)
            return
        _tell(what, shown, count)
        if manifest is not None:
            manifest.add(what)
        bar.advance()

    def stopped(bar: Bar) -> str:
        return f"{_summary(count)}, {total - bar.done} left; to go on, add --skip-existing"

    with_progress(job, tell, stopped, total=total, shown=not shown.quiet)
    if total > 1 and not shown.quiet:
        say(f"{_summary(count)}; {count['in']} bytes became {count['out']}")
    if count["failed"]:
        raise typer.Exit(EXIT_USAGE if count["failed"] == count["misused"] else EXIT_INPUT)


def _tell(row: Row, shown: Shown, count: Counter[str]) -> None:
    count[row.outcome.value] += 1
    count["misused"] += row.error_kind == UsageError.__name__
    count["in"] += row.size_in_bytes
    count["out"] += row.size_out_bytes
    if shown.as_json:
        typer.echo(json.dumps(row.facts()))
        return
    for notice in () if shown.quiet else row.notices:
        say(f"{row.source}: note: {notice}")
    if row.error is not None:
        say(f"lichen: {row.error}")
    elif row.outcome.value == "done" and not shown.quiet:
        say(f"{row.source} -> {row.target}" if shown.dry_run else shown.line(row))


def _summary(count: Counter[str]) -> str:
    skipped = f", {count['skipped']} skipped" if count["skipped"] else ""
    return f"{count['done']} done{skipped}, {count['failed']} failed"
