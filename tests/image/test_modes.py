"""Modes, frames and damage: what becomes of every kind of image that Pillow opens."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms, ImageFile, features

from lichen.errors import BadInput, BadPicture
from lichen.image.peeking import bits_of
from lichen.image.picture import from_pil, open_picture
from tests.image.by_hand import png, png_chunk, saved
from tests.small import scene

SIZE = 40, 24


def colours() -> np.ndarray:
    return np.asarray(scene(*SIZE)).astype(int)


def mean_error(data: bytes) -> float:
    return float(np.abs(open_picture(data).pixels - colours()).mean())


def cmyk() -> Image.Image:
    return scene(*SIZE).convert("CMYK")


def cmyk_16() -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, np.asarray(cmyk()).astype(np.uint16) * 257, photometric="separated", planarconfig="contig")
    return buffer.getvalue()


@pytest.mark.parametrize(
    "kind", ["JPEG", "progressive JPEG", "TIFF", "deflated TIFF", "planar TIFF", "TIFF of 16 bits"]
)
def test_cmyk_in_every_file(kind):
    planes = np.asarray(cmyk()).transpose(2, 0, 1)
    planar = io.BytesIO()
    tifffile.imwrite(planar, planes, photometric="separated", planarconfig="separate")
    files = {
        "JPEG": saved(cmyk(), "JPEG", quality=95),
        "progressive JPEG": saved(cmyk(), "JPEG", quality=95, progressive=True),
        "TIFF": saved(cmyk(), "TIFF"),
        "deflated TIFF": saved(cmyk(), "TIFF", compression="tiff_deflate"),
        "planar TIFF": planar.getvalue(),
        "TIFF of 16 bits": cmyk_16(),
    }
    assert mean_error(files[kind]) < 3
    assert "CMYK became RGB" in open_picture(files[kind]).notices


def ink_profile() -> bytes:
    """A CMYK profile of a table with two points an ink: all are grey of L* 50, but black, which is 0."""

    def lab(inks: int) -> bytes:
        lightness = 0 if inks & 1 else 255 if inks == 0 else 128
        return bytes([lightness, 128, 128])

    curve = bytes(range(256))
    table = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + np.eye(3, dtype=">i4").__mul__(65536).astype(">i4").tobytes()
    table += curve * 4 + b"".join(lab(inks) for inks in range(16)) + curve * 3
    text = b"text" + bytes(4) + b"inks\0"
    tags = {b"desc": b"desc" + bytes(4) + struct.pack(">I", 5) + b"inks\0" + bytes(78), b"cprt": text, b"A2B0": table}
    tags[b"wtpt"] = b"XYZ " + bytes(4) + struct.pack(">3i", 63190, 65536, 54061)
    start, entries, body = 128 + 4 + 12 * len(tags), b"", b""
    for name, data in tags.items():
        entries += struct.pack(">4sII", name, start + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    head = struct.pack(">I4sI4s4s4s12s4s", start + len(body), b"", 0x02400000, b"prtr", b"CMYK", b"Lab ", b"", b"acsp")
    head = head.ljust(68, b"\0") + struct.pack(">3i", 63190, 65536, 54061)
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + entries + body


def test_cmyk_goes_by_its_profile_which_is_used_up():
    image = Image.new("CMYK", (4, 3), (255, 0, 0, 0))
    assert open_picture(saved(image, "TIFF")).pixels[0, 0].tolist() == [0, 255, 255]
    picture = open_picture(saved(image, "TIFF", icc_profile=ink_profile()))
    assert np.abs(picture.pixels.astype(int) - 119).max() <= 2, "L* of 50"
    assert picture.icc is None
    black = saved(Image.new("CMYK", (4, 3), (0, 0, 0, 255)), "JPEG", icc_profile=ink_profile())
    assert open_picture(black).pixels.max() <= 3


def test_lab():
    lab = ImageCms.createProfile("LAB")
    image = ImageCms.profileToProfile(scene(*SIZE), ImageCms.createProfile("sRGB"), lab, outputMode="LAB")
    assert mean_error(saved(image, "TIFF")) < 3


@pytest.mark.parametrize("mode", ["YCbCr", "HSV", "RGBX", "RGBa", "La", "PA", "P", "1", "L", "LA", "RGB", "RGBA"])
def test_every_mode_in_memory(mode):
    image = scene(*SIZE)
    image = image.convert("LA").convert(mode) if mode == "La" else image.convert(mode)
    picture = from_pil(image)
    wanted = image.convert("LA" if mode == "La" else "RGBA").convert("RGBA")
    assert np.array_equal(picture.pixels, np.asarray(wanted)[:, :, :3])
    assert picture.grey == (mode in {"L", "LA", "La", "1"})
    assert (picture.alpha is not None) == (mode in {"RGBa", "La", "PA", "LA", "RGBA"})


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
@pytest.mark.parametrize("transparent", [b"\0", b"\xff\0", b"\x80\x40"])
def test_a_palette_with_transparency_at_every_depth(depth, transparent):
    """tRNS of a palette: one opacity for each of its first colours; the others are opaque."""
    palette = np.arange(6, dtype=np.uint8).reshape(2, 3) * 40
    samples = np.arange(16).reshape(2, 8) % 2
    rows = [int("".join(f"{v:0{depth}b}" for v in row), 2).to_bytes(depth, "big") for row in samples]
    picture = open_picture(png(depth, 3, rows, 8, (b"PLTE", palette.tobytes()), (b"tRNS", transparent)))
    assert np.array_equal(picture.pixels, palette[samples])
    opacity = np.array([*transparent, 255])[:2]
    assert np.array_equal(picture.alpha, opacity[samples])


def test_a_transparent_colour_of_8_bits():
    row = bytes([1, 2, 3, 4, 5, 6])
    picture = open_picture(png(8, 2, [row], 2, (b"tRNS", b"\0\1\0\2\0\3")))
    assert picture.alpha.tolist() == [[0, 255]] and picture.pixels[0].tolist() == [[1, 2, 3], [4, 5, 6]]


ENDINGS = [
    "BMP",
    "DDS",
    "GIF",
    "ICO",
    "JPEG",
    "JPEG2000",
    "PCX",
    "PNG",
    "PPM",
    "QOI",
    "SGI",
    "TGA",
    "TIFF",
    "WEBP",
    "AVIF",
]


@pytest.mark.parametrize("kind", ENDINGS)
def test_truncated_files_of_every_format(kind):
    """A cut file is refused, or what was cut off did not matter."""
    if kind in {"AVIF", "WEBP"} and not features.check(kind.lower()):
        pytest.skip(f"this Pillow has no {kind}")
    image = scene(128, 128) if kind == "ICO" else scene(*SIZE)
    data = saved(image, kind)
    whole = open_picture(data).pixels
    assert whole.shape == (image.height, image.width, 3)
    refused = 0
    for length in sorted({0, 1, 4, 12, 40, *range(len(data) // 9, len(data), len(data) // 9), len(data) - 1}):
        try:
            assert np.array_equal(open_picture(data[:length]).pixels, whole), length
        except BadInput as error:
            refused += 1
            assert str(error).startswith("standard input: ")
    assert refused > 5


def frames(count: int = 3) -> list[Image.Image]:
    return [scene(32, 24, seed) for seed in range(count)]


def animated(kind: str) -> bytes:
    first, *others = frames()
    options = {"WEBP": {"lossless": True}, "AVIF": {"quality": 100}}.get(kind, {})
    return saved(first, kind, save_all=True, append_images=others, **options)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "TIFF", "WEBP", "AVIF"])
def test_of_several_frames_the_one_at_hand_is_kept_and_said(kind):
    if kind in {"AVIF", "WEBP"} and not features.check(kind.lower()):
        pytest.skip(f"this Pillow has no {kind}")
    data = animated(kind)
    first = open_picture(data)
    assert first.notices[0] == "of 3 frames the first is kept"
    with Image.open(io.BytesIO(data)) as image:
        image.seek(1)
        second = from_pil(image)
        wanted = np.asarray(image.convert("RGB"))
        assert image.tell() == 1
    assert second.notices[0] == "of 3 frames number 2 is kept"
    assert np.array_equal(second.pixels, wanted) and not np.array_equal(first.pixels, wanted)
    if kind in {"PNG", "TIFF", "WEBP"}:
        assert np.array_equal(first.pixels, np.asarray(frames()[0]))


@pytest.mark.parametrize("kind", ["GIF", "TIFF"])
def test_damage_behind_the_first_frame_does_not_refuse_it(kind):
    data = animated(kind)
    whole = open_picture(data)
    if kind == "GIF":
        cut = data.index(b"\x21\xf9", data.index(b"\x21\xf9") + 1)
        damaged = data[: cut + 12]
    else:
        directory = struct.unpack_from("<I", data, 4)[0]
        count = struct.unpack_from("<H", data, directory)[0]
        following = directory + 2 + 12 * count
        damaged = data[:following] + struct.pack("<I", len(data) - 3) + data[following + 4 :]
    picture = open_picture(damaged)
    assert np.array_equal(picture.pixels, whole.pixels)


def test_a_count_of_frames_that_fails_is_said():
    class Odd(ImageFile.ImageFile):
        format = "ODD"
        is_animated = True

        def _open(self) -> None:
            self._mode, self._size = "RGB", (2, 2)
            self.tile = [ImageFile._Tile("raw", (0, 0, 2, 2), 0, "RGB")]

        def seek(self, frame: int) -> None:
            if frame:
                raise IndexError("no such frame")

        @property
        def n_frames(self) -> int:
            raise struct.error("damaged")

    picture = from_pil(Odd(io.BytesIO(bytes(range(12)))))
    assert picture.pixels.ravel().tolist() == list(range(12))
    assert picture.notices == ("of several frames, some damaged, the first is kept",)


def test_stereo_pictures_are_said_and_previews_are_not():
    first, second = frames(2)
    mpo = saved(first, "MPO", save_all=True, append_images=[second])
    assert open_picture(mpo).notices == ("of 2 frames the first is kept",)
    second_entry = mpo.index(struct.pack("<I", 0x030000), mpo.index(b"MPF\0")) + 16
    preview = mpo[:second_entry] + struct.pack("<I", 0x010001) + mpo[second_entry + 4 :]
    picture = open_picture(preview)
    assert picture.notices == () and np.array_equal(picture.pixels, open_picture(mpo).pixels)


@pytest.mark.parametrize("how", ["verify", "close", "draw on closed"])
def test_images_that_have_no_pixels_any_more(how):
    image = Image.open(io.BytesIO(saved(scene(*SIZE), "PNG")))
    if how == "verify":
        image.verify()
    else:
        image.close()
    with pytest.raises(BadPicture, match="the image: cannot be read"):
        from_pil(image)


def test_damage_of_any_byte_is_ours_to_report():
    """Whatever Pillow raises on an altered file, it comes as an error of ours, or as a picture."""
    rng = np.random.default_rng(1)
    for kind in ("AVIF", "GIF", "JPEG", "PNG", "TIFF", "WEBP", "ICO", "JPEG2000", "DDS", "ICNS", "PCX", "TGA", "SGI"):
        if kind in {"AVIF", "WEBP"} and not features.check(kind.lower()):
            continue
        data = saved(scene(64, 64), kind)
        for _ in range(25):
            damaged = bytearray(data)
            for place in rng.integers(0, len(data), 3):
                damaged[place] = rng.integers(256)
            try:
                open_picture(bytes(damaged), max_pixels=10**6)
            except BadInput:
                continue


def test_an_alpha_of_0_everywhere_in_tga_means_none():
    """Many programs write 32 bits and leave the fourth byte alone."""
    rgba = np.dstack([colours(), np.zeros(SIZE[::-1], int)]).astype(np.uint8)
    picture = open_picture(saved(Image.fromarray(rgba), "TGA"))
    assert picture.alpha is None and np.array_equal(picture.pixels, colours())
    assert picture.notices == ("its alpha of 0 everywhere was left out",)
    rgba[0, 0, 3] = 1
    assert np.array_equal(open_picture(saved(Image.fromarray(rgba), "TGA")).alpha, rgba[:, :, 3])


def test_jpeg_of_red_green_and_blue_planes():
    assert mean_error(saved(scene(*SIZE), "JPEG", quality=95, subsampling=0, keep_rgb=True)) < 2


def test_deep_samples_of_heif_and_avif_are_said():
    heif = pytest.importorskip("pillow_heif", reason="without pillow-heif")
    buffer = io.BytesIO()
    heif.from_bytes("RGB;16", (64, 48), np.full((48, 64, 3), 30000, np.uint16).tobytes()).save(buffer)
    picture = open_picture(buffer.getvalue())
    assert picture.notices == ("10 bits a sample became 8",) and abs(int(picture.pixels.mean()) - 117) <= 1


@pytest.mark.parametrize(("flags", "bits"), [(0x00, 8), (0x20, 8), (0x40, 10), (0x60, 12)])
def test_the_depth_that_avif_states(flags, bits):
    image = Image.new("RGB", (2, 2))
    image.format, image.fp = "AVIF", io.BytesIO(b"\0\0\0\x20ftypavif" + b"....av1C\x81\x05" + bytes([flags]) + bytes(9))
    image.fp.seek(3)
    assert bits_of(image) == bits and image.fp.tell() == 3


def test_an_odd_chunk_is_no_harm():
    data = saved(scene(*SIZE), "PNG")
    odd = data[:33] + png_chunk(b"prVt", b"private") + png_chunk(b"sBIT", b"\5\6\5") + data[33:]
    assert np.array_equal(open_picture(odd).pixels, colours())
