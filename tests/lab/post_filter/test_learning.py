"""`lichen learn-filters`: the last step of a training, and what it refuses."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from lichen.codec import Codec
from lichen.errors import BadCheckpoint, BadData, OutputExists
from lichen.lab.models.checkpoint import load_checkpoint
from lichen.lab.models.zoo import row
from lichen.lab.training.learn_filters import learn_filters_of
from lichen.metrics import psnr_db
from tests.command import run
from tests.small import scene, small_checkpoint


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(4):
        scene(96, 70 + number, number).save(folder / f"{number}.png")
    (folder / "broken.png").write_bytes(b"no picture")
    return folder


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    return small_checkpoint(row("lichen"), tmp_path_factory.mktemp("start"))


def test_filters_are_learnt_and_pay(start, pictures, tmp_path, capsys):
    """Pictures come out pale (tests.small): what is learnt from some mends others, and nothing else is changed."""
    output = tmp_path / "learnt.safetensors"
    assert run("learn-filters", str(start), "--data", str(pictures), "-o", str(output)) == 0
    assert "from 4 pictures" in " ".join(capsys.readouterr().err.split())
    before, after = load_checkpoint(start), load_checkpoint(output)
    assert after.facts == before.facts | {"filters_from": 4} and after.config == before.config
    theirs, ours = before.model.state_dict(), after.model.state_dict()
    changed = {name for name in ours if not torch.equal(ours[name], theirs[name])}
    assert changed == {f"post_filter.{name}" for name in ("filters", "offsets", "steps", "raw_scales")}
    codec, other = Codec(weights=output), scene(120, 80, 9)
    plain, data = codec.encode(other, 70, filtered=False), codec.encode(other, 70)
    gain = psnr_db(codec.decode_array(data), np.asarray(other)) - psnr_db(codec.decode_array(plain), np.asarray(other))
    assert gain > 0.3 and 0 <= len(data) - len(plain) < 12


def test_what_is_refused(start, pictures, tmp_path):
    output = tmp_path / "learnt.safetensors"
    plain = dataclasses.replace(row("lichen"), config=dataclasses.replace(row("lichen").config, post_filter=None))
    with pytest.raises(BadCheckpoint, match="no filters"):
        learn_filters_of(small_checkpoint(plain, tmp_path), pictures, output, 4, print)
    with pytest.raises(BadData, match="no pictures"):
        learn_filters_of(start, tmp_path, output, 4, print)
    (tmp_path / "photo.png").write_bytes(b"none")
    with pytest.raises(BadData, match="can be read"):
        learn_filters_of(start, tmp_path, output, 4, print)
    assert not output.exists()
    output.write_bytes(b"something")
    with pytest.raises(OutputExists):
        learn_filters_of(start, pictures, output, 4, print)
    assert output.read_bytes() == b"something"
