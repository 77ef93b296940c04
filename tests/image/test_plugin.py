"""What the Pillow plugin writes of an image's metadata: what `getexif()` says now, and what it was given."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageOps

import lichen.pillow  # noqa: F401
from lichen.errors import PictureNotice
from tests.image.by_hand import exif_block, saved, short
from tests.small import scene

GPS = 0x8825


def photograph() -> Image.Image:
    exif = Image.Exif()
    exif[271], exif[274], exif[GPS] = "Maker", 6, {1: "N", 2: (50.0, 6.0, 7.0)}
    return Image.open(io.BytesIO(saved(scene(48, 32), "JPEG", exif=exif)))


def through(image: Image.Image, **options: object) -> Image.Image:
    return Image.open(io.BytesIO(saved(image, "LIC", **options)))


@pytest.mark.parametrize("given", [{}, {"icc_profile": b"profile"}])
def test_a_position_that_was_deleted_is_not_in_the_file(given):
    image = photograph()
    del image.getexif()[GPS]
    data = saved(image, "LIC", **given)
    back = Image.open(io.BytesIO(data))
    assert GPS not in back.getexif() and back.getexif()[271] == "Maker"
    assert back.size == (32, 48) and back.getexif().get(274, 1) == 1
    kept = through(photograph(), **given).getexif()
    assert kept.get_ifd(GPS)[1] == "N", "it is kept where nobody deleted it"


def test_exif_that_is_handed_over_as_an_edited_object():
    image = photograph()
    exif = image.getexif()
    del exif[GPS]
    assert GPS not in through(image, exif=exif).getexif()
    assert not through(photograph(), exif=b"").getexif()


def test_notices_are_given_also_where_blocks_are():
    image = Image.fromarray(np.zeros((16, 16), np.uint16))
    for options in ({}, {"xmp": b"<x/>"}):
        with pytest.warns(PictureNotice, match="16 bits") as found:
            image.save(io.BytesIO(), "LIC", **options)
        assert found[0].filename == __file__


def test_rotate_and_save():
    """An image keeps its orientation until it is transposed by it, whatever else is done to its pixels."""
    image = Image.open(io.BytesIO(saved(scene(48, 32), "PNG", exif=exif_block(short(274, 6)))))
    rotated = image.rotate(90, expand=True)
    assert through(rotated).size == ImageOps.exif_transpose(rotated).size == (48, 32)
    assert through(ImageOps.exif_transpose(image).rotate(90, expand=True)).size == (48, 32)
    assert through(ImageOps.exif_transpose(image)).size == (32, 48)
