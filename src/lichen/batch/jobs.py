"""Jobs over files and folders: which output belongs to which input, and one bad picture stops no other."""

from __future__ import annotations

import contextlib
import functools
import sys
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from lichen.codec import Codec
from lichen.errors import BadInput, LichenError, OutputError, OutputExists, UsageError
from lichen.image.files import read_whole, refuse_existing, write_atomically
from lichen.image.picture import MAX_PIXELS, Picture, open_picture, picture_size, to_pil
from lichen.image.rendering import render
from lichen.options import Crop, FirstGroups
from lichen.runtime.memory import PROGRAM_BYTES, MemoryBudget, typed_memory_errors

STANDARD = Path("-")
LIC = ".lic"
_SAMPLE = 32  # files by which memory is foreseen, at most
_LOOK_SECONDS, _FINISH_SECONDS = 0.05, 0.2  # between looks whether to stop; then for what is nearly done


@dataclass(frozen=True)
class Task:
    """One input and where its result goes; `STANDARD` is standard input or output."""

    source: Path
    target: Path


@dataclass(frozen=True)
class Done:
    """What became of a task: sizes in bytes and pixels, or the error; `notices` of what was changed or lost."""

    task: Task
    size_in_bytes: int = 0
    size_out_bytes: int = 0
    width: int = 0
    height: int = 0
    error: LichenError | None = None
    notices: tuple[str, ...] = ()
    skipped: bool = False


def picture_endings() -> set[str]:
    """Endings of the files that Pillow opens, `.lic` aside."""
    Image.init()
    return {e for e, name in Image.registered_extensions().items() if name in Image.OPEN} - {LIC}


def _walk(folder: Path, endings: set[str], recursive: bool) -> list[Path]:
    entries = folder.rglob("*") if recursive else folder.glob("*")
    found = sorted(p for p in entries if p.suffix.lower() in endings and p.is_file())
    if not found:
        hint = "" if recursive else "; --recursive looks in its folders too"
        raise BadInput(f"{folder}: nothing in it to work on{hint}")
    return found


def plan(inputs: Iterable[Path], output: Path | None, ending: str, accepted: set[str], recursive: bool) -> list[Task]:
    """The tasks for these files and folders.

    One input file: `output` names the result, or the folder for it. Several, or a folder: `output` is a
    folder, in which folders keep their tree. Without `output` results lie beside their inputs. Raises
    `UsageError` when two inputs would become one file, `BadInput` when there is nothing to do.
    """
    try:
        return _plan(list(inputs), output, ending, accepted, recursive)
    except OSError as error:  # names too long, folders without access
        raise BadInput(f"{error.filename}: {error.strerror}; check the names") from error
    except RuntimeError as error:  # Python's, until 3.12, for links that go round in circles
        raise BadInput(f"{error}; check the names") from error


def _plan(given: list[Path], output: Path | None, ending: str, accepted: set[str], recursive: bool) -> list[Task]:
    if output == STANDARD and (len(given) > 1 or given[0].is_dir()):
        raise UsageError("standard output takes one picture; give a folder")
    single = len(given) == 1 and not given[0].is_dir()
    tasks: list[Task] = []
    for source in given:
        if source == STANDARD:
            tasks.append(Task(source, output if single and output else STANDARD))
        elif source.is_dir():
            base = output or source
            members = _walk(source, accepted, recursive)
            tasks += [Task(m, (base / m.relative_to(source)).with_suffix(ending)) for m in members]
        else:
            name = source.with_suffix(ending)
            if output is None:
                tasks.append(Task(source, name))
            elif output == STANDARD:
                tasks.append(Task(source, STANDARD))
            elif single and not output.is_dir():
                if not output.suffix:  # perhaps a folder's name: several pictures in turn would become one file
                    raise UsageError(f"{output} has no ending like {ending}; give it one, or make that folder first")
                tasks.append(Task(source, output))
            else:
                tasks.append(Task(source, output / name.name))
    _refuse_collisions(tasks)
    return tasks


def _refuse_collisions(tasks: list[Task]) -> None:
    taken: dict[Path, Path] = {}
    sources = {task.source.resolve() for task in tasks if task.source != STANDARD}
    for task in tasks:
        if task.target == STANDARD:
            continue
        target = task.target.resolve()
        if target in sources:
            raise UsageError(f"{task.target} is an input and would be overwritten; give another --output")
        if target in taken:
            raise UsageError(f"{taken[target]} and {task.source} would both become {task.target}; work on them apart")
        taken[target] = task.source
    if len(tasks) > 1 and any(task.target == STANDARD for task in tasks):
        raise UsageError("standard input and output take one picture at a time")


def _write(path: Path, data: bytes, force: bool) -> None:
    if path == STANDARD:
        try:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
        except (OSError, AttributeError) as error:
            raise OutputError(f"standard output cannot be written: {error}") from error
    else:
        write_atomically(path, data, overwrite=force)


def choose_workers(tasks: list[Task], work: Encode | Decode, threads: int) -> tuple[int, int]:
    """How many pictures to work on at once, and the threads of each; `threads` is of all together.

    Several pictures with a thread each are done sooner than one after the other with all threads: only a part of the
    work on a picture can be shared by threads. But there are no more at once than fit into memory, by some of them.
    """
    if len(tasks) == 1 or threads == 1:
        return 1, threads
    needs = []
    for task in tasks[:: -(-len(tasks) // _SAMPLE)]:
        with contextlib.suppress(LichenError, OSError):  # it will be told of in its turn
            if task.source.is_file():  # a pipe can be read once only
                needs.append(work.need_bytes(read_whole(task.source)))
    fitting = work.budget.size_bytes * len(needs) // max(sum(needs), 1)
    at_once = max(min(len(tasks), threads, fitting), 1)
    return at_once, threads // at_once


def run(
    tasks: list[Task],
    work: Callable[[Task], Done],
    skip_existing: bool = False,
    at_once: int = 1,
    stop: threading.Event | None = None,
) -> Iterator[Done]:
    """Do the tasks, so many at once; results come in their order. An error of one is in its `Done`, others go on.

    With `skip_existing` a task whose output is there already, perhaps from a run that was stopped, or
    written meanwhile by another process, counts as skipped. When `stop` is set no other task is begun, and what is
    nearly done comes still.
    """
    stop = stop or threading.Event()
    one = functools.partial(_one, work=work, skip_existing=skip_existing, stop=stop)
    found = map(one, tasks) if at_once == 1 else _side_by_side(tasks, one, at_once, stop)
    yield from (done for done in found if done is not None)


def _side_by_side(
    tasks: list[Task], one: Callable[[Task], Done | None], at_once: int, stop: threading.Event
) -> Iterator[Done | None]:
    with warnings.catch_warnings(), ThreadPoolExecutor(at_once) as pool:
        warnings.simplefilter("ignore")  # as reading a picture does, which threads would undo for one another
        begun = deque(pool.submit(one, task) for task in tasks)
        while begun and not stop.is_set():
            if wait([begun[0]], _LOOK_SECONDS).done:
                yield begun.popleft().result()
        wait(begun, _FINISH_SECONDS if begun else 0)
        yield from (future.result() for future in begun if future.done())


def _one(task: Task, work: Callable[[Task], Done], skip_existing: bool, stop: threading.Event) -> Done | None:
    """What becomes of a task; None: it was not begun."""
    if stop.is_set():
        return None
    try:
        with typed_memory_errors():
            return work(task)
    except OutputExists as error:
        return Done(task, skipped=True) if skip_existing else Done(task, error=error)
    except LichenError as error:
        return Done(task, error=_named(error, task))
    except OSError as error:  # names too long, folders without access
        return Done(task, error=BadInput(f"{error.filename or task.source}: {error.strerror}"))


@dataclass(frozen=True)
class Encode:
    """Encodes one task's picture, at a quality or for a target, refined or filtered or not; `strip` drops metadata."""

    codec: Codec
    budget: MemoryBudget
    quality: float
    target_size_bytes: int | None = None
    target_bpp: float | None = None
    target_psnr_db: float | None = None
    refine_steps: int = 0
    strip: bool = False
    force: bool = False
    max_pixels: int = MAX_PIXELS
    filtered: bool = True

    def __call__(self, task: Task) -> Done:
        _refuse_existing(task.target, self.force)
        raw = read_whole(task.source)
        size = len(raw)
        with self.budget.reserve(self.need_bytes(raw)):
            picture = open_picture(raw, self.max_pixels)
            del raw
            data = self._encoded(picture)
        _write(task.target, data, self.force)
        height, width = picture.pixels.shape[:2]
        return Done(task, size, len(data), width, height, notices=picture.notices)

    def need_bytes(self, raw: bytes) -> int:
        """Memory beside the program's for the picture of a file, whose head only is read."""
        size = picture_size(raw, self.max_pixels)
        return self.codec.memory_to_encode_bytes(*size, self.refine_steps > 0) - PROGRAM_BYTES

    def _encoded(self, picture: Picture) -> bytes:
        return self.codec.encode(
            picture.stripped() if self.strip else picture,
            self.quality,
            target_size_bytes=self.target_size_bytes,
            target_bpp=self.target_bpp,
            target_psnr_db=self.target_psnr_db,
            refine_steps=self.refine_steps,
            filtered=self.filtered,
        )


@dataclass(frozen=True)
class Decode:
    """Decodes one task's file, a part of it or its thumbnail, into whatever its target's ending (or `ending`) says."""

    codec: Codec
    budget: MemoryBudget
    ending: str
    force: bool = False
    crop: Crop | None = None
    first: FirstGroups | None = None
    thumbnail: bool = False

    def __call__(self, task: Task) -> Done:
        _refuse_existing(task.target, self.force)
        raw = read_whole(task.source)
        with self.budget.reserve(self.need_bytes(raw)):
            image, said = self._decoded(raw)
            data, notices = render(image, self.ending if task.target == STANDARD else task.target.suffix)
            _write(task.target, data, self.force)
        return Done(task, len(raw), len(data), *image.size, notices=said + notices)

    def need_bytes(self, raw: bytes) -> int:
        """Memory beside the program's for the picture of a file."""
        return self.codec.memory_to_decode_bytes(raw, self.first) - PROGRAM_BYTES

    def _decoded(self, raw: bytes) -> tuple[Image.Image, tuple[str, ...]]:
        """What was asked for, and what is to be said of it."""
        if self.thumbnail:
            return self.codec.decode_thumbnail(raw, self.first), ()
        picture = self.codec.decode_picture(raw, self.crop, self.first)
        return to_pil(picture), picture.notices


def _refuse_existing(path: Path, force: bool) -> None:
    if path != STANDARD and path.is_dir():
        raise OutputError(f"{path} is a folder; give a file name")
    if path != STANDARD:
        refuse_existing(path, force)


def _named(error: LichenError, task: Task) -> LichenError:
    """The same error, its message beginning with the input's name if it names neither input nor output."""
    name = "standard input" if task.source == STANDARD else str(task.source)
    text = str(error).removeprefix("standard input: ")
    named = task.target != STANDARD and str(task.target) in text
    return error if named else type(error)(f"{name}: {text.removeprefix(f'{name}: ')}")
