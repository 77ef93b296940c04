"""Decoded pictures as files of other formats: what they cannot hold is refused or said, never lost in silence."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
from PIL import Image, features

from lichen.errors import OutputError
from lichen.image.rendering import render
from lichen.metrics import psnr_db
from tests.small import scene


def transparent() -> Image.Image:
    image = scene(60, 40).convert("RGBA")
    image.putalpha(scene(60, 40, 1).convert("L"))
    return image


@pytest.mark.parametrize("ending", [".png", ".tiff", ".webp", ".tga", ".qoi"])
def test_formats_without_loss(ending):
    for image in (scene(60, 40), transparent()):
        data, notices = render(image, ending)
        assert notices == ()
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), np.asarray(image))


@pytest.mark.parametrize("ending", [".jpg", ".ppm", ".bmp"])
def test_formats_without_transparency(ending):
    assert render(scene(60, 40), ending)[1] == ()
    with pytest.raises(OutputError, match="no transparency"):
        render(transparent(), ending)


@pytest.mark.parametrize("ending", [".ico", ".icns"])
def test_formats_of_few_sizes(ending):
    with pytest.raises(OutputError, match="cannot hold 60 x 40 pixels"):
        render(scene(60, 40), ending)


def test_formats_of_few_colours():
    assert render(scene(60, 40), ".gif")[1] == ("GIF keeps 256 colours at most",)
    assert render(scene(60, 40).convert("L"), ".gif")[1] == ()


def test_formats_that_are_only_written():
    assert render(scene(60, 40), ".pdf")[0].startswith(b"%PDF")


@pytest.mark.parametrize(("ending", "least_db"), [(".webp", math.inf), (".avif", 40)])
def test_little_or_nothing_is_lost_in_writing(ending, least_db):
    if not features.check(ending[1:]):
        pytest.skip(f"Pillow without {ending}")
    picture = scene(96, 64)
    data, _ = render(picture, ending)
    with Image.open(io.BytesIO(data)) as image:
        assert psnr_db(np.asarray(picture), np.asarray(image.convert("RGB"))) >= least_db


def test_colours_under_transparency_are_kept():
    picture = scene(96, 64).convert("RGBA")
    picture.putalpha(0)
    with Image.open(io.BytesIO(render(picture, ".webp")[0])) as image:
        assert np.array_equal(np.asarray(image.convert("RGBA")), np.asarray(picture))
