"""Several pictures at once: the same files in the same order, within the memory that there is."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest
import torch

from lichen import jobs
from lichen.errors import BadInput
from lichen.jobs import Done, Pace, Task
from lichen.memory import Room, physical_bytes
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


def test_pictures_wait_for_room():
    room, held, most = Room(100), [0], [0]

    def hold(need: int) -> None:
        with room.taken(need):
            held[0] += need
            most[0] = max(most[0], held[0])
            time.sleep(0.01)
            held[0] -= need

    threads = [threading.Thread(target=hold, args=(need,)) for need in (60, 30, 50, 40, 10, 90, 20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    assert 50 < most[0] <= 100 and held == [0]


def test_one_alone_needs_no_room():
    room = Room(0)
    with room.taken(10**12):
        other = threading.Thread(target=lambda: room.taken(1).__enter__(), daemon=True)
        other.start()
        other.join(0.1)
        assert other.is_alive(), "it waits until it is alone"
    other.join(PATIENCE)
    assert not other.is_alive()


def test_a_failure_gives_its_room_back():
    room = Room(10)
    with pytest.raises(BadInput), room.taken(10):
        raise BadInput("no")
    with room.taken(10):
        pass


def test_threads_are_shared(monkeypatch):
    assert (Pace.of(1, 8).at_once, Pace.of(1, 8).threads) == (1, 8)
    assert (Pace.of(3, 8).at_once, Pace.of(3, 8).threads) == (3, 2)
    assert (Pace.of(99, 8).at_once, Pace.of(99, 8).threads) == (8, 1)
    assert (Pace.of(99, 8, device="cuda").at_once, Pace.of(99, 1).at_once) == (1, 1)
    assert Pace.of(99).at_once == torch.get_num_threads()
    monkeypatch.setattr(jobs, "physical_bytes", lambda: None)
    assert Pace.of(99, 8).at_once == 1, "where nothing is known of memory"
    assert Pace.of(99, 8, 10**9).at_once == 8


def test_the_memory_of_this_machine():
    if not hasattr(os, "sysconf"):
        pytest.skip("this system does not say")
    assert physical_bytes() > 10**8


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


def test_little_memory_is_enough_for_many(tmp_path, monkeypatch):
    """Pictures that need all that is allowed go one after the other."""
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    for i in range(3):
        scene(64, 64, seed=i).save(f"in/{i}.png")
    assert run("encode", "in", "-o", "out", "--threads", "3", "--max-memory", "600MB") == 0
    assert run("encode", "in", "-o", "none", "--threads", "3", "--max-memory", "100MB") == 3
    assert len(list(Path("out").iterdir())) == 3 and not list(Path("none").glob("*.lic"))
