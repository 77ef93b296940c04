"""Samples of other ranges and senses: the right values, or a refusal that says what to do."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
import tifffile
from PIL import Image

from lichen.errors import BadPicture
from lichen.image.picture import from_pil, open_picture
from tests.image.by_hand import png, saved, tiff

WIDTH, HEIGHT = 16, 12
RAMP = np.linspace(0, 1, WIDTH * HEIGHT).reshape(HEIGHT, WIDTH)
GREY = np.round(RAMP * 255).astype(np.uint8)
COLOURS = np.random.default_rng(7).integers(0, 2**16, (3, HEIGHT, WIDTH)).astype(np.uint16)


def with_tifffile(samples: np.ndarray, **options: object) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, samples, **options)
    return buffer.getvalue()


def deviation(data: bytes, wanted: np.ndarray) -> int:
    """The largest difference of the samples read from those wanted, in levels of 255."""
    found = open_picture(data).pixels.astype(int)
    return int(np.abs(found - (wanted[:, :, None] if wanted.ndim == 2 else wanted)).max())


def pack_12_bits(samples: np.ndarray) -> bytes:
    high, low = samples.ravel()[0::2].astype(int), samples.ravel()[1::2].astype(int)
    return np.stack([high >> 4, (high & 15) << 4 | low >> 8, low & 255], axis=1).astype(np.uint8).tobytes()


def test_12_bits():
    data = tiff(pack_12_bits(np.round(RAMP * 4095)), WIDTH, HEIGHT, t258=12)
    assert deviation(data, GREY) <= 1
    assert open_picture(data).notices == ("12 bits a sample became 8",)
    with Image.open(io.BytesIO(data)) as loaded:  # its raw mode is no longer known
        loaded.load()
        assert np.array_equal(from_pil(loaded).pixels, open_picture(data).pixels)


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize(("photometric", "wanted"), [("minisblack", GREY), ("miniswhite", 255 - GREY)])
@pytest.mark.parametrize(("kind", "top"), [(np.uint8, 255), (np.uint16, 65535), (np.float32, 1)])
def test_black_or_white_is_zero(kind, top, photometric, wanted, compression):
    samples = RAMP * top if kind is np.float32 else np.round(RAMP * top)
    data = with_tifffile(samples.astype(kind), photometric=photometric, compression=compression)
    assert deviation(data, wanted) <= 1 and open_picture(data).grey


@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
def test_bits_of_either_sense(photometric):
    bits = RAMP > 0.3
    data = with_tifffile(bits, photometric=photometric)
    assert deviation(data, np.where(bits != (photometric == "miniswhite"), 255, 0)) == 0


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("planar", ["separate", "contig"])
def test_16_bits_of_colour_in_either_order_and_arrangement(order, compression, planar):
    samples = COLOURS if planar == "separate" else COLOURS.transpose(1, 2, 0)
    data = with_tifffile(samples, photometric="rgb", planarconfig=planar, compression=compression, byteorder=order)
    assert deviation(data, COLOURS.transpose(1, 2, 0) // 257) <= 1
    assert open_picture(data).notices == ("16 bits a sample became 8",)


def test_planes_of_16_bits_with_alpha_and_of_8_bits():
    four = np.concatenate([COLOURS, COLOURS[:1] // 2])
    picture = open_picture(with_tifffile(four, photometric="rgb", planarconfig="separate", extrasamples=["unassalpha"]))
    assert np.array_equal(picture.alpha, four[3] >> 8)
    assert np.array_equal(picture.pixels, (COLOURS >> 8).transpose(1, 2, 0))
    eight = (COLOURS >> 8).astype(np.uint8)
    assert deviation(with_tifffile(eight, photometric="rgb", planarconfig="separate"), eight.transpose(1, 2, 0)) == 0


@pytest.mark.parametrize("extra", [["assocalpha"], None])
def test_planes_that_pillow_cannot_read_are_refused(extra):
    four = np.concatenate([COLOURS, COLOURS[:1]])
    photometric = "rgb" if extra else "separated"
    data = with_tifffile(four, photometric=photometric, planarconfig="separate", extrasamples=extra)
    with pytest.raises(BadPicture, match="interleaved"):
        open_picture(data)


@pytest.mark.parametrize(("bits", "photometric"), [(1, 0), (1, 1), (8, 0), (16, 1)])
def test_one_plane_stays_as_it_is_said_to_be(bits, photometric):
    """With one sample a pixel the arrangement means nothing."""
    if bits == 1:
        data, wanted = np.packbits(RAMP > 0.4, axis=1).tobytes(), np.where(RAMP > 0.4, 255, 0)
    else:
        data, wanted = np.round(RAMP * (2**bits - 1)).astype(f"<u{bits // 8}").tobytes(), GREY
    wanted = 255 - wanted if photometric == 0 else wanted
    for planar in (1, 2):
        assert deviation(tiff(data, WIDTH, HEIGHT, t258=bits, t262=photometric, t284=planar), wanted) <= 1


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_floats_of_0_to_1_in_either_order(order, compression):
    data = with_tifffile(RAMP.astype(np.float32), byteorder=order, compression=compression)
    assert deviation(data, GREY) == 0
    assert open_picture(data).notices == ("samples of mode F were taken for 0 ... 1",)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("kind", [np.int16, np.int32])
def test_whole_numbers_of_0_to_255_in_either_order(kind, order, compression):
    data = with_tifffile(GREY.astype(kind), byteorder=order, compression=compression)
    assert deviation(data, GREY) == 0
    assert open_picture(data).notices == ("samples of mode I were taken for 0 ... 255",)


def test_mode_i_as_pillow_makes_it():
    eight = from_pil(Image.fromarray(GREY).convert("I"))
    assert np.array_equal(eight.pixels[:, :, 0], GREY)
    deep = from_pil(Image.fromarray(np.round(RAMP * 65535).astype(np.int32)))
    assert np.array_equal(deep.pixels[:, :, 0], GREY)
    assert deep.notices == ("samples of mode I were taken for 0 ... 65535",)


def test_mode_f_as_pillow_makes_it_is_refused_with_advice_that_is_right():
    image = Image.fromarray(GREY).convert("F")
    with pytest.raises(BadPicture, match=r"convert\('L'\)"):
        from_pil(image)
    assert np.array_equal(from_pil(image.convert("L")).pixels[:, :, 0], GREY)


@pytest.mark.parametrize(
    "samples",
    [
        (GREY.astype(np.int16) * 100),
        GREY.astype(np.int32) * 1000,
        GREY.astype(np.uint32) * 2**20,
        GREY.astype(np.int32) - 5,
        GREY.astype(np.int16) - 5,
        (GREY.astype(np.int16) - 128).astype(np.int8),
        np.float32(RAMP * 1.01),
        np.float32(RAMP - 0.01),
        np.where(RAMP > 0.5, np.float32(np.nan), np.float32(0)),
        np.where(RAMP > 0.5, np.float32(np.inf), np.float32(0)),
    ],
)
def test_ranges_that_nobody_knows_are_refused(samples):
    with pytest.raises(BadPicture, match=r"scale them|replace them"):
        open_picture(with_tifffile(samples))


@pytest.mark.parametrize("maximum", [1, 100, 255, 1023, 4095, 65535])
def test_pgm_of_any_maximum(maximum):
    samples = np.round(RAMP * maximum).astype(">u2" if maximum > 255 else np.uint8)
    data = f"P5 {WIDTH} {HEIGHT} {maximum}\n".encode() + samples.tobytes()
    assert deviation(data, np.round(samples / maximum * 255)) <= 1


def test_pfm_of_0_to_1():
    data = f"Pf\n{WIDTH} {HEIGHT}\n-1.0\n".encode() + RAMP[::-1].astype("<f4").tobytes()
    assert deviation(data, GREY) == 0


def test_jpeg_2000_of_12_and_16_bits():
    for samples in (np.round(RAMP * 65535), np.round(RAMP * 4095) * 16):
        data = saved(Image.fromarray(samples.astype(np.uint16)), "JPEG2000", irreversible=False)
        assert deviation(data, GREY) <= 1


def test_fits_of_16_bits_is_refused():
    """They are signed, with an offset that Pillow does not read."""
    cards = ["SIMPLE  = T", "BITPIX  = 16", "NAXIS   = 2", "NAXIS1  = 16", "NAXIS2  = 12", "BZERO   = 32768", "END"]
    header = "".join(card.ljust(80) for card in cards).ljust(2880).encode()
    with pytest.raises(BadPicture, match="FITS"):
        open_picture(header + (np.round(RAMP * 65535) - 32768).astype(">i2").tobytes().ljust(2880, b"\0"))


def test_the_preview_of_a_camera_s_raw_file_is_not_taken_for_the_picture():
    preview = GREY.tobytes()
    whole = open_picture(tiff(preview, WIDTH, HEIGHT, t254=0))
    assert np.array_equal(whole.pixels[:, :, 0], GREY)
    for tags in ({"t254": 1, "t330": 8}, {"t50706": 0x01040000}):
        with pytest.raises(BadPicture, match="preview"):
            open_picture(tiff(preview, WIDTH, HEIGHT, **tags))
    canon = bytearray(tiff(b"CR\2\0" + preview, WIDTH, HEIGHT, t273=12, t279=len(preview)))
    with pytest.raises(BadPicture, match="preview"):
        open_picture(bytes(canon))


@pytest.mark.parametrize(("depth", "scale"), [(1, 255), (2, 85), (4, 17), (8, 1)])
@pytest.mark.parametrize("loaded", [False, True])
def test_a_transparent_grey_of_any_depth_also_where_the_image_was_loaded(depth, scale, loaded):
    samples = np.arange(16).reshape(2, 8) % 2**depth
    rows = [int("".join(f"{v:0{depth}b}" for v in row), 2).to_bytes(depth, "big") for row in samples]
    with Image.open(io.BytesIO(png(depth, 0, rows, 8, (b"tRNS", b"\0\1")))) as image:
        if loaded:
            image.load()
        picture = from_pil(image)
    assert np.array_equal(picture.alpha == 0, samples == 1)
    assert np.array_equal(picture.pixels[:, :, 0], samples * scale)


@pytest.mark.parametrize("loaded", [False, True])
def test_a_transparent_colour_of_16_bits_also_where_the_image_was_loaded(loaded):
    row = struct.pack(">6H", 1000, 2000, 3000, 4000, 5000, 6000)
    with Image.open(io.BytesIO(png(16, 2, [row], 2, (b"tRNS", row[:6])))) as image:
        if loaded:
            image.load()
        assert from_pil(image).alpha.tolist() == [[0, 255]]


@pytest.mark.parametrize(
    ("mode", "key"), [("RGB", 0), ("L", (1, 2, 3)), ("L", b"\0\1"), ("RGB", "black"), ("RGB", (1, 2))]
)
def test_a_transparency_of_another_kind_is_refused_with_a_remedy(mode, key):
    image = Image.new(mode, (4, 4))
    image.info["transparency"] = key
    with pytest.raises(BadPicture, match=r"del image\.info"):
        from_pil(image)
    del image.info["transparency"]
    assert from_pil(image).alpha is None


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    "options", [{"tile": (16, 16)}, {"compression": "zlib", "predictor": True}, {"rowsperstrip": 5}]
)
@pytest.mark.parametrize(("kind", "top"), [(np.uint8, 255), (np.uint16, 65535)])
def test_tiles_strips_and_predictors_of_tiff(kind, top, options, order):
    samples = np.repeat(np.round(RAMP * top).astype(kind)[:, :, None], 3, axis=2)
    assert deviation(with_tifffile(samples, photometric="rgb", byteorder=order, **options), GREY) <= 1
    assert deviation(with_tifffile(samples[:, :, 0], byteorder=order, **options), GREY) <= 1
