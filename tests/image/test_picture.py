"""Whole pictures: what Pillow reads comes in with its alpha and metadata, and goes out with them."""

from __future__ import annotations

import functools
import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps, features

from lichen.bitstream.container import Container
from lichen.bitstream.fields import Header
from lichen.codec import Codec
from lichen.errors import BadPicture
from lichen.image.picture import Picture, from_pil, open_picture, to_pil
from lichen.image.rendering import render
from lichen.image.sections import pack_extras, unpack_extras
from tests.image.by_hand import png, saved
from tests.small import scene

XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><a tiff:Orientation="6">b\xc3\xa4r</a></x:xmpmeta>'
UPRIGHT_XMP = XMP.replace(b'"6"', b'"1"')


@functools.cache  # it carries the time of its making
def icc() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def exif_of(**tags: object) -> Image.Exif:
    exif = Image.Exif()
    exif[0x010F], exif[0x8825] = "Maker", {1: "N", 2: (50.0, 6.0, 7.0)}
    exif[0x8769] = {0x9003: "2026:01:02 03:04:05", 0x927C: b"maker's own" * 3}
    for tag, value in tags.items():
        exif[int(tag.removeprefix("t"))] = value
    return exif


def through_a_file(picture: Picture) -> Picture:
    """The picture with its extras packed and unpacked, its pixels as they are."""
    height, width = picture.pixels.shape[:2]
    header = Header(1, bytes(4), width, height, 0, int(picture.grey))
    return unpack_extras(Container(header, pack_extras(picture)), picture.pixels, (0, 0, width, height))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "AVIF"])
def test_metadata_come_in_and_go_out(kind):
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    before = to_pil(Picture(np.asarray(scene(40, 30)), icc=icc(), exif=exif_of().tobytes(), xmp=UPRIGHT_XMP))
    picture = open_picture(render(before, "." + kind.lower())[0])
    assert (picture.icc, picture.xmp) == (icc(), UPRIGHT_XMP)
    data, notices = render(to_pil(through_a_file(picture)), "." + kind.lower())
    with Image.open(io.BytesIO(data)) as back:
        assert back.info["icc_profile"] == icc() and back.info["xmp"] == UPRIGHT_XMP
        assert back.getexif()[0x010F] == "Maker"
        assert back.getexif().get_ifd(0x8769)[0x927C] == b"maker's own" * 3
        assert back.getexif().get_ifd(0x8825)[1] == "N"
    assert notices == ()


def test_formats_without_metadata_say_so():
    image = to_pil(Picture(np.asarray(scene(8, 8)), icc=icc(), xmp=XMP))
    assert render(image, ".bmp")[1] == ("BMP cannot hold its ICC", "BMP cannot hold its XMP")


def test_stripped():
    picture = Picture(np.asarray(scene(8, 8)), icc=b"i", exif=b"e", xmp=b"x").stripped()
    assert (picture.icc, picture.exif, picture.xmp) == (None, None, None)


@pytest.mark.parametrize("turn", range(1, 9))
def test_orientation(turn):
    data = saved(scene(24, 16), "PNG", exif=exif_of(t274=turn))
    picture = open_picture(data)
    with Image.open(io.BytesIO(data)) as image:
        assert np.array_equal(picture.pixels, np.asarray(ImageOps.exif_transpose(image)))
    kept = Image.Exif()
    kept.load(picture.exif)
    assert kept[274] == 1 and kept.get_ifd(0x8769)[0x927C] == b"maker's own" * 3


def test_pillow_s_limit_is_not_ours(monkeypatch):
    """A picture's alpha is as large as the picture, which our own limits have let pass."""
    image = scene(64, 64).convert("RGBA")
    data = Codec().encode(image)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    assert Codec().decode(data).size == (64, 64)


def test_orientation_by_xmp_alone_is_applied_once():
    picture = open_picture(saved(scene(24, 16), "WEBP", lossless=True, xmp=XMP))
    assert picture.pixels.shape == (24, 16, 3) and picture.xmp == UPRIGHT_XMP
    again = open_picture(render(to_pil(picture), ".png")[0])
    assert np.array_equal(again.pixels, picture.pixels)


def test_exif_of_tiff_is_that_of_the_picture_not_of_the_file():
    picture = open_picture(saved(scene(24, 16), "TIFF", exif=exif_of(t274=6).tobytes()))
    kept = Image.Exif()
    kept.load(picture.exif)
    assert picture.pixels.shape == (24, 16, 3) and kept[0x010F] == "Maker" and kept.get(274, 1) == 1
    assert kept.get_ifd(0x8769)[0x9003] == "2026:01:02 03:04:05"
    assert not {256, 257, 259, 273, 279} & set(kept)


def test_16_bits():
    row = struct.pack(">4H", 0, 128, 129, 65535)
    grey = open_picture(png(16, 0, [row], 4, (b"tRNS", b"\0\x81")))
    assert grey.pixels[0, :, 0].tolist() == [0, 0, 1, 255] and grey.alpha.tolist() == [[255, 255, 0, 255]]
    colour = open_picture(png(16, 2, [struct.pack(">6H", 0, 257, 65535, 256, 1, 2)], 2))
    assert colour.pixels[0].tolist() == [[0, 1, 255], [1, 0, 0]]
    both = open_picture(png(16, 4, [row], 2))
    assert both.grey and both.alpha.tolist() == [[0, 255]]
    assert [p.notices for p in (grey, colour, both)] == [("16 bits a sample became 8",)] * 3
    with pytest.raises(BadPicture, match="32-bit"):
        from_pil(Image.fromarray(np.full((2, 2), 70000, np.int32)))


@pytest.mark.parametrize(
    "fields",
    [
        {"pixels": np.zeros((4, 4), np.uint8)},
        {"pixels": np.zeros((4, 4, 3), np.float32)},
        {"pixels": np.zeros((0, 4, 3), np.uint8)},
        {"pixels": [[1, 2, 3]]},
        {"pixels": np.zeros((4, 4, 3), np.uint8), "alpha": np.zeros((4, 5), np.uint8)},
        {"pixels": np.zeros((4, 4, 3), np.uint8), "icc": "text"},
    ],
)
def test_pictures_made_by_hand_are_checked(fields):
    with pytest.raises(BadPicture):
        Picture(**fields)
