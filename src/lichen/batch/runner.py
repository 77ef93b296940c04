"""Long work that Ctrl-C stops at once, and the tasks of a job, several at a time."""

from __future__ import annotations

import contextlib
import functools
import itertools
import math
import signal
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Event
from types import FrameType
from typing import TypeVar

from lichen.batch.budget import MemoryBudget, choose_workers
from lichen.batch.tasks import STANDARD, Done, Task, check_ends
from lichen.batch.work import Work
from lichen.codec import Codec
from lichen.errors import BadInput, LichenError, OutputExists
from lichen.runtime.memory import typed_memory_errors
from lichen.runtime.threads import set_threads, shared_threads

LOOK_SECONDS = 0.05  # between looks whether there is something new, or a signal
FINISH_SECONDS = 0.2  # after a stop, for what is nearly done
I = TypeVar("I")  # noqa: E741
R = TypeVar("R")


def interruptible(work: Callable[[Callable[[I], None], Event], R], tell: Callable[[I], None] = lambda _: None) -> R:
    """Do work(report, stop) in a thread of its own, and tell in this one what it reports. Its result, or its error.

    In this thread Ctrl-C would be felt between two steps of Python only, and one may take long (a large picture as
    WebP is one). When it comes `stop` is set, what is reported within `FINISH_SECONDS` is still told, and
    `KeyboardInterrupt` goes on to the caller, who says what to do next; the thread is left to itself.

    What the work loads belongs into its thread too: each thread that computes has helpers of OpenMP's, and these wake
    slowly where there are too many.
    """
    reports: SimpleQueue[tuple[I] | None] = SimpleQueue()
    stop, pool = Event(), ThreadPoolExecutor(1)
    with _interruptions(stop):
        future = pool.submit(work, lambda item: reports.put((item,)), stop)
        future.add_done_callback(lambda _: reports.put(None))
        pool.shutdown(wait=False)
        until = math.inf
        while time.monotonic() < until:
            with contextlib.suppress(Empty):
                report = reports.get(timeout=LOOK_SECONDS)  # in one long wait signals are now and then felt at its end
                if report is None:
                    break
                tell(report[0])
            if stop.is_set():
                until = min(until, time.monotonic() + FINISH_SECONDS + 2 * LOOK_SECONDS)
    if stop.is_set():
        raise KeyboardInterrupt
    return future.result()


@contextlib.contextmanager
def _interruptions(stop: Event) -> Iterator[None]:
    """The first Ctrl-C sets `stop`, and raises nothing between two steps; another one is Python's again."""
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or before in {None, signal.SIG_IGN}:
        yield
        return

    def once(number: int, frame: FrameType | None) -> None:
        stop.set()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, once)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@dataclass(frozen=True)
class JobOptions:
    """What a job may use and leave: threads of the CPU (0: as many as PyTorch takes), memory (None: half of it)."""

    threads: int = 0
    device: str = "cpu"
    memory_bytes: int | None = None
    skip_existing: bool = False
    force: bool = False


def run_job(
    tasks: Sequence[Task],
    codec: Callable[[], Codec],
    work: Callable[[Codec, MemoryBudget], Work],
    how: JobOptions,
    stop: Event,
) -> Iterator[Done]:
    """Do the tasks, as many at once as threads and memory allow, by a codec that is loaded here. As `run`.

    It is not loaded where every task is refused already, for its input or its output.
    """
    refused = list(itertools.takewhile(_is_refused, (check(task, how) for task in tasks)))
    if len(refused) == len(tasks):
        yield from refused
        return
    set_threads(how.threads)
    worker = work(codec(), MemoryBudget.of(how.memory_bytes))
    at_once, each = choose_workers(tasks, worker, shared_threads(how.device))
    if at_once > 1:
        set_threads(each)
    yield from run(tasks, worker, how.skip_existing, at_once, stop=stop)


def run(
    tasks: Sequence[Task],
    work: Callable[[Task], Done],
    skip_existing: bool = False,
    at_once: int = 1,
    stop: Event | None = None,
) -> Iterator[Done]:
    """Do the tasks, so many at once; results come in their order. An error of one is in its `Done`, others go on.

    With `skip_existing` a task whose output is there already, perhaps from a run that was stopped, or
    written meanwhile by another process, counts as skipped. When `stop` is set no other task is begun, and what is
    nearly done comes still.
    """
    stop = stop or Event()
    one = functools.partial(_one, work=work, skip_existing=skip_existing, stop=stop)
    found = map(one, tasks) if at_once == 1 else _side_by_side(tasks, one, at_once, stop)
    yield from (done for done in found if done is not None)


def _side_by_side(
    tasks: Sequence[Task], one: Callable[[Task], Done | None], at_once: int, stop: Event
) -> Iterator[Done | None]:
    with warnings.catch_warnings(), ThreadPoolExecutor(at_once) as pool:
        warnings.simplefilter("ignore")  # as reading a picture does, which threads would undo for one another
        begun = deque(pool.submit(one, task) for task in tasks)
        while begun and not stop.is_set():
            if wait([begun[0]], LOOK_SECONDS).done:
                yield begun.popleft().result()
        wait(begun, FINISH_SECONDS if begun else 0)
        yield from (future.result() for future in begun if future.done())


def check(task: Task, how: JobOptions) -> Done:
    """What can be said of a task before it is begun: its error, that it is skipped, or nothing."""

    def step(task: Task) -> Done:
        check_ends(task, how.force)
        return Done(task)

    return _guarded(task, step, how.skip_existing)


def _is_refused(done: Done) -> bool:
    return done.skipped or done.error is not None


def _one(task: Task, work: Callable[[Task], Done], skip_existing: bool, stop: Event) -> Done | None:
    """What becomes of a task; None: it was not begun."""
    return None if stop.is_set() else _guarded(task, work, skip_existing)


def _guarded(task: Task, step: Callable[[Task], Done], skip_existing: bool) -> Done:
    """What a step gives; an error in it is what becomes of the task."""
    try:
        with typed_memory_errors():
            return step(task)
    except OutputExists as error:
        return Done(task, skipped=True) if skip_existing else Done(task, error=error)
    except LichenError as error:
        return Done(task, error=_named(error, task))
    except OSError as error:  # names too long, folders without access
        return Done(task, error=BadInput(f"{error.filename or task.source}: {error.strerror}"))


def _named(error: LichenError, task: Task) -> LichenError:
    """The same error, its message beginning with the input's name if it names neither input nor output."""
    name = "standard input" if task.source == STANDARD else str(task.source)
    text = with_name(str(error), name, () if task.target == STANDARD else (str(task.target),))
    return error if text == str(error) else type(error)(text)


def with_name(message: str, source: str, targets: tuple[str, ...]) -> str:
    """The message of an error, which begins with the input's name if it names neither that nor an output."""
    text = message.removeprefix("standard input: ")
    named = text.startswith(source) or any(target in text for target in targets)
    return message if named else f"{source}: {text}"
