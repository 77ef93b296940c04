"""Every row of the zoo trains, with the correlation loss where it has a scale, and codes as before."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from lichen.codec import Codec
from lichen.lab.losses.objective import Decorrelation, StageWeights
from lichen.lab.models import zoo
from lichen.lab.models.checkpoint import save_checkpoint
from lichen.lab.models.prior_configs import FactorizedContext
from lichen.lab.training.data import Crops
from lichen.lab.training.log import StepMetrics
from lichen.lab.training.loop import Trainer
from lichen.lab.training.processes import SingleProcess
from lichen.lab.training.recipe import Quantiser, Recipe
from tests.small import scene, small


@pytest.fixture(autouse=True)
def small_rows(monkeypatch):
    """The same composition at small widths."""
    monkeypatch.setattr(zoo, "ZOO", tuple(dataclasses.replace(r, config=small(r.config)) for r in zoo.ZOO))


@pytest.fixture
def crops(tmp_path):
    scene(140, 130).save(tmp_path / "a.png")
    return Crops.of_folder(tmp_path)


def trainer_of(name: str, crops: Crops, **changes: object) -> Trainer:
    recipe = Recipe(name, 2, crop=(64,), batch=2, warmup=1, learning_rate=1e-3)
    return Trainer(dataclasses.replace(recipe, **changes), crops, SingleProcess(torch.device("cpu")))


@pytest.mark.parametrize("row", zoo.ZOO, ids=lambda row: row.name)
def test_every_row_trains(row, crops):
    factorized = isinstance(row.config.context, FactorizedContext)
    stages = StageWeights(1) if row.name.startswith("global-reference") else None
    term = None if factorized else Decorrelation(1.0)
    trainer = trainer_of(row.name, crops, correlation=term, stages=stages, quantiser=Quantiser.NOISE)
    before = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
    seen: list[StepMetrics] = []
    trainer.run(2, 1e9, seen.append)
    assert [f.skipped for f in seen] == [0, 0] and np.isfinite([f.loss for f in seen]).all()
    assert np.isnan(seen[0].correlation) == factorized
    still = [name for name, p in trainer.model.named_parameters() if torch.equal(p, before[name])]
    assert len(still) < 0.5 * len(before), still  # some start behind a zero


def test_the_correlation_loss_leaves_inference_as_it_is(crops, tmp_path):
    """From the same weights the same file: the loss adds no parameter and no step to the model."""
    files = []
    for i, term in enumerate((None, Decorrelation(1.0))):
        trainer = trainer_of("minnen-hp", crops, correlation=term)
        path = tmp_path / f"{i}.safetensors"
        save_checkpoint(path, "minnen-hp", trainer.config, trainer.model.state_dict(), {})
        files.append(Codec(weights=path).encode(scene(100, 80)))
    assert files[0] == files[1]
