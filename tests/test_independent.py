"""Files survive their program: an integer decoder that imports nothing of it gets the same latents."""

from __future__ import annotations

import functools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import lichen
from lichen.bitstream.container import Container, Kind, read_container, write_container
from lichen.bitstream.fields import FILTERED, TRELLIS, Header
from lichen.codec import Codec
from lichen.coding.scales import THRESHOLDS
from lichen.lab.engine.torch_engine import TorchEngine
from lichen.lab.prior.file_coder import FileReader
from lichen.runtime.engine import Reading
from tests import independent
from tests.independent import Decoded, Weights, decode
from tests.independent_bits import Damaged
from tests.small import scene

PACKAGE = Path(lichen.__file__).parent
SHIPPED = PACKAGE / "weights" / "lichen.safetensors"
GOLDEN = Path(__file__).parent / "golden"
OLD = sorted([*GOLDEN.glob("v1-lichen/*.lic"), *GOLDEN.glob("v1-lichen-*/tall.lic")])  # of all schedules


def noise(width: int, height: int) -> Image.Image:
    """Black and white pixels: no prior predicts them."""
    rng = np.random.default_rng(0)
    return Image.fromarray(255 * rng.integers(0, 2, (height, width, 3), np.uint8))


@functools.cache
def engine_of(path: Path) -> TorchEngine:
    return TorchEngine.load(path, torch.device("cpu"))


@torch.inference_mode()
def assert_same(data: bytes, path: Path) -> Decoded:
    """Every latent of a file, z and y, bit for bit; gives what the independent decoder found."""
    found = decode(data, Weights.read(path), PACKAGE / "coding")
    engine, container = engine_of(path), read_container(data)
    header = container.header
    filtered = bool(header.flags & FILTERED)
    place = header.quality_index, header.height, header.width
    trellis = bool(header.flags & TRELLIS)
    y_hat, coefficients = engine.read_filtered(
        container.latents, *place, how=Reading(filtered=filtered, trellis=trellis)
    )
    assert (found.own is not None) == (coefficients is not None) == filtered
    if coefficients is not None and found.own is not None:
        principal, area = engine.checkpoint.model.post_filter, math.prod(found.z_hat.shape[:2])
        assert principal is not None
        step = principal.step(header.quality_index / 512, area)
        assert np.array_equal(coefficients.numpy(), found.own * step) and found.own.any()
    assert np.array_equal(y_hat[0].permute(1, 2, 0).double().numpy() * 4096, found.y_hat)
    level = torch.tensor([header.quality_index / 512], dtype=torch.float64)
    z_hat = engine.prior.code_hyper(FileReader(container.latents), level, found.z_hat.shape[:2], None)
    assert np.array_equal(z_hat[0].permute(1, 2, 0).numpy() * 4096, found.z_hat)
    return found


@pytest.fixture(scope="module")
def shipped() -> Codec:
    return Codec(weights=SHIPPED)


@pytest.mark.parametrize(
    ("picture", "quality", "escapes"),
    [
        (scene(64, 64), 0, False),
        (scene(100, 70, seed=1).convert("L"), 37, False),
        (scene(130, 65, seed=2), 71.3, False),
        (noise(80, 64), 100, True),
        (scene(1, 1, seed=3), 50, False),
    ],
    ids=["lowest", "grey", "between levels", "noise", "one pixel"],
)
def test_pictures(shipped, picture, quality, escapes):
    found = assert_same(shipped.encode(picture, quality), SHIPPED)
    assert (found.file.width, found.file.height) == picture.size
    assert found.file.flags & 1 == (picture.mode == "L")
    assert found.z_symbols.any() and found.y_symbols.any()
    assert found.escapes >= 10 * escapes
    skipped = found.y_index <= 3
    assert skipped.any() and not skipped.all()
    assert np.array_equal(found.y_hat[skipped], found.y_mean[skipped])
    moved = (found.y_hat - found.y_mean - 4096 * found.y_symbols)[found.y_index < 10]
    assert moved.any() and not moved[found.y_symbols[found.y_index < 10] == 0].any()  # points of reconstruction
    assert found.file.flags & 4 and (found.y_index >= 10).any()  # trellis latents


@pytest.mark.parametrize("trellis", [False, True])
@pytest.mark.parametrize(("size", "level"), [(1e2, 3584), (1e6, 511)])
def test_latents_that_no_picture_has(size, level, trellis):
    """They leave the activations' range and the tables: clamps, and escapes of up to 21 digits."""
    engine, generator = engine_of(SHIPPED), torch.Generator().manual_seed(0)
    y, z = (size * torch.randn(1, *shape, generator=generator) for shape in ((320, 4, 8), (64, 1, 2)))
    with torch.inference_mode():
        payloads, y_hat = engine.write(y, z, level, trellis=trellis)
    header = Header(1, engine.checkpoint.hash, 128, 64, level, TRELLIS if trellis else 0)
    data = write_container(Container(header, {Kind.LATENTS: payloads[0]}))
    found = assert_same(data, SHIPPED)
    assert np.array_equal(y_hat[0].permute(1, 2, 0).numpy() * 4096, found.y_hat)  # what was written
    assert found.escapes > 400 and np.abs(found.y_symbols).max() > size


@pytest.mark.parametrize("path", OLD, ids=lambda path: f"{path.parent.name} {path.stem}")
def test_golden_files(path):
    """Older weights, other schedules, and pictures of several tiles."""
    assert assert_same(path.read_bytes(), next(path.parent.glob("*.safetensors"))).y_symbols.any()


def test_golden_files_are_there():
    assert {"tall", "wide", "alpha", "grey"} <= {path.stem for path in OLD}


def test_the_other_tune():
    path = SHIPPED.with_name("lichen-ms-ssim.safetensors")
    assert assert_same(Codec(weights=path).encode(scene(96, 64), 60), path).y_symbols.any()


def test_thresholds():
    assert tuple(independent.THRESHOLDS.tolist()) == THRESHOLDS


def test_damage_is_noticed(shipped):
    data = bytearray(shipped.encode(scene(64, 64), 50))
    data[len(data) // 2] ^= 4
    with pytest.raises(Damaged):
        decode(bytes(data), Weights.read(SHIPPED), PACKAGE / "coding")
