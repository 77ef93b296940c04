"""Transforms in bfloat16: other pixels by a rounding, latents that are read the same, wherever they are read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from lichen.bitstream.container import read_container
from lichen.codec import Codec
from lichen.lab.engine import precision
from lichen.lab.engine.precision import coding_precision
from lichen.lab.transforms import blocks
from lichen.options import EngineName

MOVED = 0.1  # of all samples; 0.02 to 0.04 are seen to be another by 1


@pytest.fixture(params=[True, False], ids=["bfloat16", "float32"])
def native(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the processor is taken to have bfloat16; PyTorch emulates it where it has not."""
    monkeypatch.setattr(precision, "native_bfloat16", lambda: request.param)
    return bool(request.param)


@pytest.fixture
def in_float32(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    return lambda: monkeypatch.setattr(precision, "native_bfloat16", lambda: False)


@pytest.fixture(scope="module")
def photograph() -> Image.Image:
    return Image.fromarray(data.astronaut()).crop((100, 0, 356, 192))


@pytest.mark.parametrize("quality", [5, 100])
def test_a_picture_differs_by_roundings(native, in_float32, photograph, quality):
    codec = Codec(engine=EngineName.TORCH)
    here = codec.decode_array(codec.encode(photograph, quality))
    file = codec.encode(photograph, quality)
    in_float32()
    there = codec.decode_array(file)
    off = np.abs(here.astype(int) - there)
    assert off.max() <= 1
    assert (off > 0).any() == native, "or bfloat16 is not what ran"
    assert (off > 0).mean() < MOVED


@pytest.mark.parametrize("quality", [20, 95])
def test_encoding_costs_nothing(native, in_float32, quality):
    """In the mean of four crops: of one so small a latent that is rounded otherwise changes the error by 0.8 %."""
    codec, whole = Codec(engine=EngineName.TORCH), Image.fromarray(data.astronaut())
    crops = [whole.crop((x, y, x + 256, y + 192)) for x, y in ((100, 0), (0, 0), (256, 256), (128, 160))]
    ours = [codec.encode(crop, quality) for crop in crops]
    in_float32()
    theirs = [codec.encode(crop, quality) for crop in crops]
    assert (ours != theirs) == native
    sizes = [sum(map(len, files)) for files in (ours, theirs)]
    assert sizes[0] == pytest.approx(sizes[1], rel=5e-3)
    errors = [
        [_squared_error(codec.decode_array(file), crop) for file, crop in zip(files, crops, strict=True)]
        for files in (ours, theirs)
    ]
    assert np.mean(np.log(errors[0])) == pytest.approx(np.mean(np.log(errors[1])), abs=1e-2)


@torch.inference_mode()
def test_latents_are_read_alike(native, in_float32, photograph):
    codec = Codec(engine=EngineName.TORCH)
    container = read_container(codec.encode(photograph, 50))
    arguments = (container.latents, container.header.quality_index, photograph.height, photograph.width)
    here = codec.engine.read(*arguments, trellis=True)
    in_float32()
    assert torch.equal(here, codec.engine.read(*arguments, trellis=True))


def test_only_where_it_is_known_to_be_harmless(native):
    cpu = torch.device("cpu")
    with coding_precision(cpu, tolerant=False):
        assert not torch.is_autocast_enabled("cpu")
    with coding_precision(torch.device("cuda"), tolerant=True):
        assert not torch.is_autocast_enabled("cuda")
    with coding_precision(cpu, tolerant=True):
        assert torch.is_autocast_enabled("cpu") == native


def test_this_processor_is_asked():
    listed = Path("/proc/cpuinfo")
    flags = listed.read_text() if listed.exists() else ""
    if "flags" not in flags:
        pytest.skip("no list of this processor's features")
    if not hasattr(torch.cpu, "_is_avx512_bf16_supported"):
        pytest.skip("this PyTorch does not say")
    assert precision.native_bfloat16() == ("avx512_bf16" in flags)


def _squared_error(pixels: np.ndarray, image: Image.Image) -> float:
    return float(((pixels.astype(float) - np.asarray(image)) ** 2).mean())


def test_large_maps_go_in_chunks_in_bfloat16_too(monkeypatch):
    """Some pixels at a time, with the sum in float32: as near to float32 as the whole map at once."""
    torch.manual_seed(0)
    block, x = blocks.DepthwiseBlock(16, 3), torch.randn(1, 16, 40, 36)
    torch.nn.init.normal_(block.project.weight, std=0.2)
    monkeypatch.setattr(blocks, "HIDDEN_CHUNK", 32 * 100)
    found = {}
    with torch.inference_mode():
        exact = block(x)
        for limit in (0, 2**40):
            monkeypatch.setattr(blocks, "HIDDEN_VALUES_MAX", limit)
            with torch.autocast("cpu", torch.bfloat16):
                found[limit] = block(x)
    errors = [float((out.float() - exact).abs().max()) for out in found.values()]
    assert not torch.equal(*found.values()) and all(out.dtype == torch.float32 for out in found.values())
    assert 0 < errors[0] < 1.5 * errors[1] < 0.1
