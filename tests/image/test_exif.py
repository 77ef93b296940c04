"""Orientation and EXIF: what a viewer of the source shows is what a viewer of the decoded file shows."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps, features

from lichen.image.exif import DAMAGED, upright
from lichen.image.picture import Picture, from_pil, open_picture
from tests.image.by_hand import ORIENTATION, entry, exif_block, png_chunk, rgb_png, saved, short, tiff
from tests.small import scene

GPS = 0x8825
PIXELS = np.arange(6 * 4 * 3, dtype=np.uint8).reshape(6, 4, 3) * 3
TURNED = np.rot90(PIXELS, -1)  # what orientation 6 shows

NUMBERS = {  # type of the entry, and the value 6 in it
    "BYTE": (1, b"\6"),
    "SHORT": (3, struct.pack("<H", 6)),
    "LONG": (4, struct.pack("<I", 6)),
    "SBYTE": (6, b"\6"),
    "UNDEFINED": (7, b"\6"),
    "SSHORT": (8, struct.pack("<h", 6)),
    "SLONG": (9, struct.pack("<i", 6)),
    "FLOAT": (11, struct.pack("<f", 6)),
}


def with_exif(block: bytes) -> bytes:
    """The pixels as a PNG file with this EXIF block."""
    return rgb_png(PIXELS, (b"eXIf", block.removeprefix(b"Exif\0\0")))


def as_a_viewer(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(ImageOps.exif_transpose(image))


def kept(picture: Picture) -> Image.Exif:
    exif = Image.Exif()
    exif.load(picture.exif or b"")
    return exif


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize("name", NUMBERS)
def test_an_orientation_of_any_type_is_applied_as_viewers_do_and_becomes_1(name):
    kind, value = NUMBERS[name]
    data = with_exif(exif_block(short(0x0112 - 2, 7), entry(ORIENTATION, kind, value)))
    picture = open_picture(data)
    assert np.array_equal(picture.pixels, as_a_viewer(data))
    assert np.array_equal(picture.pixels, PIXELS if name in {"BYTE", "UNDEFINED"} else TURNED)
    assert kept(picture)[ORIENTATION] == 1 and kept(picture)[0x0110] == 7


@pytest.mark.parametrize(
    ("kind", "value"), [(5, struct.pack("<II", 6, 1)), (10, struct.pack("<ii", 12, 2)), (12, struct.pack("<d", 6))]
)
def test_an_orientation_that_lies_outside_of_its_entry(kind, value):
    at = 8 + 2 + 12 + 4
    data = with_exif(exif_block(entry(ORIENTATION, kind, struct.pack("<I", at))) + value)
    picture = open_picture(data)
    assert np.array_equal(picture.pixels, as_a_viewer(data)) and np.array_equal(picture.pixels, TURNED)
    assert kept(picture)[ORIENTATION] == 1


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("value", [0, 1, 9, 65535])
def test_numbers_that_are_no_orientation_turn_nothing(order, value):
    picture = open_picture(with_exif(exif_block(short(ORIENTATION, value, order), order=order)))
    assert np.array_equal(picture.pixels, PIXELS) and kept(picture)[ORIENTATION] == 1


@pytest.mark.parametrize("count", [2, 3, 65535])
def test_a_directory_that_states_more_entries_than_it_has(count):
    picture = open_picture(with_exif(exif_block(short(ORIENTATION, 6), stated=count)))
    assert np.array_equal(picture.pixels, TURNED)
    assert picture.exif == exif_block(short(ORIENTATION, 1))
    assert picture.notices == (f"its EXIF block is damaged: 1 of {count} entries were kept",)


def test_a_directory_that_is_cut_within_an_entry():
    block = exif_block(short(ORIENTATION, 6), entry(0x010F, 2, b"Abc", count=4))[:-9]
    picture = open_picture(with_exif(block))
    assert np.array_equal(picture.pixels, TURNED)
    assert kept(picture)[ORIENTATION] == 1 and 0x010F not in kept(picture)
    assert picture.notices == ("its EXIF block is damaged: 1 of 2 entries were kept",)


def test_a_block_without_the_end_of_its_directory_is_completed():
    picture = open_picture(with_exif(exif_block(short(ORIENTATION, 6))[:-4]))
    assert np.array_equal(picture.pixels, TURNED)
    assert picture.exif == exif_block(short(ORIENTATION, 1)) and picture.notices == ()


@pytest.mark.parametrize("marks", [0, 1, 2, 3])
def test_any_number_of_marks_before_a_block(marks):
    block = exif_block(short(ORIENTATION, 6), entry(0x010F, 2, b"Abc", count=4))
    body = b"Exif\0\0" * marks + block.removeprefix(b"Exif\0\0")
    picture = open_picture(rgb_png(PIXELS, (b"eXIf", body)))
    assert np.array_equal(picture.pixels, TURNED) and picture.notices == ()
    assert kept(picture)[0x010F] == "Abc" and kept(picture)[ORIENTATION] == 1


@pytest.mark.parametrize("block", [b"", b"nonsense", b"II*\0", b"II*\0\xff\xff\xff\xff\0\0", b"II*\0\x08\0\0\0\2\0"])
def test_a_block_without_a_directory_is_left_out_and_said(block):
    data = rgb_png(PIXELS, (b"eXIf", block)) if block else rgb_png(PIXELS)
    picture = open_picture(data)
    assert np.array_equal(picture.pixels, PIXELS) and picture.exif is None
    assert picture.notices == ((DAMAGED,) if block else ())


@pytest.mark.parametrize("tag", [0x010F, 0x0131])
def test_a_value_outside_of_the_block_hides_nothing(tag):
    """Pillow reads no further than to such an entry; other viewers see the orientation."""
    entries = sorted([entry(tag, 2, struct.pack("<I", 5000), count=9), short(ORIENTATION, 6)])
    picture = open_picture(with_exif(exif_block(*entries)))
    assert np.array_equal(picture.pixels, TURNED) and kept(picture)[ORIENTATION] == 1
    assert picture.notices == ("its EXIF block is damaged: 1 of 2 entries were kept",)


def test_types_of_newer_standards_are_kept():
    text = entry(0x010E, 129, "für".encode(), count=4)
    assert open_picture(with_exif(exif_block(text))).exif == exif_block(text)


@pytest.mark.parametrize("block", [b"Exif\0\0", exif_block()])
def test_a_block_that_says_nothing_is_no_loss(block):
    picture = open_picture(saved(Image.fromarray(PIXELS), "WEBP", exif=b"Exif\0\0" + block))
    assert picture.exif is None and picture.notices == ()


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")
def test_the_orientation_of_avif_is_its_container_s():
    """The specification says that EXIF only repeats it."""
    plain = saved(scene(24, 16), "AVIF", exif=exif_block(short(ORIENTATION + 1, 6)))
    exif_alone = plain.replace(short(ORIENTATION + 1, 6), short(ORIENTATION, 6))
    both = saved(scene(24, 16), "AVIF", exif=exif_block(short(ORIENTATION, 6)))
    assert exif_alone != plain and b"irot" in both
    assert open_picture(exif_alone).pixels.shape == (16, 24, 3) and open_picture(both).pixels.shape == (24, 16, 3)
    assert kept(open_picture(exif_alone))[ORIENTATION] == kept(open_picture(both))[ORIENTATION] == 1


@pytest.mark.filterwarnings("ignore")  # Pillow's, of damaged values
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_damaged_block_says_1_or_is_left_out(data):
    """Whatever of it is altered or missing: Pillow reads 1 or none from what is kept."""
    exif = Image.Exif()
    exif[ORIENTATION], exif[0x010F], exif[0x011A], exif[GPS] = 6, "Maker", 72.0, {1: "N", 2: (1.0, 2.0, 3.0)}
    block = bytearray(exif.tobytes())
    for _ in range(data.draw(st.integers(0, 4))):
        block[data.draw(st.integers(0, len(block) - 1))] = data.draw(st.integers(0, 255))
    made, _ = upright(bytes(block[: data.draw(st.integers(0, len(block)))]), turned=True)
    if made is not None:
        again = Image.Exif()
        again.load(made)
        assert again.get(ORIENTATION, 1) == 1 and open_picture(with_exif(made)).pixels.shape == PIXELS.shape


def test_a_duplicate_entry_does_not_turn_again():
    picture = open_picture(with_exif(exif_block(short(ORIENTATION, 6), short(ORIENTATION, 3))))
    assert np.array_equal(picture.pixels, TURNED)
    assert picture.exif == exif_block(short(ORIENTATION, 1), short(ORIENTATION, 1))


def test_the_thumbnail_of_a_turned_picture_is_left_out():
    def block(orientation: int) -> bytes:
        second = 8 + 2 + 12 + 4
        start = second + 2 + 24 + 4
        places = entry(513, 4, struct.pack("<I", start)), entry(514, 4, struct.pack("<I", 9))
        first = exif_block(short(ORIENTATION, orientation), following=second)
        return first + struct.pack("<H", 2) + b"".join(places) + bytes(4) + b"thumbnail"

    upright_one, turned = (open_picture(with_exif(block(orientation))) for orientation in (1, 6))
    assert upright_one.exif == block(1) and upright_one.notices == ()
    assert b"thumbnail" not in turned.exif and 513 not in kept(turned).get_ifd(1)
    assert turned.notices == ("its EXIF thumbnail, which was not turned, was left out",)


def xmp_of(spelling: str) -> bytes:
    return f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><a {spelling}/></x:xmpmeta>'.encode()


@pytest.mark.parametrize("spelling", ['tiff:Orientation="6"', "tiff:Orientation='6'", 'tiff:Orientation = "6"'])
def test_orientation_in_xmp_alone_is_applied_once_in_any_spelling(spelling):
    picture = open_picture(saved(Image.fromarray(PIXELS), "WEBP", lossless=True, xmp=xmp_of(spelling)))
    assert np.array_equal(picture.pixels, TURNED)
    assert picture.xmp == xmp_of(spelling.replace("6", "1"))


def test_exif_goes_before_xmp_and_both_say_1():
    image = Image.fromarray(PIXELS)
    data = saved(
        image, "WEBP", lossless=True, xmp=xmp_of("tiff:Orientation='3'"), exif=exif_block(short(ORIENTATION, 6))
    )
    picture = open_picture(data)
    assert np.array_equal(picture.pixels, TURNED)
    assert picture.xmp == xmp_of("tiff:Orientation='1'") and kept(picture)[ORIENTATION] == 1


def test_tiff_turns_once_whatever_the_type():
    data = tiff(bytes(range(24)), 4, 6, t274=6)
    picture = open_picture(data)
    assert np.array_equal(picture.pixels[:, :, 0], np.rot90(np.arange(24).reshape(6, 4), -1))
    assert kept(picture).get(ORIENTATION, 1) == 1


def test_exif_as_text_of_imagemagick():
    block = exif_block(short(ORIENTATION, 6), entry(0x010F, 2, b"Abc", count=4))
    text = f"\nexif\n{len(block):8}\n{block.hex()}\n".encode()
    for name in (b"exif", b"APP1"):
        picture = open_picture(rgb_png(PIXELS, (b"tEXt", b"Raw profile type " + name + b"\0" + text)))
        assert np.array_equal(picture.pixels, TURNED) and picture.notices == ()
        assert kept(picture)[0x010F] == "Abc" and kept(picture)[ORIENTATION] == 1


def opened_with_gps(kind: str = "JPEG", **options: object) -> Image.Image:
    exif = Image.Exif()
    exif[0x010F], exif[ORIENTATION], exif[GPS] = "Maker", 6, {1: "N", 2: (50.0, 6.0, 7.0)}
    exif[0x8769] = {0x9003: "2026:01:02 03:04:05"}
    image = Image.open(io.BytesIO(saved(Image.fromarray(PIXELS), kind, exif=exif.tobytes(), **options)))
    assert image.getexif().get_ifd(GPS)
    return image


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF"])
@pytest.mark.parametrize("how", ["delete", "empty", "all", "info"])
def test_what_is_taken_out_of_getexif_is_not_in_the_picture(kind, how):
    xmp = b'<x><a exif:GPSLatitude="50,6N" dc:title="t"><exif:GPSLongitude>7</exif:GPSLongitude></a></x>'
    image = opened_with_gps(kind)
    image.load()
    image.info["xmp"] = xmp
    if how == "delete":
        del image.getexif()[GPS]
    elif how == "empty":
        image.getexif().get_ifd(GPS).clear()
    elif how == "all":
        image.getexif().clear()
    else:
        image.info.pop("exif", None)
        del image.getexif()[GPS]
    picture = from_pil(image)
    assert not kept(picture).get_ifd(GPS)
    assert picture.xmp == b'<x><a dc:title="t"></a></x>'
    if how in {"delete", "empty"}:
        assert kept(picture)[0x010F] == "Maker" and kept(picture).get(ORIENTATION, 1) == 1
        assert kept(picture).get_ifd(0x8769)[0x9003] == "2026:01:02 03:04:05"
    elif kind != "TIFF":
        assert picture.exif is None


def test_exif_that_is_only_read_stays_as_it_is_byte_by_byte():
    image = opened_with_gps("JPEG")
    block = image.info["exif"]
    for tag in image.getexif():
        image.getexif()[tag]
    image.getexif().get_ifd(0x8769)
    at = block.index(struct.pack(">HHI", ORIENTATION, 3, 1)) + 8
    assert from_pil(image).exif == block[:at] + struct.pack(">H", 1) + block[at + 2 :]


def test_exif_that_is_written_into_an_image_or_its_info():
    image = Image.fromarray(PIXELS)
    image.getexif()[0x010E] = "made"
    assert kept(from_pil(image))[0x010E] == "made"
    image = Image.open(io.BytesIO(with_exif(exif_block(short(ORIENTATION, 1)))))
    assert image.getexif()[ORIENTATION] == 1
    image.info["exif"] = exif_block(short(ORIENTATION, 6))
    assert np.array_equal(from_pil(image).pixels, TURNED)


def test_an_edited_orientation_counts():
    image = opened_with_gps("PNG")
    image.getexif()[ORIENTATION] = 1
    assert np.array_equal(from_pil(image).pixels, PIXELS)
    del (image := opened_with_gps("PNG")).getexif()[ORIENTATION]
    assert np.array_equal(from_pil(image).pixels, PIXELS)


def test_an_image_that_was_rotated_keeps_its_orientation_until_it_is_transposed():
    image = Image.open(io.BytesIO(with_exif(exif_block(short(ORIENTATION, 6)))))
    rotated = image.transpose(Image.Transpose.ROTATE_90)
    assert np.array_equal(from_pil(rotated).pixels, np.asarray(ImageOps.exif_transpose(rotated)))
    transposed = ImageOps.exif_transpose(image).transpose(Image.Transpose.ROTATE_90)
    assert np.array_equal(from_pil(transposed).pixels, np.rot90(TURNED))


def test_given_blocks_replace_those_of_the_image():
    image = opened_with_gps("PNG")
    picture = from_pil(image, {"exif": exif_block(short(ORIENTATION, 3)), "icc_profile": b"i", "xmp": b"<x/>"})
    assert np.array_equal(picture.pixels, np.rot90(PIXELS, 2))
    assert picture.exif == exif_block(short(ORIENTATION, 1)) and (picture.icc, picture.xmp) == (b"i", b"<x/>")
    assert from_pil(image, {"exif": b""}).exif is None


def test_two_segments_of_a_long_block_are_one():
    long = (
        exif_block(short(ORIENTATION, 6), entry(0x010F, 2, struct.pack("<I", 38), count=70000)) + b"m" * 69999 + b"\0"
    )
    jpeg = saved(Image.fromarray(PIXELS), "JPEG", quality=100, subsampling=0)
    parts = long[:60000], b"Exif\0\0" + long[60000:]
    segments = b"".join(struct.pack(">HH", 0xFFE1, len(part) + 2) + part for part in parts)
    picture = open_picture(jpeg[:2] + segments + jpeg[2:])
    assert picture.pixels.shape == TURNED.shape and kept(picture)[0x010F] == "m" * 69999


def test_a_png_block_after_the_samples_counts_too():
    whole = rgb_png(PIXELS)
    end = len(whole) - 12
    block = exif_block(short(ORIENTATION, 6)).removeprefix(b"Exif\0\0")
    picture = open_picture(whole[:end] + png_chunk(b"eXIf", block) + whole[end:])
    assert np.array_equal(picture.pixels, TURNED) and kept(picture)[ORIENTATION] == 1


def test_scene_with_every_orientation_in_every_container():
    for kind in ("JPEG", "PNG", "WEBP", "TIFF", "AVIF"):
        for turn in range(1, 9):
            data = saved(scene(24, 16), kind, exif=exif_block(short(ORIENTATION, turn)))
            assert np.array_equal(open_picture(data).pixels, as_a_viewer(data)), (kind, turn)
