"""The fuzz run itself, short; and files by structure."""

from __future__ import annotations

import signal
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks import fuzz
from lichen.bitstream.container import Kind
from lichen.bitstream.fields import Header, write_header
from lichen.codec import Codec
from lichen.errors import LichenError
from lichen.lab.models.zoo import ZOO
from tests.small import small_checkpoint


@pytest.fixture(scope="module")
def codec(tiny):
    return Codec(weights=tiny._extra, max_pixels=2**14)


@pytest.fixture(scope="module")
def seeds(codec):
    return fuzz.make_seeds([codec])


def test_a_short_run(codec, seeds, tmp_path):
    before = signal.signal(signal.SIGPROF, fuzz._alarm)
    try:
        verdicts = fuzz.run(codec, seeds, 400, np.random.default_rng(5), tmp_path)
    finally:
        signal.signal(signal.SIGPROF, before)
    assert verdicts.failures == []
    assert {kind for kind, _ in verdicts.counts} >= {"cut", *(make.__name__ for make in fuzz.HOSTILE[:-1])}


def test_what_is_wrong_is_seen(codec, seeds):
    """The judge itself: a damaged file that decodes, an error that is not ours, the wrong size."""

    class Bent:
        def __init__(self, outcome):
            self.outcome = outcome

        def decode(self, data):
            if isinstance(self.outcome, Exception):
                raise self.outcome
            return self.outcome

    seed = seeds[0]
    known, image = {seed.data: seed}, codec.decode(seed.data)
    assert fuzz.judge(codec, known, False, seed.data) == "picture"
    for each in seeds:  # all of it arrived: what follows is read only by who asks for the whole file
        assert fuzz.judge(codec, {s.data: s for s in seeds}, False, each.data + b"more") == "first groups"
    assert "damaged" in fuzz.judge(Bent(image), known, False, seed.data[:-1] + b"x")
    assert "instead of" in fuzz.judge(Bent(image.resize((9, 9))), known, True, seed.data)
    assert "ValueError" in fuzz.judge(Bent(ValueError("odd")), known, True, seed.data)


def test_groups_of_a_damaged_file_are_seen(tmp_path):
    """Cut files decode by the groups that arrived, and to those of the whole file only."""
    codec = Codec(weights=small_checkpoint(next(row for row in ZOO if row.name == "elic"), tmp_path))
    (seed,) = (s for s in fuzz.make_seeds([codec])[:1])
    assert len(seed.partial) > 1
    known = {seed.data: seed}
    assert fuzz.judge(codec, known, False, seed.data[:-9]) == "first groups"
    assert "groups of a damaged" in fuzz.judge(codec, {b"": replace(seed, partial=frozenset())}, False, seed.data[:-9])


headers = st.builds(
    Header,
    model=st.integers(1, 3),
    weights=st.just(b"used"),
    width=st.integers(1, 300),
    height=st.integers(1, 300),
    quality_index=st.integers(0, 1100),
    flags=st.integers(0, 3),
)
sections = st.lists(st.tuples(st.sampled_from([1, 1, 2, 3, 4, 6, 7, 8]), st.binary(max_size=80)), max_size=5)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(header=headers, parts=sections)
def test_any_structure_gives_our_error_or_the_declared_size(codec, header, parts):
    known = Header(**{**vars(header), "weights": codec.checkpoint.hash})
    data = fuzz.seal(write_header(known), parts)
    try:
        image = codec.decode(data)
    except LichenError:
        return
    assert image.size == (header.width, header.height) and sum(kind == Kind.LATENTS for kind, _ in parts) == 1
