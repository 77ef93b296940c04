"""Colour descriptions of files beside an ICC profile: what a viewer makes of the picture's profile, in numbers."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageCms, features

from lichen.image.picture import Picture, from_pil, open_picture, to_pil
from lichen.image.profiles import SRGB_PRIMARIES, Gamma, SrgbCurve, fits, make_profile, space_of, to_srgb
from lichen.image.rendering import render
from tests.image.by_hand import rgb_png, saved

PIXELS = np.random.default_rng(3).integers(40, 200, (8, 9, 3)).astype(np.uint8)
SRGB_POINTS = 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000
P3_POINTS = 31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000
# CSS Color 4, 10: linear Display P3 -> XYZ, and XYZ -> linear sRGB, both of D65.
P3_TO_XYZ = [[0.48657095, 0.26566769, 0.19821729], [0.22897456, 0.69173852, 0.07928691], [0.0, 0.04511338, 1.04394437]]
XYZ_TO_SRGB = [
    [3.24096994, -1.53738318, -0.49861076],
    [-0.96924364, 1.8759675, 0.04155506],
    [0.05563008, -0.20397696, 1.05697151],
]


def gama(exponent: float) -> tuple[bytes, bytes]:
    return b"gAMA", struct.pack(">I", round(exponent * 100000))


def chrm(*points: int) -> tuple[bytes, bytes]:
    return b"cHRM", struct.pack(">8I", *points)


def cicp(primaries: int, transfer: int, full: int = 1) -> tuple[bytes, bytes]:
    return b"cICP", bytes([primaries, transfer, 0, full])


def srgb_to_linear(samples: np.ndarray) -> np.ndarray:
    value = samples / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def linear_to_srgb(linear: np.ndarray) -> np.ndarray:
    clipped = np.clip(linear, 0, 1)
    return 255 * np.where(clipped <= 0.0031308, clipped * 12.92, 1.055 * clipped ** (1 / 2.4) - 0.055)


def of_p3(samples: np.ndarray) -> np.ndarray:
    """The sRGB samples of the same colours, by the published matrices."""
    return linear_to_srgb(srgb_to_linear(samples) @ np.array(P3_TO_XYZ).T @ np.array(XYZ_TO_SRGB).T)


def shown(picture: Picture) -> np.ndarray:
    """The sRGB samples (H, W, 3) that a viewer that heeds profiles shows."""
    converted = to_srgb(to_pil(picture), picture.icc)
    assert converted is not None
    return np.asarray(converted).astype(float)


@pytest.mark.parametrize(
    "chunks",
    [(cicp(12, 13),), (chrm(*P3_POINTS),), (gama(1 / 2.2), chrm(*P3_POINTS)), (cicp(12, 13), (b"sRGB", b"\0"))],
)
def test_display_p3_is_kept_as_a_profile(chunks):
    picture = open_picture(rgb_png(PIXELS, *chunks))
    assert np.array_equal(picture.pixels, PIXELS) and picture.notices == ()
    assert np.abs(shown(picture) - of_p3(PIXELS)).max() < 1.5
    assert np.abs(of_p3(PIXELS) - PIXELS).max() > 5, "the two spaces would look alike"


@pytest.mark.parametrize("exponent", [1.0, 1 / 1.8])
def test_a_gamma_is_kept_as_a_profile(exponent):
    picture = open_picture(rgb_png(PIXELS, gama(exponent)))
    assert np.abs(shown(picture) - linear_to_srgb((PIXELS / 255) ** (1 / exponent))).max() < 1.5
    grey = open_picture(rgb_png(PIXELS[:, :, 0], gama(exponent)))
    assert grey.grey and space_of(grey.icc) == "GRAY"
    wanted = linear_to_srgb((PIXELS[:, :, 0] / 255) ** (1 / exponent))
    assert np.abs(shown(grey) - wanted[:, :, None]).max() < 1.5


def test_bt_2020_and_linear_light():
    picture = open_picture(rgb_png(PIXELS, cicp(1, 8)))
    assert np.abs(shown(picture) - linear_to_srgb(PIXELS / 255)).max() < 1.5
    wide = open_picture(rgb_png(np.full((2, 2, 3), 128, np.uint8), cicp(9, 13)))
    assert np.abs(shown(wide) - 128).max() < 1.5, "grey stays grey"
    assert not np.array_equal(wide.icc, make_profile(SRGB_PRIMARIES, SrgbCurve(), False))


@pytest.mark.parametrize(
    "chunks",
    [
        (gama(0.45455),),
        (gama(0.45),),
        (gama(0.45455), chrm(*SRGB_POINTS)),
        (chrm(*SRGB_POINTS),),
        (cicp(1, 13),),
        (cicp(1, 1),),
        ((b"sRGB", b"\0"), gama(1.0)),
        (cicp(1, 13), gama(1.0)),
    ],
)
def test_what_says_srgb_adds_nothing(chunks):
    picture = open_picture(rgb_png(PIXELS, *chunks))
    assert picture.icc is None and picture.notices == ()


def test_a_profile_goes_before_gamma_and_cicp_before_a_profile():
    p3 = make_profile(((0.3127, 0.3290), (0.68, 0.32), (0.265, 0.69), (0.15, 0.06)), SrgbCurve(), False)
    srgb = make_profile(SRGB_PRIMARIES, SrgbCurve(), False)
    own = open_picture(saved(Image.fromarray(PIXELS), "PNG", icc_profile=p3))
    assert own.icc == p3
    plain = saved(Image.fromarray(PIXELS), "PNG", icc_profile=srgb)
    at = plain.index(b"iCCP") - 4
    header_end = 33
    for chunk, wanted in ((gama(1.0), srgb), (cicp(12, 13), p3)):
        made = rgb_png(PIXELS, chunk)
        length = len(chunk[1]) + 12
        picture = open_picture(plain[:at] + made[header_end : header_end + length] + plain[at:])
        converted = to_srgb(to_pil(picture), wanted)
        assert np.array_equal(shown(picture), np.asarray(converted))


@pytest.mark.parametrize(("transfer", "name"), [(16, "PQ"), (18, "HLG")])
def test_hdr_is_said(transfer, name):
    picture = open_picture(rgb_png(PIXELS, cicp(9, transfer)))
    assert picture.icc is None
    assert picture.notices == (f"its HDR transfer ({name}) was left out: colours look flat; tone-map it to SDR first",)


@pytest.mark.parametrize("chunk", [cicp(12, 13, 0), cicp(3, 13), cicp(12, 99), cicp(255, 255)])
def test_other_code_points_are_said(chunk):
    picture = open_picture(rgb_png(PIXELS, chunk))
    assert picture.icc is None and len(picture.notices) == 1 and "was left out" in picture.notices[0]


@pytest.mark.parametrize(
    "chunks", [(gama(0),), (chrm(*[0] * 8),), (chrm(*[30000] * 8),), (chrm(*[2**32 - 1] * 8), gama(1.0))]
)
def test_impossible_values_are_said(chunks):
    picture = open_picture(rgb_png(PIXELS, *chunks))
    assert picture.icc is None
    assert picture.notices == ("its gAMA and cHRM chunks, of impossible values, were left out",)


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")
def test_the_code_points_of_avif():
    plain = saved(Image.fromarray(PIXELS), "AVIF", quality=100, subsampling="4:4:4")
    assert open_picture(plain).icc is None
    at = plain.index(b"colrnclx") + 8
    p3 = open_picture(plain[:at] + struct.pack(">HH", 12, 13) + plain[at + 4 :])
    assert np.abs(shown(p3) - of_p3(p3.pixels)).max() < 1.5
    hdr = open_picture(plain[:at] + struct.pack(">HH", 9, 16) + plain[at + 4 :])
    assert hdr.icc is None and "PQ" in hdr.notices[0]


def test_the_code_points_that_pillow_heif_gives():
    image = Image.fromarray(PIXELS)
    image.info["nclx_profile"] = {"color_primaries": 12, "transfer_characteristics": 13}
    assert np.abs(shown(from_pil(image)) - of_p3(PIXELS)).max() < 1.5
    for odd in (None, {}, {"color_primaries": "12", "transfer_characteristics": 13}, b"12"):
        image.info["nclx_profile"] = odd
        assert from_pil(image).icc is None


def test_describing_the_colour_of_an_open_image_does_not_disturb_it(tmp_path):
    (path := tmp_path / "a.png").write_bytes(rgb_png(PIXELS, cicp(12, 13)))
    with Image.open(path) as image:
        first = from_pil(image)
        assert np.array_equal(first.pixels, PIXELS) and first.icc is not None
        assert np.array_equal(np.asarray(image), PIXELS)


@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("curve", [SrgbCurve(), Gamma(1.0), Gamma(2.2)])
def test_made_profiles_are_sound(curve, grey):
    icc = make_profile(SRGB_PRIMARIES, curve, grey)
    profile = ImageCms.ImageCmsProfile(io.BytesIO(icc)).profile
    assert profile.xcolor_space.strip() == space_of(icc) == ("GRAY" if grey else "RGB")
    assert struct.unpack(">I", icc[:4])[0] == len(icc) and len(icc) < 700
    assert np.allclose(profile.media_white_point[0], (0.9642, 1.0, 0.8249), atol=1e-4)


def test_profiles_of_other_samples_are_left_out_and_said():
    cmyk = bytearray(make_profile(SRGB_PRIMARIES, SrgbCurve(), False))
    cmyk[16:20] = b"CMYK"
    grey = make_profile(SRGB_PRIMARIES, SrgbCurve(), True)
    for icc, name in ((bytes(cmyk), "CMYK"), (grey, "GRAY")):
        picture = open_picture(saved(Image.fromarray(PIXELS), "PNG", icc_profile=icc))
        assert picture.icc is None
        assert picture.notices == (f"its profile for {name}, which does not fit, was left out",)
    assert fits(grey, True) and fits(b"of another kind", False)


def test_a_damaged_profile_is_said():
    picture = open_picture(rgb_png(PIXELS, (b"iCCP", b"name\0\0of another kind")))
    assert picture.icc is None and picture.notices == ("its ICC profile is damaged and was left out",)


def grey_picture(exponent: float) -> Image.Image:
    icc = make_profile(SRGB_PRIMARIES, Gamma(exponent), True)
    return to_pil(Picture(np.repeat(PIXELS[:, :, :1], 3, axis=2), True, icc=icc))


@pytest.mark.parametrize("ending", [".webp", ".avif"])
def test_a_grey_profile_is_used_up_where_a_format_has_no_grey(ending):
    if not features.check(ending[1:]):
        pytest.skip(f"Pillow without {ending}")
    data, notices = render(grey_picture(1.0), ending)
    with Image.open(io.BytesIO(data)) as image:
        assert "icc_profile" not in image.info
        wanted = linear_to_srgb(PIXELS[:, :, :1] / 255)
        assert np.abs(np.asarray(image.convert("RGB")) - wanted).max() < (1.5 if ending == ".webp" else 6)
    assert notices == (f"{ending[1:].upper()} cannot hold its grey ICC: converted to sRGB",)


@pytest.mark.parametrize("ending", [".png", ".jpg", ".tiff"])
def test_a_grey_profile_stays_where_a_format_has_grey(ending):
    image = grey_picture(1.0)
    data, notices = render(image, ending)
    with Image.open(io.BytesIO(data)) as back:
        assert back.mode == "L" and back.info["icc_profile"] == image.info["icc_profile"]
    assert notices == ()


@pytest.mark.parametrize("alpha", [None, np.arange(72, dtype=np.uint8).reshape(8, 9)])
def test_grey_samples_with_a_profile_of_rgb(alpha):
    """JPEG files often have it; a grey PNG file must not: there the samples are written as RGB."""
    icc = make_profile(SRGB_PRIMARIES, Gamma(1.8), False)
    picture = Picture(np.repeat(PIXELS[:, :, :1], 3, axis=2), True, alpha, icc=icc)
    data, notices = render(to_pil(picture), ".png")
    with Image.open(io.BytesIO(data)) as back:
        assert back.mode == ("RGB" if alpha is None else "RGBA") and back.info["icc_profile"] == icc
        assert np.array_equal(np.asarray(back)[:, :, :3], picture.pixels)
        assert alpha is None or np.array_equal(np.asarray(back)[:, :, 3], alpha)
    assert notices == ()


def huge_profile(exponent: float) -> bytes:
    icc = make_profile(SRGB_PRIMARIES, Gamma(exponent), False)
    size = 3_000_000
    return struct.pack(">I", size) + icc[4:].ljust(size - 4, b"\0")


def test_a_profile_too_large_for_png_is_used_up():
    picture = Picture(PIXELS, icc=huge_profile(1.0))
    data, notices = render(to_pil(picture), ".png")
    with Image.open(io.BytesIO(data)) as image:
        assert "icc_profile" not in image.info
        assert np.abs(np.asarray(image) - linear_to_srgb(PIXELS / 255)).max() < 1.5
    assert notices == ("PNG cannot hold its ICC of 3000000 bytes: converted to sRGB",)
    for ending in (".jpg", ".webp", ".tiff"):
        data, notices = render(to_pil(picture), ending)
        assert Image.open(io.BytesIO(data)).info["icc_profile"] == picture.icc and notices == ()


def test_a_profile_that_cannot_be_used_is_left_out():
    data, notices = render(to_pil(Picture(PIXELS, icc=b"nonsense" * 200_000)), ".png")
    with Image.open(io.BytesIO(data)) as image:
        assert np.array_equal(np.asarray(image), PIXELS)
    assert notices == ("PNG cannot hold its ICC of 1600000 bytes",)
