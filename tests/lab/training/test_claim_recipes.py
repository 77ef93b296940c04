"""recipes/claim: arms that differ by the correlation loss alone; with one seed, the same start, crops and noise."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from lichen.lab.losses.correlation import Correlation
from lichen.lab.models.config import Rates
from lichen.lab.models.transform_configs import RandomAtoms
from lichen.lab.training.data import Crops
from lichen.lab.training.log import StepMetrics
from lichen.lab.training.loop import Trainer
from lichen.lab.training.processes import SingleProcess
from lichen.lab.training.recipe import Bfloat16, Quantiser, Recipe, load_recipe
from tests.small import scene

FOLDER = Path(__file__).parents[3] / "recipes/claim"
ARMS = {path.stem: load_recipe(path) for path in sorted(FOLDER.glob("*.toml"))}
PLAIN = ARMS["plain"]


@pytest.fixture
def crops(tmp_path):
    for seed in range(3):
        scene(150, 140, seed).save(tmp_path / f"{seed}.png")
    return Crops.of_folder(tmp_path)


def trainer_of(recipe: Recipe, crops: Crops, **changes: object) -> Trainer:
    small = {"transform": {**recipe.config["transform"], "latents": 24, "fine": 8, "coarse": 8}}
    recipe = dataclasses.replace(recipe, crop=(64,), batch=2, bfloat16=Bfloat16.OFF, config={**recipe.config, **small})
    return Trainer(dataclasses.replace(recipe, **changes), crops, SingleProcess(torch.device("cpu")))


def test_the_plain_recipe_is_as_the_experiment_asks():
    config = PLAIN.model_config()
    assert PLAIN.model == "lichen-hp" and PLAIN.quantiser is Quantiser.NOISE and PLAIN.correlation is None
    assert config.rates == Rates(0.0018, 0.0018, 1)
    assert config.transform.start_atoms == RandomAtoms()
    assert PLAIN.rate_at(PLAIN.steps) == pytest.approx(0.01 * PLAIN.learning_rate)
    assert PLAIN.steps * PLAIN.batch == 136_000


def test_the_arms_differ_by_their_term_alone():
    assert set(ARMS) == {"plain", "pooled", "per-channel", "placebo", "pooled-weak", "pooled-detached"}
    for recipe in ARMS.values():
        assert dataclasses.replace(recipe, correlation=None) == PLAIN
    terms = {name: recipe.correlation for name, recipe in ARMS.items() if name != "plain"}
    assert all(term.ramp == (0, 0) for term in terms.values())  # constant from step 0, as in the paper
    assert {name: term.map for name, term in terms.items()} == {
        "pooled": Correlation(),
        "pooled-weak": Correlation(),
        "pooled-detached": Correlation(detach=True),
        "per-channel": Correlation(per_channel=True),
        "placebo": Correlation(per_channel=True, across_pictures=True),
    }
    assert terms["pooled-weak"].alpha == pytest.approx(terms["pooled"].alpha / 1000)
    assert terms["pooled-detached"].alpha == terms["pooled"].alpha
    assert terms["placebo"].alpha == terms["per-channel"].alpha


def test_within_a_seed_start_crops_and_noise_are_the_same(crops):
    """The first forward pass is the same in all arms, and what they draw stays so; another seed's is another."""
    first: dict[str, list[float]] = {}
    losses: dict[str, float] = {}
    for name, recipe in [*ARMS.items(), ("other seed", dataclasses.replace(PLAIN, seed=2))]:
        trainer = trainer_of(recipe, crops)
        seen: list[StepMetrics] = []
        start = trainer.digest().tolist()
        trainer.run(2, 1e9, seen.append)
        x, _, noise = trainer._inputs()
        drawn = [float(x.double().sum()), float(noise(torch.zeros(2, 5)).double().sum())]
        first[name] = [*start, seen[0].estimated_bpp, seen[0].psnr_db, seen[0].correlation, *drawn]
        losses[name] = seen[0].loss
    assert all(first[name] == first["plain"] for name in ARMS)
    assert losses.pop("pooled-detached") == losses["pooled"]  # of the same value, with another gradient
    assert len(set(losses.values())) == len(losses)
    assert not set(first["other seed"][1:]) & set(first["plain"][1:])
