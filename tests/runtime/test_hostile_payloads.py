"""Files whose payloads, headers or lengths are bent: both engines say the same, in latents, pixels or errors."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import fuzz
from benchmarks.fuzz import Seed
from lichen.bitstream.container import read_container
from lichen.codec import Codec
from lichen.errors import BadFile, LichenError
from lichen.lab.engine import precision
from lichen.options import EngineName, Tune
from tests.small import scene

CASES = 64
KINDS = (fuzz.one_bit, fuzz.extreme_fields, fuzz.bent_header, *(fuzz.bent_payload, fuzz.other_payload) * 2)


@pytest.fixture(scope="module")
def codecs():
    return [Codec(engine=engine, max_pixels=2**14) for engine in (EngineName.ONNX, EngineName.TORCH)]


@pytest.fixture(scope="module")
def seeds():
    found = []
    for number, tune in enumerate(Tune):
        codec = Codec(tune=tune)
        for size, quality in (((48, 32), 100), ((100, 70), 40), ((1, 1), 5)):
            data = codec.encode(scene(*size, seed=number), quality)
            container = read_container(data)
            found.append(Seed(data, container.header, list(container.sections.items()), b""))
    return found


@pytest.fixture
def in_float32(monkeypatch):
    """Both engines in float32: latents that no picture has go as far apart in bfloat16 as its digits are few."""
    monkeypatch.setattr(precision, "native_bfloat16", lambda: False)


def said(codec, data):
    """y_hat, the filter's coefficients and the pixels of a file; or the error, and what it says."""
    try:
        file = codec.open_file(data)
        y_hat, coefficients = file.latents()
        return np.asarray(y_hat), None if coefficients is None else np.asarray(coefficients), file.picture().pixels
    except LichenError as error:
        return type(error), str(error)


def alike(codecs, data):
    """Whether both engines say the same of a file, and whether that is a picture to both."""
    ours, theirs = (said(codec, data) for codec in codecs)
    if len(ours) != len(theirs):
        return False, False
    if len(ours) == 2:
        return ours == theirs, False
    same = np.array_equal(ours[0], theirs[0]) and np.array_equal(ours[1], theirs[1])
    return same and int(np.abs(ours[2].astype(int) - theirs[2]).max()) <= 1, True


def test_bent_files_are_the_same_to_both_engines(codecs, seeds, in_float32, monkeypatch):
    monkeypatch.setattr(fuzz, "pick", lambda seeds, rng: seeds[int(rng.integers(0, len(seeds)))])
    rng = np.random.default_rng(3)
    found = [alike(codecs, KINDS[number % len(KINDS)](seeds, rng)) for number in range(CASES)]
    assert [number for number, (same, _) in enumerate(found) if not same] == []
    pictures = sum(shown for _, shown in found)
    assert CASES // 4 < pictures < CASES * 3 // 4


def test_cuts_are_refused_by_both(codecs, seeds):
    for seed in seeds:
        for length in np.linspace(0, len(seed.data) - 1, 12).astype(int):
            for codec in codecs:
                with pytest.raises(BadFile):
                    codec.decode(seed.data[:length])


def test_what_differs_would_be_seen(codecs, seeds, in_float32):
    """The comparison itself: files of two pictures, and a file beside an error."""

    class Other:
        def __init__(self, data):
            self.data = data

        def open_file(self, _):
            return codecs[1].open_file(self.data)

    data = seeds[0].data
    assert alike(codecs, data) == (True, True)
    assert alike([codecs[0], Other(seeds[1].data)], data) == (False, True)
    assert alike([codecs[0], Other(data[:-3])], data) == (False, False)
