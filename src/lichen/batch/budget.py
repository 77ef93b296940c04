"""The memory that pictures share which are worked on at once, and how many of them it is enough for."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from lichen.errors import LichenError
from lichen.runtime.memory import machine_bytes, program_bytes

if TYPE_CHECKING:
    from lichen.batch.tasks import Task
    from lichen.batch.work import Work

_SAMPLE = 32  # files by which the need of memory is estimated, at most


class MemoryBudget:
    """Memory that pictures share which are worked on at once: each waits until it fits, or until it is alone.

    `size_bytes` is that of the whole process. Whoever waits is the next: a large picture is not passed by for ever.
    """

    def __init__(self, size_bytes: int) -> None:
        self.size_bytes = max(size_bytes - program_bytes(), 0)
        self._taken, self._pictures = 0, 0
        self._door, self._freed = threading.Lock(), threading.Condition()

    def __reduce__(self) -> tuple[type[MemoryBudget], tuple[int]]:
        """A copy in another process is one of its own, of the same size."""
        return MemoryBudget, (self.size_bytes + program_bytes(),)

    @staticmethod
    def of(max_memory_bytes: int | None) -> MemoryBudget:
        """All that is allowed, or half of what there is; none where nothing is known."""
        return MemoryBudget((machine_bytes() or 0) // 2 if max_memory_bytes is None else max_memory_bytes)

    @contextlib.contextmanager
    def reserve(self, need_bytes: int) -> Iterator[None]:
        """Hold so much of it, which does not count the program."""
        with self._door, self._freed:
            self._freed.wait_for(lambda: not self._pictures or self._taken + need_bytes <= self.size_bytes)
            self._taken, self._pictures = self._taken + need_bytes, self._pictures + 1
        try:
            yield
        finally:
            with self._freed:
                self._taken, self._pictures = self._taken - need_bytes, self._pictures - 1
                self._freed.notify_all()


def choose_workers(tasks: Sequence[Task], work: Work, threads: int) -> tuple[int, int]:
    """How many pictures to work on at once, and the threads of each; `threads` is of all together.

    Several pictures with a thread each are done sooner than one after the other with all threads: only a part of the
    work on a picture can be shared by threads. But there are no more at once than fit into memory, by the heads of
    some of them.
    """
    if len(tasks) == 1 or threads == 1:
        return 1, threads
    needs = []
    for task in tasks[:: -(-len(tasks) // _SAMPLE)]:
        with contextlib.suppress(LichenError, OSError):  # it will be told of in its turn
            if task.source.is_file():  # a pipe can be read once only
                needs.append(work.needed_bytes(task.source))
    fitting = work.budget.size_bytes * len(needs) // max(sum(needs), 1)
    at_once = max(min(len(tasks), threads, fitting), 1)
    return at_once, threads // at_once
