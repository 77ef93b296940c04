"""Several pictures at once: the same files in the same order, within the memory that there is."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from lichen.batch import jobs
from lichen.batch.jobs import Done, Task
from lichen.codec import Codec
from lichen.errors import BadInput, OutOfMemory, OutputError, UsageError
from lichen.runtime import memory
from lichen.runtime.memory import PROGRAM_BYTES, MemoryBudget, machine_bytes
from tests.command import run
from tests.small import scene

PATIENCE = 30  # seconds
TASKS = [Task(Path(f"{i}.png"), Path(f"{i}.lic")) for i in range(7)]


def test_results_come_in_their_order():
    gates = [threading.Event() for _ in range(4)]

    def last_first(task: Task) -> Done:
        number = int(task.source.stem)
        if number < 3:
            assert gates[number + 1].wait(PATIENCE)
        if number < 4:
            gates[number].set()
        return Done(task, number)

    assert [done.size_in_bytes for done in jobs.run(TASKS, last_first, at_once=4)] == list(range(7))


@pytest.mark.parametrize("at_once", [1, 3])
def test_one_bad_picture_stops_no_other(at_once):
    def work(task: Task) -> Done:
        if task.source.stem in {"2", "5"}:
            raise BadInput("no")
        return Done(task)

    results = list(jobs.run(TASKS, work, at_once=at_once))
    assert [done.task for done in results] == TASKS
    assert [done.error is not None for done in results] == [i in {2, 5} for i in range(7)]


@pytest.mark.parametrize("at_once", [1, 3])
def test_nothing_is_begun_after_a_stop(at_once):
    stop, begun = threading.Event(), []

    def work(task: Task) -> Done:
        begun.append(task)
        stop.set()
        return Done(task)

    results = list(jobs.run(TASKS, work, at_once=at_once, stop=stop))
    assert [done.task for done in results] == [task for task in TASKS if task in begun]
    assert 1 <= len(begun) <= at_once


def test_after_a_stop_what_is_done_is_told_behind_what_is_not():
    stop, end = threading.Event(), threading.Event()

    def slow_first(task: Task) -> Done:
        if task.source.stem == "0":
            end.wait(PATIENCE)
        elif task.source.stem == "2":
            stop.set()
        return Done(task)

    steps = jobs.run(TASKS, slow_first, at_once=2, stop=stop)
    assert [next(steps).task, next(steps).task] == TASKS[1:3]
    end.set()
    assert list(steps) == []


def test_a_slow_picture_holds_up_no_other():
    others = threading.Barrier(2)

    def slow_first(task: Task) -> Done:
        if task.source.stem in {"0", "6"}:
            others.wait(PATIENCE)  # the first ends when the last has come
        return Done(task)

    assert [done.task for done in jobs.run(TASKS, slow_first, at_once=2)] == TASKS


class Watch:
    """Who is in a room at once."""

    def __init__(self, size_bytes: int) -> None:
        self.budget, self.held, self.most, self.lock = (
            MemoryBudget(PROGRAM_BYTES + size_bytes),
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
    budget = MemoryBudget(PROGRAM_BYTES + 10)
    with pytest.raises(BadInput), budget.reserve(10):
        raise BadInput("no")
    with budget.reserve(10):
        pass


@dataclass(frozen=True)
class Needing:
    """Work that needs 100 bytes for each picture, but for one that cannot be read."""

    budget: MemoryBudget

    def need_bytes(self, raw: bytes) -> int:
        if raw == b"2":
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
    assert jobs.choose_workers(tasks, Needing(MemoryBudget(PROGRAM_BYTES + size)), threads) == expected
    assert jobs.choose_workers(tasks[:1], Needing(MemoryBudget(0)), threads) == (1, threads)


def test_pipes_are_left_to_who_reads_them(tmp_path):
    """What is read to quantize memory would be gone."""
    tasks = [Task(tmp_path / f"{i}.png", tmp_path / f"{i}.lic") for i in range(2)]
    for task in tasks:
        os.mkfifo(task.source)
    assert jobs.choose_workers(tasks, Needing(MemoryBudget(PROGRAM_BYTES + 1000)), 2) == (1, 2)


@pytest.mark.parametrize("kind", [OutputError, OutOfMemory, UsageError, BadInput])
def test_an_error_names_its_input(kind):
    def work(task: Task) -> Done:
        raise kind("no transparency" if task.source.stem != "1" else f"{task.target}: the disk is full")

    said = [str(done.error) for done in jobs.run(TASKS[:2], work)]
    assert said == ["0.png: no transparency", "1.lic: the disk is full"]


def test_one_file_to_standard_output():
    assert jobs.plan([Path("a.png")], jobs.STANDARD, ".lic", {".png"}, False) == [Task(Path("a.png"), jobs.STANDARD)]


def test_the_memory_of_this_machine(monkeypatch, tmp_path):
    if not hasattr(os, "sysconf"):
        pytest.skip("this system does not say")
    have = machine_bytes()
    assert have > 10**8
    assert MemoryBudget.of(None).size_bytes == have // 2 - PROGRAM_BYTES
    assert MemoryBudget.of(10**9).size_bytes == 10**9 - PROGRAM_BYTES
    (tmp_path / "limit").write_text("12345678\n")
    (tmp_path / "none").write_text("max\n")
    monkeypatch.setattr(memory, "_CONTAINER_LIMITS", (tmp_path / "none", tmp_path / "absent", tmp_path / "limit"))
    assert machine_bytes() == 12345678
    monkeypatch.setattr(memory, "machine_bytes", lambda: None)
    assert MemoryBudget.of(None).size_bytes == 0


def test_a_folder_makes_the_files_that_its_pictures_make(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = torch.get_num_threads()
    Path("in").mkdir()
    for i in range(4):
        scene(90 + i, 70, seed=i).save(f"in/{i}.png")
    try:
        assert run("encode", "in", "-o", "together", "--threads", "3") == 0
        assert run("encode", "in", "-o", "in turn", "--threads", "1") == 0
        assert run("decode", "together", "-o", "pictures", "--threads", "3") == 0
        assert run("decode", "in turn", "-o", "pictures in turn", "--threads", "1") == 0
    finally:
        torch.set_num_threads(before)
    for one, other in (("together", "in turn"), ("pictures", "pictures in turn")):
        names = sorted(path.name for path in Path(one).iterdir())
        assert names == sorted(path.name for path in Path(other).iterdir()) and len(names) == 4
        assert all(Path(one, name).read_bytes() == Path(other, name).read_bytes() for name in names)


@pytest.mark.parametrize("command", ["encode", "decode"])
def test_pictures_take_their_room(tmp_path, monkeypatch, command):
    """What they need beside the program, from before a picture is opened until its result is written."""
    monkeypatch.chdir(tmp_path)
    scene(200, 100, seed=1).save("a.png")
    codec = Codec()
    Path("a.lic").write_bytes(codec.encode(scene(200, 100, seed=1)))
    taken: list[tuple[int, bool]] = []

    class Noting(MemoryBudget):
        @contextlib.contextmanager
        def reserve(self, need_bytes):
            taken.append((need_bytes, Path("out.png").exists()))
            yield
            taken.append((0, Path("out.png").exists()))

    if command == "encode":
        jobs.Encode(codec, Noting(0), 50)(Task(Path("a.png"), Path("out.lic")))
        assert taken == [(codec.memory_to_encode_bytes(200, 100) - PROGRAM_BYTES, False), (0, False)]
        return
    jobs.Decode(codec, Noting(0), ".png")(Task(Path("a.lic"), Path("out.png")))
    assert taken == [(codec.memory_to_decode_bytes(Path("a.lic").read_bytes()) - PROGRAM_BYTES, False), (0, True)]


def test_little_memory_is_enough_for_many(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    for i in range(3):
        scene(64, 64, seed=i).save(f"in/{i}.png")
    before = torch.get_num_threads()
    try:
        assert run("encode", "in", "-o", "out", "--threads", "3", "--max-memory", "600MB") == 0
        assert run("encode", "in", "-o", "none", "--threads", "3", "--max-memory", "100MB") == 3
    finally:
        torch.set_num_threads(before)
    assert len(list(Path("out").iterdir())) == 3 and not list(Path("none").glob("*.lic"))
