"""Both engines give the same latents and, from the same y and z, the same bytes; pixels within a rounding."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch

from lichen.codec import Codec
from lichen.errors import BadFile, UsageError
from lichen.lab.engine.torch_engine import TorchEngine
from lichen.metrics import psnr_db
from lichen.options import EngineName, FirstGroups, Tune
from lichen.runtime import engines as engines_module
from lichen.runtime import processor, tiles
from lichen.runtime.engine import Reading, Writing
from lichen.runtime.engines import suited
from lichen.runtime.memory import MemoryEstimate
from lichen.runtime.onnx_engine import OnnxEngine
from lichen.runtime.weights import find_by_name
from tests.small import scene

SIZES = [(1, 1), (64, 64), (130, 70), (257, 191)]
QUALITY_INDICES = [0, 511, 1792, 3584]


@pytest.fixture(scope="module", params=list(Tune), ids=lambda tune: tune.value)
def engines(request):
    pair = [Codec(tune=request.param, engine=name).engine for name in (EngineName.ONNX, EngineName.TORCH)]
    assert isinstance(pair[0], OnnxEngine) and isinstance(pair[1], TorchEngine)
    return pair


@pytest.fixture
def small_tiles(monkeypatch):
    """Tiles of 2 and 4 hyper-latents instead of 48 and 64, so that small pictures have several."""
    monkeypatch.setattr(tiles, "CODING_SIDE", 2)
    monkeypatch.setattr(MemoryEstimate, "transform_side", lambda self, stride: 4)


def same_bits(engines, pixels, quality_index):
    onnx, lab = engines
    y, z = lab.latents(pixels, quality_index)
    for trellis in (True, False):
        how = Writing(pixels=pixels, filtered=True, trellis=trellis)
        payloads, y_hat, coefficients = lab.write_filtered(y, z, quality_index, how)
        place, plain = (quality_index, *pixels.shape[:2]), lab.write(y, z, quality_index, trellis=trellis)[0]
        for source, filtered in ((payloads, coefficients is not None), (plain, False)):
            ours, own = onnx.read_filtered(source, *place, how=Reading(filtered=filtered, trellis=trellis))
            assert ours.dtype == np.float32 and np.array_equal(ours, y_hat.numpy())
            assert (own is None) == (not filtered) and (own is None or np.array_equal(own, coefficients.numpy()))
        written, known = onnx.write(y.numpy(), z.numpy(), quality_index, trellis=trellis)
        assert written == plain and np.array_equal(known, y_hat.numpy())
    return y_hat, coefficients


@pytest.mark.parametrize("size", SIZES)
def test_latents_and_bytes_are_the_same(engines, size):
    pixels = np.asarray(scene(*size, seed=sum(size)))
    for quality_index in QUALITY_INDICES if size == (130, 70) else QUALITY_INDICES[2:3]:
        same_bits(engines, pixels, quality_index)


def test_latents_that_no_picture_has(engines):
    onnx, lab = engines
    torch.manual_seed(0)
    for scale in (100.0, 1e6):
        y, z = torch.randn(1, 320, 8, 12) * scale, torch.randn(1, 64, 2, 3) * scale
        for trellis in (False, True):
            payloads, y_hat = lab.write(y, z, 3000, trellis=trellis)
            assert onnx.write(y.numpy(), z.numpy(), 3000, trellis=trellis)[0] == payloads
            assert np.array_equal(onnx.read(payloads, 3000, 128, 192, trellis=trellis), y_hat.numpy())


def test_tiles_are_the_same(engines, small_tiles):
    onnx, lab = engines
    pixels = np.asarray(scene(700, 390))
    y_hat, coefficients = same_bits(engines, pixels, 2000)
    numbers = None if coefficients is None else coefficients.numpy()
    parts = onnx.pixels(y_hat.numpy(), 2000, 390, 700, None, numbers)
    crop = onnx.pixels(y_hat.numpy(), 2000, 390, 700, (250, 100, 60, 40), numbers)
    assert np.array_equal(crop, parts[100:140, 250:310])
    whole = lab.pixels(y_hat, 2000, 390, 700, None, coefficients)
    assert np.abs(parts.astype(int) - whole).max() <= 1


def test_pixels_are_within_a_rounding_and_as_good(engines):
    onnx, lab = engines
    pixels = np.asarray(scene(257, 191))
    for quality_index in QUALITY_INDICES:
        how = Writing(pixels=pixels, filtered=True, trellis=True, corrected_every=2)
        payloads, y_hat, coefficients = lab.write_filtered(*lab.latents(pixels, quality_index), quality_index, how)
        filtered = coefficients is not None
        ours, own = onnx.read_filtered(payloads, quality_index, 191, 257, how=Reading(filtered=filtered, trellis=True))
        made = onnx.pixels(ours, quality_index, 191, 257, None, own)
        theirs = lab.pixels(y_hat, quality_index, 191, 257, None, coefficients)
        assert np.abs(made.astype(int) - theirs).max() <= 1
        assert psnr_db(made, pixels) == pytest.approx(psnr_db(theirs, pixels), abs=0.02)


def test_filters_are_chosen_alike():
    """By the same sums, but for how they are added up: what is gained is the same."""
    pixels, gains = np.asarray(scene(300, 200)), []
    for name in (EngineName.ONNX, EngineName.TORCH):
        codec = Codec(engine=name)
        plain, filtered = (codec.decode_array(codec.encode(pixels, 60, filtered=f)) for f in (False, True))
        gains.append(psnr_db(filtered, pixels) - psnr_db(plain, pixels))
    assert gains[0] == pytest.approx(gains[1], abs=0.02)


def test_files_cross_between_engines():
    pixels = np.asarray(scene(200, 120))
    onnx, lab = Codec(engine=EngineName.ONNX), Codec(engine=EngineName.TORCH)
    for writer, reader in ((onnx, lab), (lab, onnx)):
        data = writer.encode(pixels, 55)
        assert torch.equal(writer.decode_latents(data), reader.decode_latents(data))


def test_what_graphs_cannot_do_the_lab_does():
    codec = Codec(engine=EngineName.ONNX)
    assert len(codec.encode(scene(64, 64), 60, refine_steps=2)) > 50
    with pytest.raises(UsageError, match="channel groups"):
        codec.decode(codec.encode(scene(64, 64)), first=FirstGroups(1))


def test_weights_without_graphs_take_the_lab(tiny):
    assert isinstance(tiny.engine, TorchEngine)
    with pytest.raises(UsageError, match=r"no exported graphs .* leave `engine` out"):
        Codec(weights=tiny.engine.path, engine=EngineName.ONNX)


@pytest.mark.parametrize(
    ("installed", "fast", "loaded", "expected"),
    [
        (True, True, True, TorchEngine),
        (True, True, False, OnnxEngine),
        (True, False, True, OnnxEngine),
        (False, True, True, OnnxEngine),
    ],
)
def test_auto_takes_pytorch_where_it_is_faster_and_at_hand(monkeypatch, installed, fast, loaded, expected):
    monkeypatch.setattr(engines_module, "has_lab", lambda: installed)
    monkeypatch.setattr(engines_module, "native_bfloat16", lambda: fast)
    path = find_by_name("lichen")
    if not loaded:
        monkeypatch.setattr(engines_module.sys, "modules", {k: v for k, v in sys.modules.items() if k != "torch"})
    assert type(engines_module.load_engine(path, "cpu", EngineName.AUTO)) is expected
    assert type(engines_module.load_engine(path, "cpu", EngineName.ONNX)) is OnnxEngine


def test_a_job_takes_it_where_its_import_is_worth_it(monkeypatch):
    seen = []
    sizes = [3_000_000, 4_000_000, 2_000_000, 9_000_000]

    def pixels():
        for size in sizes:
            seen.append(size)
            yield size

    monkeypatch.setattr(engines_module, "has_lab", lambda: True)
    monkeypatch.setattr(engines_module, "native_bfloat16", lambda: True)
    assert suited(EngineName.AUTO, "cpu", pixels(), 8_000_000) is EngineName.TORCH
    assert seen == sizes[:3]
    assert suited(EngineName.AUTO, "cpu", iter(sizes[:2]), 8_000_000) is EngineName.AUTO
    assert suited(EngineName.ONNX, "cpu", iter(sizes), 1) is EngineName.ONNX
    assert suited(EngineName.AUTO, "cuda", iter(sizes), 1) is EngineName.AUTO
    monkeypatch.setattr(engines_module, "native_bfloat16", lambda: False)
    assert suited(EngineName.AUTO, "cpu", iter(sizes), 1) is EngineName.AUTO


def test_bfloat16_is_known_by_what_the_system_says(tmp_path, monkeypatch):
    info = tmp_path / "cpuinfo"
    for text, expected in (("flags\t: avx2 avx512_bf16 gfni", True), ("flags\t: avx2 avx512f", False), (None, False)):
        info.unlink(missing_ok=True)
        if text is not None:
            info.write_text(text)
        monkeypatch.setattr(processor, "_INFO", info)
        assert processor.native_bfloat16.__wrapped__() is expected


def test_a_damaged_payload_is_an_error_of_ours():
    codec = Codec(engine=EngineName.ONNX)
    payloads, y_hat = codec.engine.write(*codec.engine.latents(np.asarray(scene(64, 64)), 1000), 1000)
    with pytest.raises(BadFile):
        codec.engine.read([*payloads, *payloads], 1000, 64, 64)
    for place in range(0, len(payloads[0]), 7):
        damaged = bytearray(payloads[0])
        damaged[place] ^= 0x55
        try:
            found = codec.engine.read([bytes(damaged)], 1000, 64, 64)
        except BadFile:
            continue
        assert found.shape == y_hat.shape and not np.array_equal(found, y_hat)


def test_no_pytorch_is_loaded():
    """In a process where it cannot be: encode, decode, a crop, a target size, Pillow."""
    program = """
        import sys
        sys.modules["torch"] = None
        import numpy as np
        from PIL import Image
        import lichen, lichen.pillow
        pixels = np.tile(np.linspace(0, 255, 120).astype(np.uint8)[None, :, None], (90, 1, 3))
        data = lichen.encode(pixels, quality=30)
        assert lichen.decode(data).size == (120, 90)
        codec = lichen.Codec()
        assert codec.decode(data, crop=(10, 20, 30, 40)).size == (30, 40)
        size = len(codec.encode(pixels, target_size_bytes=len(data)))
        assert size <= len(data)
        codec.encode(pixels, target_psnr_db=30)
        try:
            codec.encode(pixels, refine_steps=3)
        except lichen.LichenError as error:
            assert "lab" in str(error)
        else:
            raise AssertionError("a search without PyTorch")
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
