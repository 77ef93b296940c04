"""The thumbnail synthesiser: a part that is trained on top of a frozen model, saved with it, and decodes small."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from lichen.codec import Codec
from lichen.errors import UsageError
from lichen.lab.losses.distortion import mse, shrunk
from lichen.lab.models import zoo
from lichen.lab.models.checkpoint import load_checkpoint
from lichen.lab.models.transform_configs import Thumbnail
from lichen.lab.tensors import to_float
from lichen.lab.training.data import Crops
from lichen.lab.training.log import Log, NullSink
from lichen.lab.training.loop import Trainer
from lichen.lab.training.processes import SingleProcess
from lichen.lab.training.recipe import load_recipe
from lichen.lab.training.state import save_run, start_from
from lichen.options import FirstGroups
from tests.command import run
from tests.helpers import size_of
from tests.small import scene, small, small_checkpoint

RECIPE = Path(__file__).parents[1] / "recipes/elic-2022/thumbnail.toml"
SMOKE = {"steps": 30, "crop": (64,), "batch": 1, "warmup": 1, "learning_rate": 5e-3}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A frozen model's weights, and those with a thumbnail synthesiser trained on top."""
    folder = tmp_path_factory.mktemp("thumbnail")
    recipe = load_recipe(RECIPE).with_lambda(0.013)  # before the rows are made small: its channels are of the full one
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(zoo, "ZOO", tuple(dataclasses.replace(r, config=small(r.config)) for r in zoo.ZOO))
        frozen = small_checkpoint(zoo.row("elic"), folder)
        scene(140, 130).save(folder / "a.png")
        recipe = dataclasses.replace(recipe, **SMOKE, config={"thumbnail": {"channels": 14, "width": 12}})
        trainer = Trainer(recipe, Crops.of_folder(folder), SingleProcess(torch.device("cpu")))
        fresh = start_from(trainer, frozen)
        assert fresh and all(name.startswith("thumbnail.") for name in fresh)
        trainer.run(trainer.recipe.steps, 1e9, lambda figures: None)
        save_run(trainer, Log(folder / "run", 100, NullSink()), folder / "run")
    return frozen, folder / "run/elic.safetensors"


def test_the_rest_of_the_model_stays_as_it_is(trained):
    before, after = (load_checkpoint(path).model.state_dict() for path in trained)
    assert {name for name in after if name not in before} == {k for k in after if k.startswith("thumbnail.")}
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_thumbnails_of_files(trained, tmp_path):
    codec, image = Codec(weights=trained[1]), scene(140, 130)
    data = codec.encode(image)
    small = codec.decode_thumbnail(data)
    assert small.size == (35, 33) and small.mode == "RGB"
    assert codec.decode_thumbnail(codec.encode(image.convert("L"))).mode == "L"
    target = shrunk(to_float(np.asarray(image)), torch.empty(1, 3, 33, 35))
    grey = torch.full_like(target, 0.5)  # what it starts with
    assert float(mse(to_float(np.asarray(small)), target)) < 0.9 * float(mse(grey, target))
    assert codec.decode_thumbnail(data, FirstGroups(4)).tobytes() == small.tobytes()  # all that it looks at
    assert codec.decode_thumbnail(data, FirstGroups(2)).tobytes() != small.tobytes()
    assert codec.decode(data).tobytes() == codec.decode(data, first=FirstGroups(5)).tobytes()


def test_the_command(trained, tmp_path):
    (tmp_path / "a.lic").write_bytes(Codec(weights=trained[1]).encode(scene(50, 70)))
    command = ["decode", str(tmp_path / "a.lic"), "--weights", str(trained[1]), "--thumbnail"]
    assert run(*command, "--groups", "4", "-o", str(tmp_path / "small.png")) == 0
    assert size_of(tmp_path / "small.png") == (13, 18)
    assert run(*command, "--crop", "0,0,5,5") == 2


def test_weights_without_the_part(trained):
    codec = Codec(weights=trained[0])
    with pytest.raises(UsageError, match="no thumbnails"):
        codec.decode_thumbnail(codec.encode(scene(40, 30)))


@pytest.mark.parametrize("wrong", [Thumbnail(shrink=3), Thumbnail(shrink=16), Thumbnail(channels=25), Thumbnail(0)])
def test_impossible_thumbnails(wrong):
    config = dataclasses.replace(small(zoo.row("lichen").config), thumbnail=wrong)
    with pytest.raises(UsageError):
        config.build()


def test_shrinking_is_the_mean_of_pixels():
    x = torch.arange(3 * 5 * 6.0).view(1, 3, 5, 6)
    small = shrunk(x, torch.empty(1, 3, 3, 3))
    assert float(small[0, 0, 0, 0]) == (0 + 1 + 6 + 7) / 4 and float(small[0, 0, 2, 2]) == (28 + 29) / 2
