"""Memory that pictures share, and how many are worked on at once."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from lichen.batch import budget
from lichen.batch.budget import MemoryBudget, choose_workers
from lichen.batch.tasks import Task
from lichen.errors import BadInput
from lichen.runtime import memory
from lichen.runtime.memory import machine_bytes, program_bytes

PATIENCE = 30  # seconds


class Watch:
    """Who holds memory at once."""

    def __init__(self, size_bytes: int) -> None:
        self.budget, self.held, self.most, self.lock = (
            MemoryBudget(program_bytes() + size_bytes),
            [],
            [],
            threading.Lock(),
        )

    def hold(self, need: int, meet: threading.Barrier | None = None) -> None:
        with self.budget.reserve(need):
            with self.lock:
                self.held.append(need)
                self.most = max(self.most, self.held, key=sum).copy()
            if meet is not None:
                meet.wait(PATIENCE)
            time.sleep(0.01)
            with self.lock:
                self.held.remove(need)

    def all(self, *needs: int, meet: threading.Barrier | None = None) -> None:
        threads = [threading.Thread(target=self.hold, args=(need, meet)) for need in needs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()


def test_pictures_wait_for_room():
    watch = Watch(100)
    watch.all(60, 30, 50, 40, 10, 90, 20, 70, 80)
    assert sum(watch.most) <= 100 and watch.held == []


def test_what_fits_is_there_at_once():
    watch = Watch(100)
    watch.all(60, 40, meet=threading.Barrier(2))
    assert sorted(watch.most) == [40, 60]


def test_one_alone_needs_no_room():
    watch = Watch(0)
    with watch.budget.reserve(10**12):
        other = threading.Thread(target=watch.hold, args=(1,), daemon=True)
        other.start()
        other.join(0.1)
        assert other.is_alive(), "it waits until it is alone"
    other.join(PATIENCE)
    assert not other.is_alive()


def test_a_failure_gives_its_room_back():
    budget = MemoryBudget(program_bytes() + 10)
    with pytest.raises(BadInput), budget.reserve(10):
        raise BadInput("no")
    with budget.reserve(10):
        pass


@dataclass(frozen=True)
class Needing:
    """Work that needs 100 bytes for each picture, but for one that cannot be read."""

    budget: MemoryBudget

    def needed_bytes(self, source: Path) -> int:
        if source.read_bytes() == b"2":
            raise BadInput("no")
        return 100


@pytest.mark.parametrize(
    ("size", "threads", "expected"),
    [(10**6, 8, (7, 1)), (10**6, 3, (3, 1)), (399, 8, (3, 2)), (99, 8, (1, 8)), (10**6, 1, (1, 1))],
)
def test_threads_are_shared_by_as_many_as_fit(tmp_path, size, threads, expected):
    tasks = [Task(tmp_path / f"{i}.png", tmp_path / f"{i}.lic") for i in range(7)]
    for i, task in enumerate(tasks[:-1]):  # the last is missing
        task.source.write_bytes(str(i).encode())
    assert choose_workers(tasks, Needing(MemoryBudget(program_bytes() + size)), threads) == expected
    assert choose_workers(tasks[:1], Needing(MemoryBudget(0)), threads) == (1, threads)


def test_pipes_are_left_to_who_reads_them(tmp_path):
    """What is read to estimate memory would be gone."""
    tasks = [Task(tmp_path / f"{i}.png", tmp_path / f"{i}.lic") for i in range(2)]
    for task in tasks:
        os.mkfifo(task.source)
    assert choose_workers(tasks, Needing(MemoryBudget(program_bytes() + 1000)), 2) == (1, 2)


def test_the_memory_of_this_machine(monkeypatch, tmp_path):
    if not hasattr(os, "sysconf"):
        pytest.skip("this system does not say")
    have = machine_bytes()
    assert have > 10**8
    assert MemoryBudget.of(None).size_bytes == have // 2 - program_bytes()
    assert MemoryBudget.of(10**9).size_bytes == 10**9 - program_bytes()
    (tmp_path / "limit").write_text("12345678\n")
    (tmp_path / "none").write_text("max\n")
    monkeypatch.setattr(memory, "_CONTAINER_LIMITS", (tmp_path / "none", tmp_path / "absent", tmp_path / "limit"))
    assert machine_bytes() == 12345678
    monkeypatch.setattr(budget, "machine_bytes", lambda: None)
    assert MemoryBudget.of(None).size_bytes == 0
