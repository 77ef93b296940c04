"""Large pictures in tiles: the same latents as on the whole, pixels within a rounding, any part on its own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from lichen.errors import UsageError
from lichen.lab.engine.activations import estimate_memory
from lichen.lab.engine.halos import _reach, prior_halos, transform_halos
from lichen.lab.models.zoo import row
from lichen.lab.prior.file_coder import FileWriter
from lichen.runtime import tiles
from lichen.runtime.memory import MemoryEstimate
from lichen.runtime.tiles import Tile, evenly, split
from tests.small import scene

QUALITY_INDEX = 900
SIZE = (700, 390)  # 11 x 7 hyper-latents


@pytest.fixture
def small_tiles(monkeypatch):
    """Tiles of 4 hyper-latents instead of 48 and 64, so that small pictures have several."""
    monkeypatch.setattr(tiles, "CODING_SIDE", 4)
    monkeypatch.setattr(MemoryEstimate, "transform_side", lambda self, stride: 4)


def whole_walk(codec, y, z):
    """The walk over the whole picture: y_hat."""
    rate_level = torch.tensor([QUALITY_INDEX / 512], dtype=torch.float64)
    return codec.engine.prior.walk(FileWriter(), rate_level, z.shape[2:], y.double(), z.double()).y_hat


@torch.inference_mode()
def test_latents_in_tiles_are_those_of_the_whole(codec, small_tiles):
    engine, pixels = codec.engine, np.asarray(scene(*SIZE))
    if engine._prior_halos is None:
        pytest.skip(f"{codec.checkpoint.name} is walked on whole pictures only")
    y, z = engine.latents(pixels, QUALITY_INDEX)
    model, rate_level = codec.checkpoint.model, torch.tensor([QUALITY_INDEX / 512])
    assert len(engine.tiling(*pixels.shape[:2]).transforms.tiles) == 6
    whole_y = model.analyse(torch.from_numpy(pixels / np.float32(255)).permute(2, 0, 1)[None], rate_level)
    assert torch.allclose(y, whole_y, atol=1e-3) and torch.allclose(
        z, model.hyper_analyse(whole_y, rate_level), atol=1e-2
    )
    payload, y_hat = engine.write(y, z, QUALITY_INDEX)
    assert torch.equal(y_hat.double(), whole_walk(codec, y, z))
    assert torch.equal(engine.read(payload, QUALITY_INDEX, *pixels.shape[:2]), y_hat)


@torch.inference_mode()
def test_pixels_in_tiles_are_those_of_the_whole(codec, small_tiles, monkeypatch):
    engine, pixels = codec.engine, np.asarray(scene(*SIZE))
    assert engine._transform_halos is not None
    y_hat = engine.write(*engine.latents(pixels, QUALITY_INDEX), QUALITY_INDEX)[1]
    parts = engine.pixels(y_hat, QUALITY_INDEX, *pixels.shape[:2])
    monkeypatch.setattr(MemoryEstimate, "transform_side", lambda self, stride: 64)
    whole = engine.pixels(y_hat, QUALITY_INDEX, *pixels.shape[:2])
    assert np.abs(parts.astype(int) - whole).max() <= 1


def test_a_crop_is_the_part_of_the_picture(tiny, small_tiles, monkeypatch):
    data = tiny.encode(scene(*SIZE), 80)
    whole = tiny.decode_array(data)
    asked = []
    synthesise = type(tiny.checkpoint.model).synthesise
    monkeypatch.setattr(type(tiny.checkpoint.model), "synthesise", lambda *a: (asked.append(a[3:]), synthesise(*a))[1])
    for crop, needed in (((0, 0, 1, 1), 1), ((250, 100, 20, 30), 2), ((690, 380, 10, 10), 1), ((0, 0, *SIZE), 6)):
        x, y, width, height = crop
        asked.clear()
        part = tiny.decode(data, crop=crop)
        assert np.array_equal(np.asarray(part), whole[y : y + height, x : x + width])
        assert len(asked) == needed
    for crop in ((0, 0, 0, 5), (-1, 0, 5, 5), (0, 0, 701, 5), (690, 0, 11, 5)):
        with pytest.raises(UsageError, match="crop"):
            tiny.decode(data, crop=crop)


@torch.inference_mode()
def test_a_crop_costs_what_it_needs(codec):
    """Also of a picture that is one tile; networks that look at the whole map see the whole of it."""
    engine, (width, height) = codec.engine, SIZE
    y_hat = torch.randn(1, engine.prior.context.latents, 4 * 7, 4 * 11).round()
    whole = engine.pixels(y_hat, QUALITY_INDEX, height, width)
    for x, y, across, down in ((0, 0, 1, 1), (500, 200, 64, 64), (690, 380, 10, 10)):
        part = engine.pixels(y_hat, QUALITY_INDEX, height, width, (x, y, across, down))
        assert np.abs(part.astype(int) - whole[y : y + down, x : x + across]).max() <= 1
    (needed,) = engine.tiling(height, width).placed((0, 0, 1, 1))
    halo = engine.tiling(height, width).transforms.halos.synthesis
    assert needed.outer.shape == (min(4 + halo, 7), min(4 + halo, 11))


def test_a_crop_has_its_part_of_the_alpha(tiny):
    image = scene(60, 40).convert("RGBA")
    image.putalpha(scene(60, 40, 2).convert("L"))
    part = tiny.decode(tiny.encode(image), crop=(10, 5, 20, 30))
    assert np.array_equal(np.asarray(part.getchannel("A")), np.asarray(image.getchannel("A"))[5:35, 10:30])


def test_no_seams(tiny, small_tiles):
    """The error at the borders of tiles is like the error elsewhere."""
    pixels = np.asarray(scene(768, 512)).astype(int)
    error = (np.asarray(tiny.decode(tiny.encode(scene(768, 512), 60))).astype(int) - pixels) ** 2
    columns = error.mean(axis=(0, 2))
    border = columns[[255, 256, 511, 512]].mean()
    assert border < 1.3 * columns[64:-64].reshape(-1, 16)[:, [0, 15]].mean()  # every block has such an edge


def test_tiles_cover_the_map_once():
    count = torch.zeros(1, 1, 70, 33)
    for tile in split(70, 33, 48, 48):
        tile.of(count, 1).add_(1)
    assert (count == 1).all() and len(split(48, 48, 48, 48)) == 1 and len(split(49, 48, 48, 48)) == 2


@pytest.mark.parametrize(("height", "width", "number"), [(157, 157, 9), (65, 64, 2), (64, 1, 1), (129, 65, 6)])
def test_tiles_are_as_even_as_can_be(height, width, number):
    count = torch.zeros(1, 1, height, width)
    tiles = evenly(height, width, 64)
    for tile in tiles:
        tile.of(count, 1).add_(1)
    assert (count == 1).all() and len(tiles) == number
    for axis, length in enumerate((height, width)):
        largest, fewest = max(tile.shape[axis] for tile in tiles), -(-length // 64)
        assert largest < length / fewest + 4 and largest <= 64
    assert all(tile.top % 4 == tile.left % 4 == 0 for tile in tiles)


def test_tiles_grow_within_the_whole():
    whole = Tile(0, 0, 40, 64)
    outer = Tile(32, 32, 40, 64).grown(3, whole)
    assert outer == Tile(29, 29, 40, 64)
    assert Tile(32, 32, 40, 64).seen_from(outer) == Tile(3, 3, 11, 35)


@torch.no_grad()
def test_the_reach_of_networks_is_found():
    device = torch.device("cpu")
    for kernel, reach in ((1, 0), (3, 1), (9, 4), (31, None)):
        layer = nn.Conv2d(2, 2, kernel, padding=kernel // 2)
        layer.weight.zero_()  # whatever the weights
        assert _reach(layer, 2, 1, 1, device) == reach
    pooled = nn.AdaptiveAvgPool2d(1)
    assert _reach(lambda x: x + pooled(x), 2, 1, 1, device) is None
    blocks = nn.Sequential(nn.AvgPool2d(2), nn.Upsample(scale_factor=2))
    assert _reach(blocks, 2, 1, 1, device) == 4  # on a grid of its own: rounded up to the period


def test_halos_of_the_default_model():
    model = row("lichen").config.build()
    transforms, prior = transform_halos(model), prior_halos(model)
    assert transforms is not None and prior is not None
    assert max(*vars(transforms).values(), *vars(prior).values()) <= 5


def test_wide_models_have_smaller_tiles():
    sides = [estimate_memory(row(name).config.build()).transform_side(64) for name in ("lichen", "cheng-hp")]
    assert sides[0] == 64 and 16 <= sides[1] < 64
