"""Shared fixtures: small models of every row, and pictures without any download."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import skimage
import torch
from PIL import Image

from lichen.codec import Codec
from lichen.models.checkpoint import save_checkpoint
from lichen.models.config import ModelConfig, Rates
from lichen.models.zoo import ZOO, Row
from lichen.picture import to_float

SHARED = Path(__file__).parents[2] / "shared"


def small(config: ModelConfig) -> ModelConfig:
    """The same composition at widths that a test can afford."""
    return dataclasses.replace(
        config,
        transform=dataclasses.replace(
            config.transform,
            latents=24,
            fine=8,
            coarse=8,
            encoder_depth=(1, 1),
            decoder_depth=(1, 1),
            encoder_dense=1,
            decoder_dense=1,
        ),
        hyper=dataclasses.replace(config.hyper, hyper_latents=6, width=12, features=16),
        context=dataclasses.replace(config.context, local=8, hidden=16),
        rates=Rates(low=0.0003, high=0.01, count=3),
    )


def small_checkpoint(row: Row, folder: Path, seed: int = 0) -> Path:
    """Random weights of a small model, with scales about as large as its latents at the highest level.

    Latents are lively, as the transform starts as a DCT. The last channel is always skipped.
    """
    torch.manual_seed(seed)
    config = small(row.config)
    model = config.build()
    with torch.no_grad():
        y = model.analyse(to_float(np.asarray(scene(192, 128))), torch.tensor([2.0]))
        raw = torch.log2(y.std(dim=(0, 2, 3))).clamp(-2, 7)
        raw[-1] = -4
        for source in model.prior.context.sources:
            last = source.predict
            last.weight.normal_(std=0.6 / last.in_channels**0.5)
            last.bias[: len(raw)] = y.mean(dim=(0, 2, 3))
        model.prior.context.base_raw.table.copy_(raw.expand(3, -1))
        model.hyper_analysis.body[-1].weight *= 40  # z is lively too
        model.prior.hyper_raw.table += 2
    path = folder / f"{row.name}.safetensors"
    save_checkpoint(path, row.name, config, model.state_dict(), {"steps": 0})
    return path


@pytest.fixture(scope="session", params=ZOO, ids=lambda row: row.name)
def weights(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small checkpoint of each row of the zoo in turn."""
    return small_checkpoint(request.param, tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="session")
def codec(weights: Path) -> Codec:
    """A codec of each row of the zoo in turn."""
    return Codec(weights=weights)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Codec:
    """One small codec, for tests that do not depend on the row."""
    return Codec(weights=small_checkpoint(ZOO[0], tmp_path_factory.mktemp("tiny")))


def scene(width: int, height: int, seed: int = 0) -> Image.Image:
    """A picture with edges, slopes and some noise."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:height, 0:width]
    planes = [
        128 + 60 * np.sin(columns / (5 + 7 * c)) * np.cos(rows / (9 + c)) + 40 * (rows > columns) for c in range(3)
    ]
    pixels = np.stack(planes, axis=2) + rng.normal(0, 6, (height, width, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


@pytest.fixture(scope="session")
def sample() -> Image.Image:
    """A real photograph, 300 x 200, from scikit-image."""
    path = Path(skimage.__file__).parent / "data" / "coffee.png"
    return Image.open(path).convert("RGB").crop((100, 100, 400, 300))
