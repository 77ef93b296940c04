"""Pictures on many machines, by Ray Data: files are read, actors convert and write them, rows tell what became of them.

Ray reads (`read_binary_files`), spreads blocks of files over a pool of actors (`map_batches`), begins anew what was
lost with a machine, and grows with its cluster. An actor does with a file what threads do: `Encode` or `Decode`.
"""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from threading import Event
from typing import TYPE_CHECKING, Any

from lichen.batch.budget import MemoryBudget
from lichen.batch.cluster import LOCAL, READ_BYTES, connected
from lichen.batch.manifest import Manifest
from lichen.batch.rows import Outcome, Row, columns
from lichen.batch.runner import JobOptions, with_name
from lichen.batch.storage import StoredPlan, StoredTask, Targets, plan_stored, save
from lichen.batch.tasks import Naming
from lichen.batch.work import Decode, Encode, Work
from lichen.codec import Codec
from lichen.errors import BadInput, ClusterError, LichenError, OutOfMemory, OutputExists
from lichen.options import DecodeOptions, EncodeOptions
from lichen.runtime.memory import program_bytes, typed_memory_errors
from lichen.runtime.threads import set_threads

if TYPE_CHECKING:
    import pyarrow
    from pyarrow.fs import FileSystem

    from lichen.batch.cluster import Shape

_ATTEMPTS = (16, 1, 1)  # pictures of a block: what is lost with an actor, and what a row waits for
_BLOCKS_FOR_EACH = 8  # actor at least, where there are pictures for it: the last to end are not waited for long
_READ_CPUS, _ACTOR_CPUS = 0.1, 0.9  # of a processor: one actor for each processor leaves room to read for it
_ACTOR_BYTES = 200_000_000  # of Ray and pyarrow in an actor, beside the program
_RETRIES = 3  # of a block whose actor was lost, in each attempt: what ends its process is not tried for ever
_NEEDED = "needed_bytes"  # a column: what a picture needs that is too large for the actor that it came to
Known = Callable[[str], int | None]


def encode_files(
    source: str | Sequence[str],
    target: str | None,
    options: EncodeOptions | None = None,
    *,
    codec: Callable[[], Codec] = Codec,
    how: JobOptions | None = None,
    address: str = LOCAL,
    manifest: Path | None = None,
    measured: bool = False,
) -> Iterator[Row]:
    """Encode the pictures of folders or of buckets with all their folders; work is done while rows are taken.

    `source` and `target` are paths or addresses such as `s3://bucket/photos`; `address` is Ray's: `local`, `auto` or
    host:port. `codec` is called here and loaded in each actor too; if `measured` each file is decoded for its PSNR.
    Errors of single pictures are in their rows. Raises `UsageError`, `BadInput`, `ClusterError`, as `Manifest`.
    """
    how, asked = how or JobOptions(), options or EncodeOptions()

    def work(codec: Codec, budget: MemoryBudget) -> Encode:
        return Encode(codec, budget, asked, measured=measured)

    plan = plan_stored([source] if isinstance(source, str) else source, target, Naming.to_encode(), recursive=True)
    return _told(StoredJob(plan, codec, work, how, address=address), manifest)


def decode_files(
    source: str | Sequence[str],
    target: str | None,
    options: DecodeOptions | None = None,
    *,
    ending: str = ".png",
    codec: Callable[[], Codec] = Codec,
    how: JobOptions | None = None,
    address: str = LOCAL,
    manifest: Path | None = None,
) -> Iterator[Row]:
    """Decode files to pictures with this ending; all else as `encode_files`."""
    how, asked = how or JobOptions(), options or DecodeOptions()

    def work(codec: Codec, budget: MemoryBudget) -> Decode:
        return Decode(codec, budget, asked, ending)

    plan = plan_stored(
        [source] if isinstance(source, str) else source, target, Naming.to_decode(ending), recursive=True
    )
    return _told(StoredJob(plan, codec, work, how, address=address), manifest)


def _told(job: StoredJob, path: Path | None) -> Iterator[Row]:
    """The rows of a job, which go to a manifest too."""
    if path is None:
        yield from job.rows(Event())
        return
    with Manifest(path, resumed=job.how.skip_existing, force=job.how.force) as manifest:
        for row in job.rows(Event(), manifest.size_bytes):
            manifest.add(row)
            yield row


@dataclass(frozen=True)
class StoredJob:
    """The tasks of a plan, what is done with each, and the cluster that does it."""

    plan: StoredPlan
    codec: Callable[[], Codec]
    work: Callable[[Codec, MemoryBudget], Work]
    how: JobOptions
    address: str = LOCAL

    def checked(self, known: Known = lambda _: None) -> Iterator[Row]:
        """What can be said of each task before it is begun: that it is refused or skipped, or nothing."""
        for task in self.plan.tasks:
            yield _refused(task, self.how, known) or _row(task, Outcome.DONE)

    def rows(self, stop: Event, known: Known = lambda _: None) -> Iterator[Row]:
        """Do the tasks; rows come as they are done. `known` gives the size of a result that an earlier job made.

        When `stop` is set what is begun is not waited for. Raises `ClusterError`, and as the codec when it is loaded.
        """
        refused = [_refused(task, self.how, known) for task in self.plan.tasks]
        tasks = {task.source: task for task, row in zip(self.plan.tasks, refused, strict=True) if row is None}
        if not tasks:
            yield from filter(None, refused)
            return
        work = self.work(self.codec(), MemoryBudget.of(None))
        with connected(self.address, self.how.threads or 1) as shape:
            yield from filter(None, refused)
            yield from _Run(self.plan, pickle.dumps(work), shape, stop).rows(tasks)


def _refused(task: StoredTask, how: JobOptions, known: Known) -> Row | None:
    """Why a task is not begun: what refuses it, or that its result is there and whole. None: it is to be done."""
    error = task.refusal
    if error is None and task.existing_bytes is not None and not how.force:
        if not how.skip_existing:
            error = OutputExists(f"{task.shown[1]} exists; use `force` to overwrite it")
        elif task.existing_bytes and known(task.shown[1]) in {None, task.existing_bytes}:
            skipped = _row(task, Outcome.SKIPPED)
            return replace(skipped, size_in_bytes=task.size_bytes, size_out_bytes=task.existing_bytes)
    return None if error is None else _failed(task, error)


def _row(task: StoredTask, outcome: Outcome) -> Row:
    return Row(source=task.shown[0], target=task.shown[1], outcome=outcome)


def _failed(task: StoredTask, error: LichenError) -> Row:
    said = with_name(str(error), task.shown[0], (task.shown[1], task.target))
    return replace(_row(task, Outcome.FAILED), error=said, error_kind=type(error).__name__)


@dataclass(frozen=True)
class _Run:
    """A job under way: its work as bytes, and what there is to do it."""

    plan: StoredPlan
    work: bytes
    shape: Shape
    stop: Event

    def rows(self, tasks: dict[str, StoredTask]) -> Iterator[Row]:
        """First all, by as many actors as there are processors; then what is too large for these, by fewer with more.

        Tasks are taken out of `tasks` when they are done; those that are left have failed.
        """
        needs: dict[str, int] = {}
        limit = self.shape.share_bytes
        yield from self._stage(tasks, list(tasks), needs, limit)
        while limit < self.shape.largest_bytes and any(needed > limit for needed in needs.values()):
            before, limit = limit, min(2 * limit, self.shape.largest_bytes)
            yield from self._stage(tasks, [path for path, n in needs.items() if before < n <= limit], needs, limit)
        if not self.stop.is_set():
            yield from (_failed(task, self._reason(task, needs.get(path, 0))) for path, task in tasks.items())

    def _stage(
        self, tasks: dict[str, StoredTask], paths: list[str], needs: dict[str, int], limit_bytes: int
    ) -> Iterator[Row]:
        """Those of one limit of memory; what came back from nobody is tried again, each by itself."""
        for block in _ATTEMPTS:
            left = [path for path in paths if path in tasks and needs.get(path, 0) <= limit_bytes]
            for facts in self._results(left, limit_bytes, block) if left else ():
                needed, path = facts.pop(_NEEDED), facts["source"]
                if needed:
                    needs[path] = needed
                elif path in tasks:
                    yield _named(Row.of_facts(facts), tasks.pop(path))

    def _results(self, paths: list[str], limit_bytes: int, block: int) -> Iterator[dict[str, Any]]:
        """What actors say of these files, in whatever order they are done."""
        from ray.data import DataContext

        blocks = min(len(paths), max(-(-len(paths) // block), _BLOCKS_FOR_EACH * self.shape.actors(limit_bytes)))
        with DataContext.current(_context(deaths=max(10, *(int(m.processors) for m in self.shape.machines)))):
            try:
                done = self._dataset(paths, limit_bytes, blocks)
            except ValueError:  # none of the files is there any more
                return
        with closing(iter(done.iter_batches(batch_size=None, batch_format="pyarrow"))) as tables:
            for table in tables:
                if self.stop.is_set():
                    return
                yield from table.to_pylist()

    def _dataset(self, paths: list[str], limit_bytes: int, blocks: int) -> Any:
        """Ray's plan, which begins when it is iterated: these files in so many blocks, through a pool of actors."""
        from ray.data import ActorPoolStrategy, read_binary_files
        from ray.util.annotations import RayDeprecationWarning

        files = read_binary_files(
            paths,
            include_paths=True,
            filesystem=self.plan.source,
            ignore_missing_paths=True,
            num_cpus=_READ_CPUS,
            memory=READ_BYTES,
            override_num_blocks=blocks,
        )
        threads = self.shape.threads_with(limit_bytes)
        ends = self.plan.source, self.plan.target, self.plan.targets
        assignment = Assignment(self.work, *ends, threads=threads, limit_bytes=limit_bytes)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RayDeprecationWarning)  # of `max_task_retries`, which has no other place
            return files.map_batches(
                Actor,
                fn_constructor_args=(assignment,),
                batch_size=None,
                batch_format="pyarrow",
                compute=ActorPoolStrategy(min_size=1, max_size=blocks),
                num_cpus=_ACTOR_CPUS * threads,
                memory=limit_bytes,
                max_task_retries=_RETRIES,
            )

    def _reason(self, task: StoredTask, needed_bytes: int) -> LichenError:
        """Why a task came back from nobody."""
        if needed_bytes > self.shape.largest_bytes:
            sizes = f"{needed_bytes / 1e6:.0f} MB of memory, and no machine has more than"
            return OutOfMemory(
                f"needs about {sizes} {self.shape.largest_bytes / 1e6:.0f}; add a larger one, or split it"
            )
        try:
            with self.plan.source.open_input_file(task.source) as file:
                file.read(1)
        except OSError as error:
            return BadInput(f"cannot be read ({error.strerror or error})")
        return ClusterError("its actors were lost, each time; look at Ray's logs, at memory first")


def _context(deaths: int) -> Any:
    """Ray Data's settings for a job: nothing is printed, lost machines and files that cannot be read end nothing.

    So many actors in turn may end when they begin, as all of a machine do that is lost: more is no chance.
    """
    from ray.data import DataContext

    context = DataContext.get_current().copy()
    context.enable_progress_bars = context.print_on_execution_start = False
    context.max_errored_blocks = -1  # their pictures are tried again, then they are failed rows
    context.max_consecutive_actor_init_deaths = deaths
    context.execution_no_progress_timeout_s = -1  # a large picture, or a wait for machines, may take long
    return context


def _named(row: Row, task: StoredTask) -> Row:
    """What an actor said, with names as they were given."""
    error = None if row.error is None else with_name(row.error, task.shown[0], (task.shown[1], task.target))
    return replace(row, source=task.shown[0], target=task.shown[1], error=error)


@dataclass(frozen=True)
class Assignment:
    """What an actor is given: `Encode` or `Decode` as bytes, where files are and results go, and what it may use."""

    work: bytes
    source: FileSystem
    target: FileSystem
    targets: Targets
    threads: int
    limit_bytes: int


class Actor:
    """Converts files of a block one after the other, and writes the results: a table (path, bytes) to one of rows."""

    def __init__(self, assignment: Assignment) -> None:
        set_threads(assignment.threads)  # before models are loaded, which is when work is read
        self._given = assignment
        self._work: Work = pickle.loads(assignment.work)

    def __call__(self, files: pyarrow.Table) -> pyarrow.Table:
        import pyarrow

        named = zip(files["path"].to_pylist(), files["bytes"], strict=True)
        rows = [self._one(path, data.as_py()) for path, data in named]
        return pyarrow.Table.from_pylist(rows, columns().append(pyarrow.field(_NEEDED, pyarrow.int64())))

    def _one(self, path: str, data: bytes) -> dict[str, Any]:
        row = Row(source=path, target=self._given.targets.of(path), outcome=Outcome.FAILED)
        needed = self._needed_bytes(data)
        if needed > self._given.limit_bytes:
            return row.facts() | {_NEEDED: needed}
        try:
            with typed_memory_errors():
                row = self._converted(row, data)
        except LichenError as error:
            row = replace(row, error=str(error), error_kind=type(error).__name__)
        except Exception as error:  # whatever it is, it ends this picture and no other: the row says it
            said = f"failed unexpectedly ({type(error).__name__}: {error}); report it with the picture"
            row = replace(row, error=said, error_kind=type(error).__name__)
        return row.facts() | {_NEEDED: 0}

    def _converted(self, row: Row, data: bytes) -> Row:
        local = Path(row.source)
        like = local if self._given.source.type_name == "local" else None
        made = self._work.convert(
            data, PurePosixPath(row.target).suffix, lambda result: save(self._given.target, row.target, result, like)
        )
        return replace(
            row,
            outcome=Outcome.DONE,
            size_in_bytes=len(data),
            size_out_bytes=made.size_bytes,
            width=made.width,
            height=made.height,
            psnr_db=made.psnr_db,
            seconds=made.seconds,
            notices=made.notices,
        )

    def _needed_bytes(self, data: bytes) -> int:
        """The memory of the whole actor for a file; 0 where its head says nothing: converting it says why."""
        try:
            return self._work.needed_bytes(data) + program_bytes() + _ACTOR_BYTES + len(data)
        except LichenError:
            return 0
