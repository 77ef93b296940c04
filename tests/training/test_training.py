"""The trainer: it learns, it can be killed and resumed, and says what is wrong with its input."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from rich.console import Console

from lichen.codec import Codec
from lichen.errors import BadCheckpoint, BadData, TrainingDiverged
from lichen.losses.objective import Terms
from lichen.models import zoo
from lichen.training import loop
from lichen.training.data import Crops
from lichen.training.loop import Figures, Trainer
from lichen.training.recipe import Recipe
from lichen.training.session import train_session
from tests.conftest import scene, small

RECIPE = Recipe(model="lichen", steps=12, crop=(64,), batch=2, learning_rate=1e-3, warmup=2)


@pytest.fixture(autouse=True)
def small_rows(monkeypatch):
    """The trainer on small models: the same loop at a hundredth of the cost."""
    rows = tuple(dataclasses.replace(r, config=small(r.config)) for r in zoo.ZOO)
    monkeypatch.setattr(zoo, "ZOO", rows)


@pytest.fixture
def folder(tmp_path):
    for i in range(3):
        scene(100 + 10 * i, 90, i).save(tmp_path / f"{i}.png")
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    return tmp_path


def losses(trainer: Trainer, until: int) -> list[float]:
    seen: list[float] = []
    trainer.run(until, 1e9, lambda f: seen.append(f.loss))
    return seen


def trainer_on(folder: Path, recipe: Recipe = RECIPE) -> Trainer:
    return Trainer(recipe, Crops.of_folder(folder), torch.device("cpu"))


def test_resumed_training_repeats_the_same_steps(folder, tmp_path):
    whole = losses(trainer_on(folder), 12)
    first = trainer_on(folder)
    begin = losses(first, 5)
    first.save(tmp_path / "run")
    second = trainer_on(folder)
    assert second.resume(tmp_path / "run") and second.step == 5
    assert begin + losses(second, 12) == whole
    assert not trainer_on(folder).resume(tmp_path / "nowhere")


def test_it_learns_a_picture(folder):
    recipe = dataclasses.replace(RECIPE, steps=60, learning_rate=3e-3)
    seen = losses(trainer_on(folder, recipe), 60)
    assert sum(seen[-10:]) < 0.9 * sum(seen[:10])


def test_the_session_writes_weights_that_code(folder, tmp_path, capsys):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('model = "lichen"\nsteps = 3\ncrop = 64\nbatch = 2\n')
    console = Console(width=200)
    train_session(recipe, folder, folder, tmp_path / "run", 10, None, "cpu", console)
    out = capsys.readouterr().out
    assert "3 pictures, 1 unreadable" in out and "valid (files): q15" in out
    codec = Codec(weights=tmp_path / "run/lichen.safetensors")
    assert codec.decode(codec.encode(scene(30, 20))).size == (30, 20)
    assert codec.checkpoint.facts["steps"] == 3
    train_session(recipe, folder, None, tmp_path / "run", 10, 5, "cpu", console)
    assert "resumed at step 3" in capsys.readouterr().out
    assert len((tmp_path / "run/log.csv").read_text().splitlines()) == 1


def test_time_box(folder):
    trainer = trainer_on(folder)
    trainer.run(10**9, 0.02 / 60, lambda f: None)
    assert 1 <= trainer.step < 100


def test_steps_that_are_not_finite_are_skipped_then_stop(folder, monkeypatch):
    monkeypatch.setattr(loop, "BAD_STEPS_MAX", 3)
    trainer = trainer_on(folder)
    before = {k: v.clone() for k, v in trainer.model.state_dict().items()}
    monkeypatch.setattr(trainer, "objective", lambda coded, x, level, step, noise: Terms(
        coded.bits.sum() * torch.nan, torch.zeros(1), torch.ones(1), torch.ones(1)))  # fmt: skip
    seen: list[Figures] = []
    with pytest.raises(TrainingDiverged, match="learning_rate"):
        trainer.run(100, 1, seen.append)
    assert seen[-1].skipped == 3
    assert all(torch.equal(v, before[k]) for k, v in trainer.model.state_dict().items())


def test_crops_are_a_function_of_seed_and_step(folder):
    crops = Crops.of_folder(folder)
    assert crops.unreadable == 1
    a, b = crops.batch(1, 7, 4, 64), crops.batch(1, 7, 4, 64)
    assert torch.equal(a, b) and a.shape == (4, 3, 64, 64) and float(a.max()) <= 1
    assert not torch.equal(a, crops.batch(1, 8, 4, 64))
    assert crops.batch(1, 1, 2, 128).shape == (2, 3, 128, 128)  # larger than the pictures


def test_bad_data_and_runs(folder, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadData, match="no pictures"):
        Crops.of_folder(tmp_path / "empty")
    with pytest.raises(BadData, match="no such folder"):
        Crops.of_folder(tmp_path / "absent")
    trainer_on(folder).save(tmp_path / "run")
    with pytest.raises(BadCheckpoint, match="another --output"):
        trainer_on(folder, dataclasses.replace(RECIPE, model="lichen-hp")).resume(tmp_path / "run")
