"""Several pictures at once: the same files in the same order; and long work that is stopped."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest
import torch

from lichen.batch.runner import interruptible, run
from lichen.batch.tasks import Done, Task
from lichen.errors import BadInput, OutOfMemory, OutputError, UsageError
from tests import command
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

    assert [done.size_in_bytes for done in run(TASKS, last_first, at_once=4)] == list(range(7))


@pytest.mark.parametrize("at_once", [1, 3])
def test_one_bad_picture_stops_no_other(at_once):
    def work(task: Task) -> Done:
        if task.source.stem in {"2", "5"}:
            raise BadInput("no")
        return Done(task)

    results = list(run(TASKS, work, at_once=at_once))
    assert [done.task for done in results] == TASKS
    assert [done.error is not None for done in results] == [i in {2, 5} for i in range(7)]


@pytest.mark.parametrize("at_once", [1, 3])
def test_nothing_is_begun_after_a_stop(at_once):
    stop, begun = threading.Event(), []

    def work(task: Task) -> Done:
        begun.append(task)
        stop.set()
        return Done(task)

    results = list(run(TASKS, work, at_once=at_once, stop=stop))
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

    steps = run(TASKS, slow_first, at_once=2, stop=stop)
    assert [next(steps).task, next(steps).task] == TASKS[1:3]
    end.set()
    assert list(steps) == []


def test_a_slow_picture_holds_up_no_other():
    others = threading.Barrier(2)

    def slow_first(task: Task) -> Done:
        if task.source.stem in {"0", "6"}:
            others.wait(PATIENCE)  # the first ends when the last has come
        return Done(task)

    assert [done.task for done in run(TASKS, slow_first, at_once=2)] == TASKS


@pytest.mark.parametrize("kind", [OutputError, OutOfMemory, UsageError, BadInput])
def test_an_error_names_its_input(kind):
    def work(task: Task) -> Done:
        raise kind("no transparency" if task.source.stem != "1" else f"{task.target}: the disk is full")

    said = [str(done.error) for done in run(TASKS[:2], work)]
    assert said == ["0.png: no transparency", "1.lic: the disk is full"]


def test_a_folder_makes_the_files_that_its_pictures_make(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = torch.get_num_threads()
    Path("in").mkdir()
    for i in range(4):
        scene(90 + i, 70, seed=i).save(f"in/{i}.png")
    try:
        assert command.run("encode", "in", "-o", "together", "--threads", "3") == 0
        assert command.run("encode", "in", "-o", "in turn", "--threads", "1") == 0
        assert command.run("decode", "together", "-o", "pictures", "--threads", "3") == 0
        assert command.run("decode", "in turn", "-o", "pictures in turn", "--threads", "1") == 0
    finally:
        torch.set_num_threads(before)
    for one, other in (("together", "in turn"), ("pictures", "pictures in turn")):
        names = sorted(path.name for path in Path(one).iterdir())
        assert names == sorted(path.name for path in Path(other).iterdir()) and len(names) == 4
        assert all(Path(one, name).read_bytes() == Path(other, name).read_bytes() for name in names)


def test_little_memory_is_enough_for_many(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    for i in range(3):
        scene(64, 64, seed=i).save(f"in/{i}.png")
    before = torch.get_num_threads()
    try:
        assert command.run("encode", "in", "-o", "out", "--threads", "3", "--max-memory", "600MB") == 0
        assert command.run("encode", "in", "-o", "none", "--threads", "3", "--max-memory", "100MB") == 3
    finally:
        torch.set_num_threads(before)
    assert len(list(Path("out").iterdir())) == 3 and not list(Path("none").glob("*.lic"))


def test_what_is_reported_is_told_here_in_its_order():
    told: list[tuple[int, threading.Thread]] = []

    def work(report, stop):
        for number in range(100):
            report(number)
        return "the end", threading.current_thread()

    result, worker = interruptible(work, lambda number: told.append((number, threading.current_thread())))
    assert result == "the end" and worker is not threading.current_thread()
    assert told == [(number, threading.current_thread()) for number in range(100)]


def test_an_error_of_the_work_is_that_of_the_call():
    def work(report, stop):
        report(1)
        raise BadInput("no")

    told: list[int] = []
    with pytest.raises(BadInput, match="no"):
        interruptible(work, told.append)
    assert told == [1]


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_after_an_interruption_what_is_nearly_done_is_told():
    told: list[str] = []

    def work(report, stop):
        report("begun")
        interrupt()
        assert stop.wait(PATIENCE)
        report("nearly done")

    with pytest.raises(KeyboardInterrupt):
        interruptible(work, told.append)
    assert told == ["begun", "nearly done"]


def test_an_interruption_does_not_wait_for_long_work():
    end = threading.Event()

    def work(report, stop):
        interrupt()
        end.wait(PATIENCE)
        report("late")

    told: list[str] = []
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        interruptible(work, told.append)
    assert time.monotonic() - began < 5 and not told
    end.set()
