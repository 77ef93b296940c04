"""The Pillow plugin."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

import lichen
import lichen.pillow
from tests.conftest import scene


def test_open_is_lazy_and_load_decodes(sample, tmp_path):
    path = tmp_path / "a.lic"
    sample.save(path, quality=60)
    image = Image.open(path)
    assert (image.size, image.mode, image.format) == (sample.size, "RGB", "LIC")
    assert image._data is not None
    assert np.array_equal(np.asarray(image), np.asarray(lichen.decode(path.read_bytes())))
    assert image._data is None
    copy = tmp_path / "b.png"
    image.save(copy)
    with Image.open(copy) as saved:
        assert saved.size == sample.size


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA"])
def test_modes(mode):
    buffer = io.BytesIO()
    scene(40, 30).convert(mode).save(buffer, "LIC", target_size_bytes=5000)
    assert buffer.tell() <= 5000
    image = Image.open(buffer)
    assert image.mode == mode
    image.load()
    assert image.mode == mode


def test_damage_is_an_oserror(sample):
    buffer = io.BytesIO()
    sample.save(buffer, "LIC")
    with pytest.raises(OSError, match="cannot identify"):
        Image.open(io.BytesIO(buffer.getvalue()[:-1]))
    with pytest.raises(OSError, match=r"0 \.\.\. 100"):
        sample.save(io.BytesIO(), "LIC", quality=1000)
