"""The folder in which commands are run."""

from __future__ import annotations

import pytest

from lichen.lab.models.zoo import ZOO
from tests.small import scene, small_checkpoint


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder to work in, with pictures, and small weights where they are looked for."""
    small_checkpoint(ZOO[0], tmp_path / "weights")
    monkeypatch.setenv("LICHEN_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in/deep").mkdir(parents=True)
    scene(60, 40).save("in/a.png")
    scene(50, 70, 1).save("in/deep/b.jpg")
    return tmp_path
