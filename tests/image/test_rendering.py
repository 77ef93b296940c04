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


@pytest.mark.parametrize("ending", [".jpg", ".bmp", ".ppm", ".webp", ".avif", ".gif", ".pcx"])
@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_an_alpha_of_255_everywhere_is_no_loss(ending, mode):
    if ending in {".webp", ".avif"} and not features.check(ending[1:]):
        pytest.skip(f"Pillow without {ending}")
    opaque = scene(60, 40).convert(mode)
    data, notices = render(opaque, ending)
    plain, said = render(opaque.convert(mode[:-1]), ending)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), np.asarray(Image.open(io.BytesIO(plain))))
    assert notices == said


@pytest.mark.parametrize("ending", [".png", ".tiff", ".tga"])
def test_an_alpha_of_255_everywhere_stays_where_it_can(ending):
    with Image.open(io.BytesIO(render(scene(60, 40).convert("RGBA"), ending)[0])) as image:
        assert image.mode == "RGBA"


@pytest.mark.parametrize("ending", [".webp", ".avif", ".png", ".tiff"])
def test_transparency_is_kept(ending):
    if ending in {".webp", ".avif"} and not features.check(ending[1:]):
        pytest.skip(f"Pillow without {ending}")
    data, notices = render(transparent(), ending)
    with Image.open(io.BytesIO(data)) as image:
        found = np.asarray(image.getchannel("A")).astype(int)
    assert np.abs(found - np.asarray(transparent().getchannel("A"))).max() <= (12 if ending == ".avif" else 0)
    assert notices == ()


@pytest.mark.parametrize(("key", "name"), [("exif", "EXIF"), ("xmp", "XMP")])
def test_blocks_too_long_for_jpeg_are_left_out_and_said(key, name):
    exif = Image.Exif()
    exif[0x010E] = "d" * 70000
    block = exif.tobytes() if key == "exif" else b"<x>" + b"y" * 70000 + b"</x>"
    image = scene(60, 40)
    image.info[key] = block
    data, notices = render(image, ".jpg")
    assert notices == (f"JPEG cannot hold its {name} of {len(block)} bytes",)
    assert key not in Image.open(io.BytesIO(data)).info
    for ending in (".png", ".webp", ".tiff"):
        assert render(image, ending)[1] == ()


@pytest.mark.parametrize(("key", "longest"), [("exif", 65533), ("xmp", 65504)])
def test_the_longest_blocks_that_jpeg_holds(key, longest):
    image = scene(60, 40)
    image.info[key] = (b"Exif\0\0" if key == "exif" else b"").ljust(longest, b"x")
    assert render(image, ".jpg")[1] == ()
    image.info[key] += b"x"
    assert len(render(image, ".jpg")[1]) == 1


@pytest.mark.parametrize("ending", [".tiff", ".avif"])
def test_exif_that_pillow_cannot_write_is_left_out_and_said(ending):
    image = scene(60, 40)
    image.info["exif"] = b"Exif\0\0nonsense"
    data, notices = render(image, ending)
    assert Image.open(io.BytesIO(data)).size == (60, 40)
    assert len(notices) == 1 and notices[0].startswith(f"{ending[1:].upper()} cannot hold its EXIF (")


def test_what_was_written_and_cannot_be_opened_is_refused(monkeypatch):
    monkeypatch.setitem(Image.SAVE, "PNG", lambda image, file, name: file.write(b"no picture"))
    with pytest.raises(OutputError, match="cannot be opened again"):
        render(scene(60, 40), ".png")


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
