"""Decoded pictures as files of other formats: what they cannot hold is refused or said, never lost in silence."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from lichen.errors import OutputError
from lichen.rendering import render
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
