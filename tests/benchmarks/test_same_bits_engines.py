"""Both engines over the same weights: every file is read alike, and one that is not is seen."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from benchmarks.same_bits import RUNS, Runner, compare_engines
from lichen.runtime.engines import load_engine
from lichen.runtime.weights import find_by_name
from tests.small import scene


@pytest.fixture
def runners():
    path = find_by_name("lichen")
    return [Runner(kind, 1, load_engine(path, "cpu", kind)) for kind, threads in RUNS if threads == 1]


def test_files_cross(runners):
    assert compare_engines("lichen", runners, np.asarray(scene(50, 40))) == (8, [])


def test_an_engine_that_reads_otherwise_is_caught(runners):
    class Off:
        def __getattr__(self, name):
            return getattr(runners[1].engine, name)

        def read(self, *arguments, **said):
            return runners[1].engine.read(*arguments, **said) + np.float32(2**-12)

    bent = [runners[0], dataclasses.replace(runners[1], engine=Off())]
    pairs, wrong = compare_engines("lichen", bent, np.asarray(scene(50, 40)))
    assert pairs == 8 and len(wrong) == 4 and all("read otherwise by onnx" in line for line in wrong)
