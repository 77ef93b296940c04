"""The Pillow plugin."""

from __future__ import annotations

import io
import pickle

import numpy as np
import pytest
from PIL import Image

import lichen
import lichen.pillow
from tests.small import scene


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


def test_metadata_are_there_when_opened_and_can_be_given():
    image, buffer, exif = scene(40, 30), io.BytesIO(), Image.Exif()
    exif[270] = "first"
    image.save(buffer, "LIC", exif=exif, icc_profile=b"profile", xmp=b"<x/>")
    opened = Image.open(buffer)
    assert opened.getexif()[270] == "first" and opened._data is not None
    assert opened.info["icc_profile"] == b"profile" and opened.info["xmp"] == b"<x/>"
    exif[270] = "second"
    opened.save(again := io.BytesIO(), "LIC", exif=exif, icc_profile=b"")
    assert Image.open(again).getexif()[270] == "second" and "icc_profile" not in Image.open(again).info
    assert "exif" not in image.info


def test_given_exif_turns_the_picture_once():
    image, buffer, exif = scene(40, 30), io.BytesIO(), Image.Exif()
    exif[274] = 6
    image.save(buffer, "LIC", exif=exif)
    assert Image.open(buffer).size == (30, 40) and Image.open(buffer).getexif()[274] == 1


def test_images_can_be_sent_to_other_processes(sample):
    sample.save(buffer := io.BytesIO(), "LIC")
    image = pickle.loads(pickle.dumps(Image.open(buffer)))
    assert np.array_equal(np.asarray(image), np.asarray(lichen.decode(buffer.getvalue())))
