"""Pictures of every kind in and out, and what bad input gets."""

from __future__ import annotations

import io
import itertools
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

import lichen
from lichen.codec import Codec
from lichen.errors import (
    BadPicture,
    DeviceError,
    OutOfMemory,
    PictureNotice,
    PictureTooLarge,
    UnknownWeights,
    UsageError,
)
from lichen.image.picture import from_pil, open_picture
from lichen.lab.models.zoo import ZOO
from lichen.metrics import psnr_db
from tests.small import scene, small_checkpoint


@pytest.mark.parametrize("mode", ["RGB", "L", "LA", "RGBA", "P", "1"])
def test_modes(tiny, mode):
    image = scene(70, 50).convert("RGBA" if mode == "P" else mode)
    if mode in {"LA", "RGBA"}:
        image.putalpha(scene(70, 50, seed=3).convert("L"))
    if mode == "P":
        image = scene(70, 50).quantize(64)
    decoded = tiny.decode(tiny.encode(image, 100))
    assert decoded.size == image.size
    assert decoded.mode == {"P": "RGB", "1": "L"}.get(mode, mode)
    if mode in {"LA", "RGBA"}:
        assert np.array_equal(np.asarray(decoded.getchannel("A")), np.asarray(image.getchannel("A")))
    if mode == "1":  # dithered: no codec of this kind comes near
        return
    wanted = image.convert(decoded.mode)
    assert np.abs(np.asarray(decoded, dtype=int) - np.asarray(wanted)).mean() < 40


def test_palette_with_transparency(tiny):
    image = scene(40, 40).quantize(8)
    image.info["transparency"] = 0
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    picture = open_picture(buffer.getvalue())
    decoded = tiny.decode(tiny.encode(picture))
    assert decoded.mode == "RGBA"
    assert np.array_equal(np.asarray(decoded.getchannel("A")), picture.alpha)


def test_other_modes_are_refused_with_the_remedy(tiny):
    with pytest.raises(BadPicture, match="convert"):
        tiny.encode(Image.new("F", (8, 8), 100))


def test_what_is_changed_to_read_a_picture_is_said(tiny):
    with pytest.warns(PictureNotice, match="CMYK became RGB"):
        data = tiny.encode(scene(8, 8).convert("CMYK"))
    assert tiny.decode(data).mode == "RGB"


def test_orientation_is_applied_and_exif_kept():
    image = scene(60, 40)
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Maker"
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", exif=exif, quality=100)
    picture = open_picture(buffer.getvalue())
    assert picture.pixels.shape == (60, 40, 3)
    kept = Image.Exif()
    kept.load(picture.exif)
    assert kept[0x010F] == "Maker" and kept[0x0112] == 1


def test_icc_profile_is_kept(tiny):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image = scene(20, 20)
    image.info["icc_profile"] = profile
    assert tiny.decode(tiny.encode(image)).info["icc_profile"] == profile


def test_arrays_and_tensors(tiny):
    pixels = np.asarray(scene(50, 30))
    data = tiny.encode(pixels, 70)
    assert tiny.encode(pixels.astype(np.float32) / 255, 70) == data
    assert tiny.encode(scene(50, 30), 70) == data
    tensor = torch.from_numpy(pixels.copy()).permute(2, 0, 1)
    assert tiny.encode(tensor, 70) == data
    assert tiny.encode_batch(torch.stack([tensor, tensor]).double() / 255, 70) == [data, data]
    assert tiny.decode_array(data).shape == (30, 50, 3)
    assert np.array_equal(tiny.decode_array(data), np.asarray(tiny.decode(data)))
    back = tiny.decode_tensor(data)
    assert back.shape == (3, 30, 50) and back.dtype == torch.float32 and float(back.max()) <= 1
    grey = tiny.encode(pixels[:, :, :1], 70)
    assert tiny.decode(grey).mode == "L" and tiny.decode_array(grey).shape == (30, 50, 1)


@pytest.mark.parametrize(
    ("array", "hint"),
    [
        (np.full((4, 4, 3), np.nan), "NaN"),
        (np.full((4, 4, 3), 200.0), "divide by 255"),
        (np.full((4, 4, 3), -0.1), "divide by 255"),
        (np.zeros((4, 4, 2), np.uint8), r"\(H, W, 3\)"),
        (np.zeros((0, 4, 3), np.uint8), "empty"),
        (np.zeros((2, 4, 4, 3), np.uint8), r"\(H, W, 3\)"),
        (np.zeros((4, 4, 3), np.int64), "uint8"),
    ],
)
def test_bad_arrays(tiny, array, hint):
    with pytest.raises(BadPicture, match=hint):
        tiny.encode(array)


def test_bad_calls(tiny):
    with pytest.raises(BadPicture, match=r"\(C, H, W\)"):
        tiny.encode(torch.zeros(1, 3, 8, 8))
    with pytest.raises(UsageError, match=r"0 \.\.\. 100"):
        tiny.encode(scene(8, 8), 101)
    with pytest.raises(UsageError, match="one target"):
        tiny.encode(scene(8, 8), target_bpp=1, target_size_bytes=100)
    with pytest.raises(UsageError, match="Pillow image"):
        tiny.encode("photo.png")
    with pytest.raises(UsageError, match="cpu or cuda"):
        Codec(device="tpu")
    with pytest.raises(UnknownWeights, match="there are"):
        Codec("moss")
    if not torch.cuda.is_available():
        with pytest.raises(DeviceError, match="`device` to cpu"):
            Codec(device="cuda")


def test_targets_are_met_by_the_file(tiny):
    image = scene(200, 150)
    for share in (0.3, 0.8):
        low, high = len(tiny.encode(image, 0)), len(tiny.encode(image, 100))
        wanted = int(low + share * (high - low))
        size = len(tiny.encode(image, target_size_bytes=wanted))
        assert wanted * 0.97 <= size <= wanted
    bpp = 8 * len(tiny.encode(image, target_bpp=0.4)) / (200 * 150)
    assert 0.38 < bpp <= 0.4
    with pytest.raises(BadPicture, match="smallest"):
        tiny.encode(image, target_size_bytes=30)


def test_target_psnr_is_reached_by_a_smaller_file(tiny):
    image = scene(100, 80)
    ends = [psnr_db(tiny.decode_array(tiny.encode(image, q)), np.asarray(image)) for q in (0, 100)]
    wanted = ends[0] + 0.6 * (ends[1] - ends[0])
    data = tiny.encode(image, target_psnr_db=wanted)
    assert psnr_db(tiny.decode_array(data), np.asarray(image)) >= wanted
    assert len(data) < len(tiny.encode(image, 100))
    assert len(tiny.encode(image, target_psnr_db=1)) <= len(tiny.encode(image, 0))
    grey = image.convert("L")
    data = tiny.encode(grey, target_psnr_db=wanted)
    assert psnr_db(tiny.decode_array(data), np.asarray(grey)[:, :, None]) >= wanted
    with pytest.raises(BadPicture, match="ask for less"):
        tiny.encode(image, target_psnr_db=90)


def test_a_memory_limit_refuses_and_changes_nothing(tiny):
    image = scene(500, 400)
    data, path = tiny.encode(image), tiny._extra
    needed = tiny.engine.memory_bytes(400, 500)
    roomy, narrow = (Codec(weights=path, max_memory_bytes=needed + more) for more in (0, -1))
    assert roomy.encode(image) == data and np.array_equal(roomy.decode_array(data), tiny.decode_array(data))
    for work in (lambda: narrow.encode(image), lambda: narrow.decode(data)):
        with pytest.raises(OutOfMemory, match="raise `max_memory_bytes`"):
            work()
    assert tiny.engine.memory_bytes(400, 500, refined=True) > needed
    with pytest.raises(OutOfMemory, match="raise `max_memory_bytes`"):
        roomy.encode(image, refine_steps=1)


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate")]
)
def test_memory_that_is_not_there_is_our_error(tiny, monkeypatch, error):
    def fail(*_, **said):
        raise error

    data = tiny.encode(scene(20, 20))
    monkeypatch.setattr(type(tiny.engine), "latents", fail)
    monkeypatch.setattr(type(tiny.engine), "read_filtered", fail)
    for work in (lambda: tiny.encode(scene(20, 20)), lambda: tiny.decode(data)):
        with pytest.raises(OutOfMemory, match="too little memory"):
            work()


def test_weights_are_found_by_hash_in_the_search_path(tiny, tmp_path, monkeypatch):
    data = tiny.encode(scene(20, 20))
    other = Codec(weights=small_checkpoint(ZOO[0], tmp_path / "a", seed=5))
    with pytest.raises(UnknownWeights):
        other.decode(data)
    small_checkpoint(ZOO[0], tmp_path / "b", seed=0)
    monkeypatch.setenv("LICHEN_WEIGHTS", str(tmp_path / "b"))
    (tmp_path / "b/a.safetensors").symlink_to("nowhere")  # what cannot be read hides no other
    assert np.array_equal(other.decode_array(data), tiny.decode_array(data))


def test_limits_hold_before_a_picture_is_loaded(tiny, tmp_path):
    scene(200, 100).save(tmp_path / "a.png")
    small = Codec(weights=tiny._extra, max_pixels=100)
    with Image.open(tmp_path / "a.png") as image:
        with pytest.raises(PictureTooLarge):
            small.encode(image)
        assert image.fp is not None  # Pillow closes what it has loaded


def test_threads_share_a_codec(tiny):
    images = [scene(90, 70, seed) for seed in range(8)]
    alone = [tiny.encode(image, 60) for image in images]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda image: tiny.encode(image, 60), images)) == alone
        decoded = list(pool.map(tiny.decode_array, alone))
    assert all(np.array_equal(a, tiny.decode_array(b)) for a, b in zip(decoded, alone, strict=True))


def test_a_codec_can_be_sent_to_another_process(tmp_path):
    weights = small_checkpoint(ZOO[0], tmp_path)
    codec = Codec(weights=weights, max_pixels=5000, max_memory_bytes=10**12)
    sent = pickle.loads(pickle.dumps(codec))
    assert vars(sent).keys() == vars(codec).keys() and sent.max_memory_bytes == 10**12
    assert sent.encode(scene(40, 30), 30) == codec.encode(scene(40, 30), 30)
    with pytest.raises(PictureTooLarge):
        sent.encode(scene(100, 80))


def test_the_shipped_model(sample):
    """What the package promises of its own weights: it works, and more quality is more of both."""
    codec = Codec()
    points = []
    for quality in range(0, 101, 10):
        data = codec.encode(sample, quality)
        points.append((len(data), psnr_db(codec.decode_array(data), np.asarray(sample))))
    assert points == sorted(points) and points[0][1] < points[-1][1]
    assert all(a[1] < b[1] for a, b in itertools.pairwise(points))
    assert lichen.decode(lichen.encode(sample)).size == sample.size


def test_the_functions_take_what_the_codec_takes(sample):
    codec = Codec()
    for asked in ({"quality": 20, "filtered": False}, {"target_bpp": 0.5}, {"target_psnr_db": 30, "refine_steps": 1}):
        assert lichen.encode(sample, **asked) == codec.encode(sample, **asked)
    data = codec.encode(sample)
    assert lichen.decode(data, crop=(5, 6, 70, 80)).tobytes() == codec.decode(data, (5, 6, 70, 80)).tobytes()


@pytest.mark.parametrize("asked", [{"quality": "60"}, {"quality": None}, {"target_bpp": "1"}, {"refine_steps": 1.5}])
def test_values_that_are_no_numbers(tiny, asked):
    (name,) = asked
    with pytest.raises(UsageError, match=f"`{name}` must be a"):
        tiny.encode(scene(8, 8), **asked)


def test_from_pil_does_not_change_its_input():
    image = scene(10, 10).convert("RGBA")
    before = image.copy()
    from_pil(image)
    assert image.tobytes() == before.tobytes() and image.mode == "RGBA"


def test_what_cannot_be_unpacked_is_not_packed(tiny):
    image = scene(20, 20)
    image.info["icc_profile"] = bytes(16_000_001)
    with pytest.raises(BadPicture, match="ICC"):
        tiny.encode(image)


def test_damaged_exif_is_dropped_and_the_picture_kept():
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    buffer = io.BytesIO()
    scene(30, 20).save(buffer, "JPEG", exif=exif)
    bent = buffer.getvalue().replace(b"Exif\0\0", b"Exif\0\0XX", 1)
    assert open_picture(bent).pixels.shape == (20, 30, 3)


@pytest.mark.parametrize("target", [float("nan"), float("inf"), 0.0])
def test_targets_that_are_no_numbers(tiny, target):
    with pytest.raises(UsageError, match="target_bpp"):
        tiny.encode(scene(8, 8), target_bpp=target)


def test_latents_can_be_trained_on_and_come_from_any_buffer(tiny):
    data = tiny.encode(scene(70, 50))
    latents = tiny.decode_latents(bytearray(data))
    assert torch.equal(latents, tiny.decode_latents(memoryview(data)))
    layer = torch.nn.Conv2d(latents.shape[1], 1, 1).double()
    layer(latents).sum().backward()
    assert layer.weight.grad is not None


def test_a_notice_points_at_the_line_that_gave_the_picture(tiny):
    with pytest.warns(PictureNotice) as caught:
        tiny.encode(scene(20, 20).convert("CMYK"))
    assert caught[0].filename == __file__


def test_images_that_cannot_be_read_are_our_error(tiny):
    scene(90, 90).save(buffer := io.BytesIO(), "PNG")
    cut, closed = Image.open(io.BytesIO(buffer.getvalue()[:-1000])), Image.open(buffer)
    closed.close()
    for image in (cut, closed):
        with pytest.raises(BadPicture, match="cannot be read"):
            tiny.encode(image)
