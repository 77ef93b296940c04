"""The files of a job of encode or decode: found, worked on by this process or by a cluster, and told of."""

from __future__ import annotations

import contextlib
import functools
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from threading import Event
from typing import TYPE_CHECKING

from lichen.cli.app import given_as, parse_size, say
from lichen.cli.job import Shown, tell_rows
from lichen.errors import LichenError, UsageError
from lichen.options import EngineName, Tune

if TYPE_CHECKING:
    from lichen.batch.budget import MemoryBudget
    from lichen.batch.manifest import Manifest
    from lichen.batch.rows import Row
    from lichen.batch.runner import JobOptions
    from lichen.batch.tasks import Naming, Task
    from lichen.batch.work import Work
    from lichen.codec import Codec

    Known = Callable[[str], int | None]


def job_options(threads: int, device: str, max_memory: str | None, skip_existing: bool, force: bool) -> JobOptions:
    """What a job may use and leave. Raises `UsageError` for a size that is none."""
    from lichen.batch.runner import JobOptions

    memory_bytes = None if max_memory is None else parse_size(max_memory)
    return JobOptions(threads, device, memory_bytes, skip_existing, force=force)


@dataclass(frozen=True)
class Loader:
    """What loads the codec of a job, when that has begun: `make` by the name of an engine, which suits the work.

    `size` reads the width and height of an input in pixels; so many of them in all are worth importing PyTorch.
    """

    make: Callable[[EngineName], Codec]
    engine: EngineName
    device: str
    size: Callable[[Path], tuple[int, int]]
    worth: int

    def __call__(self) -> Codec:
        return self.make(self.engine)

    def of(self, tasks: Sequence[Task]) -> Codec:
        """The codec for these pictures, by their heads."""
        from lichen.runtime.engines import suited

        return self.make(suited(self.engine, self.device, self._pixels(tasks), self.worth))

    def _pixels(self, tasks: Sequence[Task]) -> Iterator[int]:
        for task in tasks:
            with contextlib.suppress(LichenError, OSError):  # what cannot be read is told of in its turn
                if task.source.is_file():  # a pipe can be read once only
                    yield math.prod(self.size(task.source))


def codec_to_encode(
    model: str, weights: Path | None, max_pixels: int, how: JobOptions, tune: Tune, engine: EngineName
) -> Loader:
    """What loads the codec of a job that encodes."""
    from lichen.image.picture import picture_size
    from lichen.runtime.engines import ENCODED_WORTH

    make = functools.partial(_codec, model, weights, max_pixels, how, tune=tune)
    return Loader(make, engine, how.device, picture_size, worth=ENCODED_WORTH)


def codec_to_decode(weights: Path | None, max_pixels: int, how: JobOptions, engine: EngineName) -> Loader:
    """What loads the codec of a job that decodes."""
    from lichen.batch.work import coded_size
    from lichen.runtime.engines import DECODED_WORTH

    make = functools.partial(_codec, "lichen", weights, max_pixels, how, tune=Tune.PSNR)
    return Loader(make, engine, how.device, coded_size, worth=DECODED_WORTH)


def _codec(model: str, weights: Path | None, max_pixels: int, how: JobOptions, engine: EngineName, tune: Tune) -> Codec:
    from lichen.codec import Codec

    return Codec(model, weights, how.device, max_pixels, max_memory_bytes=how.memory_bytes, tune=tune, engine=engine)


@dataclass(frozen=True)
class Files:
    """Which files are worked on, where the results go, what these are called; and the cluster, None for this process.

    `check` is called with each ending of the results, and raises where it cannot be written.
    """

    inputs: list[Path]
    output: Path | None
    naming: Naming
    recursive: bool
    cluster: str | None = None
    manifest: Path | None = None
    check: Callable[[str], object] = lambda _: None


@dataclass(frozen=True)
class _Job:
    """How many pictures there are, and what becomes of them; or, with a dry run, would."""

    total: int
    rows: Callable[[Event, Known], Iterator[Row]]
    checked: Callable[[Known], Iterator[Row]]


def run_files(
    files: Files,
    codec: Loader,
    work: Callable[[Codec, MemoryBudget], Work],
    how: JobOptions,
    shown: Shown,
) -> None:
    """Work on them and say what becomes of them. Raises `UsageError`, `BadInput`, `ClusterError`, as `Manifest`."""
    cluster = files.cluster is not None
    job = _on_cluster(files, codec, work, how) if cluster else _here(files, codec, work, how, as_json=shown.as_json)
    with _manifest(None if shown.dry_run else files.manifest, how) as manifest:
        known: Known = (lambda _: None) if manifest is None else manifest.size_bytes
        rows = (lambda _: job.checked(known)) if shown.dry_run else (lambda stop: job.rows(stop, known))
        tell_rows(rows, job.total, shown, manifest)


@contextlib.contextmanager
def _manifest(path: Path | None, how: JobOptions) -> Iterator[Manifest | None]:
    if path is None:
        yield None
        return
    from lichen.batch.manifest import Manifest

    with Manifest(path, resumed=how.skip_existing, force=how.force) as manifest:
        yield manifest


def _here(
    files: Files,
    codec: Loader,
    work: Callable[[Codec, MemoryBudget], Work],
    how: JobOptions,
    as_json: bool,
) -> _Job:
    """By threads of this process. Raises `UsageError`, `BadInput`."""
    from lichen.batch.rows import Row
    from lichen.batch.runner import check, run_job
    from lichen.batch.tasks import STANDARD, plan

    for path in (*files.inputs, *filter(None, [files.output])):
        if (given := given_as(path)) != str(path):
            raise UsageError(f"{given}: files in storage are worked on by Ray; add --ray")
    planned = plan(files.inputs, files.output, files.naming, files.recursive)
    tasks = planned.tasks
    _say_what_is_found(files, planned.left_out, [task.target for task in tasks])
    if as_json and any(task.target == STANDARD for task in tasks):
        raise UsageError("standard output takes the picture or --json, not both; give an `output`")
    return _Job(
        len(tasks),
        lambda stop, _: map(Row.of, run_job(tasks, lambda: codec.of(tasks), work, how, stop=stop)),
        lambda _: map(Row.of, map(functools.partial(check, how=how), tasks)),
    )


def _on_cluster(
    files: Files,
    codec: Callable[[], Codec],
    work: Callable[[Codec, MemoryBudget], Work],
    how: JobOptions,
) -> _Job:
    """By Ray, from and to storage. Raises `UsageError`, `BadInput`."""
    from lichen.batch.cluster import check_address
    from lichen.batch.ray import StoredJob
    from lichen.batch.storage import plan_stored
    from lichen.batch.tasks import STANDARD

    if STANDARD in {*files.inputs, files.output}:
        raise UsageError("with --ray files are given by name, not by standard input and output")
    if how.device != "cpu":
        raise UsageError("with --ray models run on processors; leave out the `device`")
    address, output = check_address(str(files.cluster)), None if files.output is None else given_as(files.output)
    plan = plan_stored([given_as(path) for path in files.inputs], output, files.naming, files.recursive)
    _say_what_is_found(files, plan.left_out, [PurePath(task.target) for task in plan.tasks])
    job = StoredJob(plan, codec, work, how, address=address)
    return _Job(len(plan.tasks), job.rows, job.checked)


def _say_what_is_found(files: Files, left_out: Counter[str], targets: list[PurePath] | list[Path]) -> None:
    """Say what is left out of folders of pictures. Raises as `check`, for the ending of a result."""
    from lichen.batch.tasks import Plan

    if left_out and files.naming.accepted is None:
        say(f"lichen: left out, as no pictures that can be read: {Plan(left_out=left_out).remainder()}")
    for ending in sorted({target.suffix or files.naming.ending for target in targets}):
        files.check(ending)
