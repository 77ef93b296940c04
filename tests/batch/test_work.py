"""The work on one picture: the memory that it holds, and how often its file is read."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from lichen.batch import work
from lichen.batch.budget import MemoryBudget, choose_workers
from lichen.batch.runner import run
from lichen.batch.tasks import Task
from lichen.codec import Codec
from lichen.options import DecodeOptions, EncodeOptions
from lichen.runtime.memory import program_bytes
from tests.small import scene


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
        work.Encode(codec, Noting(0), EncodeOptions())(Task(Path("a.png"), Path("out.lic")))
        assert taken == [(codec.memory_to_encode_bytes(200, 100) - program_bytes(), False), (0, False)]
        return
    work.Decode(codec, Noting(0), DecodeOptions(), ".png")(Task(Path("a.lic"), Path("out.png")))
    assert taken == [(codec.memory_to_decode_bytes(Path("a.lic").read_bytes()) - program_bytes(), False), (0, True)]


@pytest.mark.parametrize("command", ["encode", "decode"])
def test_a_job_reads_each_file_once(tmp_path, monkeypatch, command):
    """What it needs of memory is seen from heads; the whole file is read by the work alone."""
    monkeypatch.chdir(tmp_path)
    codec, tasks, budget = Codec(), [], MemoryBudget(10**10)
    for i in range(3):
        picture = scene(60 + i, 40)
        picture.save(f"{i}.png")
        Path(f"{i}.lic").write_bytes(codec.encode(picture))
        tasks.append(Task(Path(f"{i}.png"), Path(f"out/{i}.lic")))
    worker = work.Encode(codec, budget, EncodeOptions())
    if command == "decode":
        tasks = [Task(Path(f"{i}.lic"), Path(f"out/{i}.png")) for i in range(3)]
        worker = work.Decode(codec, budget, DecodeOptions(), ".png")
    read, read_whole = [], work.read_whole
    monkeypatch.setattr(work, "read_whole", lambda path: read.append(path) or read_whole(path))
    assert choose_workers(tasks, worker, 2) == (2, 1) and read == []
    assert all(done.error is None for done in run(tasks, worker, at_once=2))
    assert sorted(read) == [task.source for task in tasks]


def test_a_head_is_enough_to_estimate_memory(tmp_path):
    codec, budget = Codec(), MemoryBudget(0)
    scene(200, 100).save(tmp_path / "a.png")
    data = codec.encode(scene(200, 100))
    (tmp_path / "head.png").write_bytes((tmp_path / "a.png").read_bytes()[:200])
    (tmp_path / "head.lic").write_bytes(data[:30])
    encoding = work.Encode(codec, budget, EncodeOptions()).needed_bytes(tmp_path / "head.png")
    assert encoding == codec.memory_to_encode_bytes(200, 100) - program_bytes()
    decoding = work.Decode(codec, budget, DecodeOptions(), ".png").needed_bytes(tmp_path / "head.lic")
    assert decoding == codec.open_file(data).memory_bytes - program_bytes()
