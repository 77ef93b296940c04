"""The work on one picture: the memory that it holds, and how often its file is read."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from lichen.batch import work
from lichen.batch.budget import MemoryBudget
from lichen.batch.tasks import Task
from lichen.codec import Codec
from lichen.options import DecodeOptions, EncodeOptions
from lichen.runtime.memory import PROGRAM_BYTES
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
        assert taken == [(codec.memory_to_encode_bytes(200, 100) - PROGRAM_BYTES, False), (0, False)]
        return
    work.Decode(codec, Noting(0), DecodeOptions(), ".png")(Task(Path("a.lic"), Path("out.png")))
    assert taken == [(codec.memory_to_decode_bytes(Path("a.lic").read_bytes()) - PROGRAM_BYTES, False), (0, True)]
