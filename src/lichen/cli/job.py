"""A job of encode or decode as a person or a program sees it: a bar, a line for each picture, an exit code."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from threading import Event
from typing import TYPE_CHECKING

import typer

from lichen.cli.app import EXIT_INPUT, EXIT_USAGE, say
from lichen.cli.progress import Bar, with_progress
from lichen.errors import UsageError
from lichen.progress import Stage, listening

if TYPE_CHECKING:
    from lichen.batch.manifest import Manifest
    from lichen.batch.rows import Row


@dataclass(frozen=True)
class Shown:
    """What is printed of a job: a line for each picture that is done, or JSON lines, or errors alone."""

    line: Callable[[Row], str]
    quiet: bool = False
    as_json: bool = False
    dry_run: bool = False


def tell_rows(rows: Callable[[Event], Iterator[Row]], total: int, shown: Shown, manifest: Manifest | None) -> None:
    """Say what becomes of a job's pictures, with a progress bar; exit 3 when any failed, 130 when stopped."""
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
    if row.outcome.value == "done":
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
