"""Kinds of input that users of image libraries, photo managers and learned codecs reported: what becomes of each."""

from __future__ import annotations

import io
import struct
import warnings

import numpy as np
import pytest
import torch
from PIL import Image, ImageFile

from lichen.codec import Codec
from lichen.errors import BadPicture, PictureNotice, UsageError
from lichen.image.picture import from_array, from_pil, open_picture, to_pil
from lichen.image.rendering import render
from lichen.inputs import as_picture
from tests.image.by_hand import entry, exif_block, png_chunk, saved, short, with_segments
from tests.small import scene

XMP = b"http://ns.adobe.com/xap/1.0/\0"
PIXELS = np.asarray(scene(24, 16))


def jpeg(*segments: tuple[int, bytes]) -> bytes:
    return with_segments(saved(scene(24, 16), "JPEG", quality=95, subsampling=0), *segments)


@pytest.mark.parametrize("spelling", [b'GCamera:MotionPhoto="1"', b'Camera:MicroVideo="1" Camera:MicroVideoOffset="9"'])
def test_the_video_of_a_motion_photo_is_said_and_no_longer_referred_to(spelling):
    packet = b"<x:xmpmeta><rdf:Description " + spelling + b' dc:format="image/jpeg"/></x:xmpmeta>'
    picture = open_picture(jpeg((0xE1, XMP + packet)) + b"\0\0\0\x18ftypmp42" + bytes(99))
    assert picture.notices == ("the video behind it (a motion photo) was left out",)
    assert b"MotionPhoto" not in picture.xmp and b"MicroVideo" not in picture.xmp and b"dc:format" in picture.xmp
    still = packet.replace(b'"1"', b'"0"')
    assert open_picture(jpeg((0xE1, XMP + still))).notices == ()


def test_a_video_without_xmp_is_said_too(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(jpeg() + b"MotionPhoto_Data\0\0\0\x18ftypmp42" + bytes(99) + b"SEFT")
    assert open_picture(path).notices == ("the video behind it (a motion photo) was left out",)


@pytest.mark.parametrize("order", ["<", ">"])
def test_stated_sides_turn_with_the_picture(order):
    inner = struct.pack(order + "H", 2) + short(0xA002, 24, order) + short(0xA003, 16, order) + bytes(4)
    ends = [short(256, 24, order), short(257, 16, order), short(274, 6, order)]
    at = 8 + 2 + 4 * 12 + 4
    block = exif_block(*ends, entry(0x8769, 4, struct.pack(order + "I", at), order), order=order) + inner
    for turn, sides in ((6, (16, 24)), (3, (24, 16))):
        picture = open_picture(jpeg((0xE1, block.replace(short(274, 6, order), short(274, turn, order)))))
        kept = Image.Exif()
        kept.load(picture.exif)
        assert picture.pixels.shape[1::-1] == sides and kept[274] == 1
        assert (kept[256], kept[257]) == sides == tuple(kept.get_ifd(0x8769)[tag] for tag in (0xA002, 0xA003))


def test_a_palette_of_8_bits_in_tiff_is_not_black():
    image = scene(24, 16).quantize(32)
    data = saved(image, "TIFF")
    with Image.open(io.BytesIO(data)) as opened:
        colours = opened.tag_v2[320]
    deep, flat = (struct.pack(f"<{len(colours)}H", *(c >> shift for c in colours)) for shift in (0, 8))
    assert np.array_equal(open_picture(data.replace(deep, flat)).pixels, np.asarray(image.convert("RGB")))


def test_masked_samples_are_refused():
    with pytest.raises(BadPicture, match=r"masked: give them a value, e\.g\. array\.filled\(0\)"):
        from_array(np.ma.masked_greater(PIXELS, 100))
    assert np.array_equal(from_array(np.ma.array(PIXELS)).pixels, PIXELS)


@pytest.mark.parametrize(
    "array",
    [
        PIXELS[::-1, :, ::-1][::-1, :, ::-1],
        np.frombuffer(PIXELS.tobytes(), np.uint8).reshape(PIXELS.shape),
        np.asfortranarray(PIXELS),
        (PIXELS / 255).astype(np.float16),
        (PIXELS / 255).astype(">f4"),
        np.repeat(PIXELS, 2, axis=1)[:, ::2],
    ],
    ids=["reversed", "read-only", "by columns", "half", "of another order", "strided"],
)
def test_arrays_however_they_lie(array):
    assert np.array_equal(from_array(array).pixels, PIXELS)


@pytest.mark.parametrize(
    ("given", "advice"),
    [
        (PIXELS.transpose(2, 0, 1), "transpose"),
        (np.dstack([PIXELS, PIXELS[:, :, :1]]), "Image.fromarray"),
        (PIXELS[None], "encode_batch"),
        (PIXELS > 100, "array / 1.0"),
        (PIXELS.astype(np.uint16), "array / 65535"),
        (PIXELS.astype(np.int64), "array / 255"),
    ],
)
def test_what_to_do_with_other_arrays_is_said(given, advice):
    with pytest.raises(BadPicture, match=advice):
        from_array(given)


@pytest.mark.parametrize(
    ("given", "advice"), [("a.jpg", "open it first"), (b"\xff\xd8", "open it first"), ([1], "pass one")]
)
def test_what_is_no_picture(given, advice):
    with pytest.raises(UsageError, match=advice):
        as_picture(given, lambda width, height: None)


def test_tensors_however_they_lie():
    x = torch.from_numpy(PIXELS.copy()).permute(2, 0, 1)
    ways = [x[None].contiguous(memory_format=torch.channels_last)[0], (x / 255).requires_grad_(), x.flip(2).flip(2)]
    ways += [(x / 255).bfloat16().float() * 0 + x / 255, torch.nn.Parameter(x / 255)]
    assert all(np.array_equal(as_picture(way, lambda *_: None).pixels, PIXELS) for way in ways)
    grey = as_picture(x[:1].expand(3, -1, -1), lambda *_: None).pixels
    assert np.array_equal(grey, np.repeat(PIXELS[:, :, :1], 3, axis=2))


@pytest.mark.parametrize(
    "data",
    [
        saved(scene(24, 16), "JPEG", quality=95, subsampling=0, keep_rgb=True),
        jpeg() + b"\0" * 99,  # what cameras put behind the picture
        jpeg().replace(b"\xff\xdb", b"\xff\xff\xff\xdb"),  # bytes that fill
        saved(scene(24, 16), "TIFF", big_tiff=True),
        *(saved(scene(24, 16), "TIFF", compression=kind) for kind in ("tiff_lzw", "tiff_adobe_deflate", "packbits")),
        saved(scene(24, 16), "PNG")[:-12],  # without its end
        saved(scene(24, 16), "PNG") + b"more",
    ],
)
def test_files_with_peculiarities(data):
    assert np.abs(open_picture(data).pixels.astype(int) - PIXELS).mean() < 4


@pytest.mark.parametrize("frame", [b"\xff\xc0\0\x11\x0c", b"\xff\xc3\0\x11\x08"], ids=["12 bits", "lossless"])
def test_jpeg_of_other_kinds_is_refused(frame):
    with pytest.raises(BadPicture, match="picture"):
        open_picture(jpeg().replace(b"\xff\xc0\0\x11\x08", frame))


def test_a_png_chunk_with_a_wrong_checksum_is_refused():
    data = saved(scene(24, 16), "PNG")
    at = data.index(b"IDAT") - 4
    with pytest.raises(BadPicture, match="not a picture that Pillow can read"):
        open_picture(data[:at] + png_chunk(b"teSt", b"x")[:-4] + b"1234" + data[at:])


def test_colours_under_full_transparency_are_kept_without_loss_of_alpha():
    image = Image.fromarray(np.dstack([PIXELS, np.zeros(PIXELS.shape[:2], np.uint8)]))
    opened = open_picture(saved(image, "WEBP", lossless=True, exact=True))
    assert np.array_equal(opened.pixels, PIXELS) and not opened.alpha.any()
    for ending in (".webp", ".png", ".tif"):
        assert np.array_equal(open_picture(render(to_pil(opened), ending)[0]).pixels, PIXELS)


def test_a_palette_of_colours_with_alpha():
    image = scene(24, 16).quantize(32)
    colours = np.array(image.getpalette("RGB")).reshape(-1, 3)
    alphas = np.where(np.arange(len(colours)) % 2, 255, 0)[:, None]
    image.putpalette(np.hstack([colours, alphas]).ravel().tolist(), "RGBA")
    assert set(np.unique(from_pil(image).alpha)) == {0, 255}


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_xmp_of_another_encoding_is_kept_as_viewers_pass_it_over(encoding):
    packet = '<rdf:Description tiff:Orientation="6"/>'.encode(encoding)
    picture = open_picture(jpeg((0xE1, XMP + packet)))
    assert picture.xmp == packet and picture.pixels.shape == (16, 24, 3)


def test_a_truncated_file_counts_as_whole_where_the_program_asked_pillow_for_it(monkeypatch):
    data = jpeg()
    with pytest.raises(BadPicture):
        open_picture(data[:-100])
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    assert open_picture(data[:-100]).pixels.shape == (16, 24, 3)


def test_lines_of_pixels_cost_their_blocks_and_say_so():
    with pytest.warns(PictureNotice, match=r"40000 x 1 is so thin .* 2\.6 megapixels; PNG"):
        as_picture(np.zeros((1, 40000, 3), np.uint8), lambda *_: None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        as_picture(np.zeros((1, 9000, 3), np.uint8), lambda *_: None)
    assert "so thin" in open_picture(saved(Image.new("RGB", (3, 40000)), "PNG")).notices[0]


def test_a_program_that_lets_numpy_raise(tiny):
    with np.errstate(all="raise"):
        data = Codec(weights=tiny.engine.path).encode(scene(64, 48))
        assert Codec(weights=tiny.engine.path).decode(data).size == (64, 48)
    assert data == tiny.encode(scene(64, 48))
