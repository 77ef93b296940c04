"""Metadata beside EXIF and colour: XMP in two parts, IPTC, gain maps, comments and texts are kept or said."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from lichen.image import xmp
from lichen.image.picture import from_pil, open_picture
from tests.image.by_hand import rgb_png, saved, with_segments
from tests.small import scene

STANDARD = b"http://ns.adobe.com/xap/1.0/\0"
EXTENDED = b"http://ns.adobe.com/xmp/extension/\0" + b"0" * 32 + bytes(8)


def jpeg() -> bytes:
    return saved(scene(24, 16), "JPEG")


@pytest.mark.parametrize(
    "reference",
    [b'<a xmpNote:HasExtendedXMP="00" b="1"/>', b'<a b="1"><xmpNote:HasExtendedXMP>00</xmpNote:HasExtendedXMP></a>'],
)
def test_extended_xmp_is_said_and_no_longer_referred_to(reference):
    picture = open_picture(with_segments(jpeg(), (0xE1, STANDARD + reference), (0xE1, EXTENDED + b"<more/>")))
    assert picture.notices == ("its extended XMP was left out",)
    assert picture.xmp in {b'<a b="1"/>', b'<a b="1"></a>'}


def test_iptc_gain_maps_and_comments_are_said():
    iptc = b"Photoshop 3.0\0" + b"8BIM" + b"\4\4" + b"\0\0" + (5).to_bytes(4, "big") + b"\x1c\2x\0\0\0"
    gain_map = STANDARD + b'<a hdrgm:Version="1.0"/>'
    picture = open_picture(with_segments(jpeg(), (0xED, iptc), (0xE1, gain_map), (0xFE, b"a comment")))
    assert picture.notices == tuple(f"its {what} was left out" for what in ("HDR gain map", "IPTC", "comment"))
    assert open_picture(jpeg()).notices == ()


def test_texts_of_png_are_said_but_not_those_that_programs_write():
    text = PngImagePlugin.PngInfo()
    for key in ("Software", "date:create", "Title", "parameters", "prompt", "workflow", "Author"):
        text.add_text(key, "of a kind")
    picture = open_picture(saved(scene(8, 8), "PNG", pnginfo=text))
    assert picture.notices == ("its texts 'Title', 'parameters', 'prompt' and 2 more were left out",)


@pytest.mark.parametrize(
    "text", ["", "exif", "\nexif\n    4\nnot hexadecimal\n", "\nexif\n       8\n0102030405060708\n"]
)
def test_texts_that_only_look_like_exif(text):
    data = rgb_png(np.zeros((2, 2, 3), np.uint8), (b"tEXt", b"Raw profile type exif\0" + text.encode()))
    assert open_picture(data).exif is None


def test_xmp_comes_from_either_name_that_pillow_has():
    image = scene(8, 8)
    image.info["XML:com.adobe.xmp"] = "<ä/>"
    assert from_pil(image).xmp == "<ä/>".encode()


def test_a_position_is_taken_out_of_xmp_in_any_spelling():
    packet = (
        b"<a exif:GPSLatitude='1' exif:GPSVersionID=\"2.2\" exif:Flash='0'><exif:GPSDest/>"
        b"<exif:GPSTimeStamp\n>now</exif:GPSTimeStamp ><dc:title>exif:GPS</dc:title></a>"
    )
    assert xmp.without_gps(packet) == b"<a exif:Flash='0'><dc:title>exif:GPS</dc:title></a>"


def test_the_orientation_of_jpeg_xl_is_its_codestream_s():
    """The EXIF block of a JPEG XL file only repeats it; the decoder has turned the pixels already."""
    pytest.importorskip("pillow_jxl", reason="without pillow-jxl-plugin")
    exif = Image.Exif()
    exif[274], exif[271] = 6, "Maker"
    picture = open_picture(saved(scene(24, 16), "JXL", lossless=True, exif=exif.tobytes()))
    assert np.array_equal(picture.pixels, np.asarray(scene(24, 16)))
    kept = Image.Exif()
    kept.load(picture.exif)
    assert kept[274] == 1 and kept[271] == "Maker"


def test_heif_is_turned_once():
    heif = pytest.importorskip("pillow_heif", reason="without pillow-heif")
    heif.register_heif_opener()
    exif = Image.Exif()
    exif[274], exif[271] = 6, "Maker"
    data = saved(scene(64, 48), "HEIF", quality=95, exif=exif.tobytes())
    picture = open_picture(data)
    wanted = np.rot90(np.asarray(scene(64, 48)), -1).astype(int)
    assert np.abs(picture.pixels - wanted).mean() < 6
    with Image.open(io.BytesIO(data)) as image:
        assert np.array_equal(from_pil(image).pixels, picture.pixels)
