"""An evaluation: every codec under test on every picture of a folder, resumable, in one process or several."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import multiprocessing
import os
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image

from lichen.errors import BadData, BadInput, BadPicture, LichenError, OutOfMemory, OutputError, OutputExists
from lichen.image.files import write_atomically
from lichen.image.picture import CROP_IT, open_picture
from lichen.lab.evaluation.codecs import CodecUnderTest, Entry, PeerEntry
from lichen.lab.evaluation.measure import digest, measure
from lichen.lab.evaluation.results_table import Measurement, ResultsTable
from lichen.lab.evaluation.summary import provenance, summarise
from lichen.lab.training.data import list_pictures
from lichen.runtime.memory import machine_bytes

TABLE = "table.tsv"
Progress = Callable[[int, int], None]  # called with (files measured, files in all)
_JOB_BYTES = 2_000_000_000  # what a process may need


@dataclass(frozen=True)
class _ReadablePicture:
    """A picture file, and the CRC-32 of its samples."""

    path: Path
    digest: str


@dataclass(frozen=True)
class EvaluationTask:
    """A codec on a picture, at the settings that are not in the table yet."""

    entry: Entry
    path: Path
    name: str
    settings: tuple[float, ...]


@dataclass(frozen=True)
class Outcome:
    """What an evaluation did: rows made now, a line for each picture left out, and one for each peer that failed."""

    new_rows: int
    skipped: tuple[str, ...]
    failed: tuple[str, ...] = ()


@dataclass(frozen=True)
class _TaskResult:
    """Of a task: its rows, fewer than its settings where a peer could not code the picture, and why."""

    task: EvaluationTask
    rows: list[Measurement]
    failure: str = ""


def evaluate(
    entries: Sequence[Entry],
    data: Path,
    output: Path,
    *,
    jobs: int = 1,
    threads: int = 0,
    replace: bool = False,
    report: Progress = lambda done, total: None,
) -> Outcome:
    """Fill `output`/table.tsv, and write the summaries NAME.json when all rows are there.

    `jobs` processes of `threads` threads work: 0 jobs stands for as many as memory allows, 0 threads for a share of
    the machine's. `report` is told of the progress. A peer that cannot code a picture gets no summary; the others go
    on. Raises `BadData` for a folder without pictures, `BadInput` when the table holds results of other weights under
    the same names and `replace` is false, or of other pictures, `OutputError` when another evaluation fills the folder
    or it has a summary that is not of its table.
    """
    if output.exists() and not output.is_dir():
        raise OutputError(f"{output} is not a folder; give another --output")
    readable, skipped = _readable(data)
    with _alone_in(output):
        table = ResultsTable(output / TABLE)
        _refuse_one_file_for_two(entries, table)
        _refuse_strange_summaries(entries, table, output)
        others = [row for entry in entries for row in _of_others(table, entry, replace)]
        _check_pixels(table, readable)
        _retract([row.model for row in others], output)
        table.drop(others)
        tasks = _tasks(entries, readable, table)
        _retract([task.entry.name for task in tasks], output)
        processes = jobs or _jobs_for_memory()
        run = {"processes": processes, "threads": threads or max(torch.get_num_threads() // processes, 1)}
        new, failed = _fill(table, tasks, run, report)
        for entry in entries:
            if entry.name not in failed:
                _summarise(entry.name, table, output)
    return Outcome(new, tuple(skipped), tuple(failed.values()))


def _fill(
    table: ResultsTable, tasks: Sequence[EvaluationTask], run: dict[str, int], report: Progress
) -> tuple[int, dict[str, str]]:
    """Do the tasks; gives how many rows came to the table, and a line for each peer that failed, by its name."""
    total, done, new = sum(len(task.settings) for task in tasks), 0, 0
    failed: dict[str, str] = {}
    where = provenance(**run)
    report(0, total)
    for result in _run(tasks, run["processes"], run["threads"]):
        table.add([dataclasses.replace(row, **where) for row in result.rows])
        if result.failure:
            failed.setdefault(result.task.entry.name, result.failure)
        new, done = new + len(result.rows), done + len(result.task.settings)
        report(done, total)
    if total:
        table.save()
    return new, failed


@contextlib.contextmanager
def _alone_in(output: Path) -> Iterator[None]:
    """One evaluation fills a folder at a time: a second would write the table without the rows of the first."""
    output.mkdir(parents=True, exist_ok=True)
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    handle = os.open(output, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # a file system without locks
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise OutputError(
                    f"another evaluation is filling {output}; wait for it, or give another --output"
                ) from error
        yield
    finally:
        os.close(handle)


def _refuse_one_file_for_two(entries: Sequence[Entry], table: ResultsTable) -> None:
    """Two names whose summaries would be one file, as signs and capitals do not count in it."""
    taken = {file_name(row.model): row.model for row in table.rows.values()}
    for entry in entries:
        file = file_name(entry.name)
        if file == ".json" or taken.setdefault(file, entry.name) != entry.name:
            other = f" of {taken[file]!r}" if file in taken else ""
            raise BadInput(f"the summary of {entry.name!r} would be the file {file}{other}; name the weights otherwise")


def _refuse_strange_summaries(entries: Sequence[Entry], table: ResultsTable, output: Path) -> None:
    """A summary without rows in the table is from elsewhere, and may be all that there is of it."""
    for entry in entries:
        path = output / file_name(entry.name)
        if path.exists() and not table.of(entry.name):
            raise OutputExists(f"{path} is not of the table beside it; move it away, or give another --output")


def _readable(data: Path) -> tuple[dict[str, _ReadablePicture], list[str]]:
    """Pictures by name, and what is wrong with those that cannot be used."""
    found: dict[str, _ReadablePicture] = {}
    skipped: list[str] = []
    for path in list_pictures(data):
        name = path.relative_to(data).with_suffix("").as_posix()
        if not name.isprintable():  # tabs, ends of lines, what is not UTF-8: the table has none
            skipped.append(f"{name.encode(errors='replace').decode()!r}: its name cannot be kept in a table; rename it")
            continue
        try:
            pixels = open_picture(path, remedy=CROP_IT).pixels
        except BadInput as error:
            skipped.append(str(error))
            continue
        if name in found:
            skipped.append(f"{path}: another picture is named {name} too; rename one")
            continue
        found[name] = _ReadablePicture(path, digest(pixels))
    if not found:
        raise BadData(f"{data}: none of its pictures can be read; the first: {skipped[0]}")
    return found, skipped


def _of_others(table: ResultsTable, entry: Entry, replace: bool) -> list[Measurement]:
    """Rows under the entry's name that none of its weights made, whatever their setting; refused unless replaced."""
    wanted = set(entry.versions.values())
    others = [row for row in table.of(entry.name) if row.version not in wanted]
    if others and not replace:
        raise BadInput(
            f"{table.path} has results of {entry.name!r} by {', '.join(sorted({r.version for r in others}))}, not by "
            f"{', '.join(sorted(wanted))}; use --replace to drop them and measure anew, or another --output"
        )
    return others


def _check_pixels(table: ResultsTable, readable: dict[str, _ReadablePicture]) -> None:
    """Other pictures under the same names would mix two data sets."""
    seen = {row.picture: row.pixels for row in table.rows.values()}
    strange = sorted(set(seen) - set(readable))
    if strange:
        raise BadInput(f"{table.path} has results of {strange[0]}, which is not in this folder; give another --output")
    for name, source in readable.items():
        if name in seen and seen[name] != source.digest:
            raise BadInput(f"{table.path} has results of another picture named {name}; give another --output")


def _tasks(
    entries: Sequence[Entry], readable: dict[str, _ReadablePicture], table: ResultsTable
) -> list[EvaluationTask]:
    tasks = []
    for entry in entries:
        for name, source in readable.items():
            missing = tuple(s for s in entry.versions if (entry.name, name, s) not in table.rows)
            if missing:
                tasks.append(EvaluationTask(entry, source.path, name, missing))
    return tasks


def _retract(names: Sequence[str], output: Path) -> None:
    """A summary stands for a finished evaluation only."""
    for name in set(names):
        (output / file_name(name)).unlink(missing_ok=True)


def _summarise(name: str, table: ResultsTable, output: Path) -> None:
    """Write a summary that is not there: one that is belongs to these very rows."""
    path = output / file_name(name)
    if not path.exists():
        text = json.dumps(summarise(name, table.of(name)), indent=1, allow_nan=False) + "\n"
        write_atomically(path, text.encode(), overwrite=True)


def file_name(name: str) -> str:
    """`JPEG 4:2:0` -> `jpeg-420.json`."""
    return re.sub(r"[^\w.+-]", "", name.lower().replace(" ", "-")) + ".json"


def _run(tasks: Sequence[EvaluationTask], jobs: int, threads: int) -> Iterator[_TaskResult]:
    """Each of the processes gets so many threads: with all of them each they would wait for one another."""
    if jobs == 1:
        _prepare(threads)
        yield from map(_work, tasks)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context, _prepare, (threads,)) as pool:
        futures = [pool.submit(_work, task) for task in tasks]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BrokenExecutor as error:
            raise OutOfMemory(
                "a process was ended, perhaps for want of memory; the same command with fewer --jobs goes on"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def _prepare(threads: int) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(threads)


def _end_with_parent() -> None:
    """A killed evaluation must not leave processes behind that work on."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@functools.lru_cache(maxsize=1)
def _codec_under_test(entry: Entry) -> CodecUnderTest:
    """Loaded once for each process, and warmed up: what a first call builds is not to be timed."""
    codec, picture = entry.open(), Image.linear_gradient("L").resize((64, 64)).convert("RGB")
    for setting in entry.versions:
        codec.decode(codec.encode(picture, setting), setting)
    return codec


def _work(task: EvaluationTask) -> _TaskResult:
    pixels = open_picture(task.path, remedy=CROP_IT).pixels
    codec, rows = _codec_under_test(task.entry), []
    try:
        for setting in task.settings:
            rows.append(measure(codec, task.entry, setting, name=task.name, pixels=pixels))
    except LichenError as error:
        said = f"{task.entry.name} on {task.path}: {error}"
        if isinstance(error, BadPicture) and isinstance(task.entry, PeerEntry):
            return _TaskResult(task, rows, said)
        raise type(error)(said) from error
    return _TaskResult(task, rows)


def _jobs_for_memory() -> int:
    """As many processes as there are CPUs, if each can have 2 GB of the memory that is free."""
    try:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return 1
    return max(1, min(os.cpu_count() or 1, min(free, machine_bytes() or free) // _JOB_BYTES))
