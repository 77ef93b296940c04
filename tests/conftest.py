"""Shared fixtures: small models of every row, and pictures without any download."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import skimage
from PIL import Image

from lichen.codec import Codec
from lichen.lab.models.zoo import ZOO
from tests.small import small_checkpoint


@pytest.fixture(scope="session", autouse=True)
def no_other_weights() -> None:
    """Where tests speak of the shipped weights they mean these, whatever whoever runs them has set."""
    os.environ.pop("LICHEN_WEIGHTS", None)


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


@pytest.fixture(scope="session")
def sample() -> Image.Image:
    """A real photograph, 300 x 200, from scikit-image."""
    path = Path(skimage.__file__).parent / "data" / "coffee.png"
    return Image.open(path).convert("RGB").crop((100, 100, 400, 300))
