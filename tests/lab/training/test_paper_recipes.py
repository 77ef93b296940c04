"""Recipes at the papers' scale against the papers' texts, field by field."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from lichen.lab.losses.correlation import PAPER_TERMS, Correlation, Reduction
from lichen.lab.losses.objective import Decorrelation, StageWeights
from lichen.lab.models.config import Distortion
from lichen.lab.training.recipe import Halving, Quantiser, Recipe, load_recipe

ROOT = Path(__file__).parents[3] / "recipes"

# What the papers leave open, or do not have: our choices, the same in all of these recipes. `clip` bounds gradients;
# block_rate and balance have no effect on these models; cooldown has none beside a halving.
OURS = {"block_rate": 0.1, "cooldown": 0.3, "clip": 1.0, "balance": 0.5, "seed": 1, "bfloat16": Recipe("", 1).bfloat16}
NOTHING: dict[str, Any] = {"start": None, "start_with": (), "only": (), "stages": None, "config": {}}

# Ali 2023, section 4.1: "images cropped to the resolution of 256x256"; "Adam optimizer [...] with a batch size of
# 16 and trained for 1.5 million iterations with a learning rate of 1x10^-4 for the first million iterations and
# then halved every 50,000 iterations till 1.25 million iterations"; lambda "contained in the set [0.0009, 0.0018,
# 0.0035, 0.0067, 0.0130, 0.0250]". Section 3.1: "During training, the quantization is approximated using uniform
# noise", and D "usually" is the MSE.
ALI = {
    "crop": (256,),
    "batch": 16,
    "steps": 1_500_000,
    "learning_rate": 1e-4,
    "warmup": 1,
    "ema": 0.0,
    "halving": Halving(1_000_000, 50_000, 1_250_000),
    "lambdas": (0.0009, 0.0018, 0.0035, 0.0067, 0.0130, 0.0250),
    "quantiser": Quantiser.NOISE,
    "distortion": Distortion.MSE,
}
# Supplement, section A: alpha 1e-13 does best; figure 6 of the paper: the point mask "as a standard for all our
# experiments"; a window of 3x3 "is preferred". Eq. 10 correlates y, and has one map.
LOSS = Decorrelation(1e-13, (0, 0), Correlation(window=3, reduction=Reduction.SUM))

# Qian 2021, section 4: CLIC, "Adam [...] with a batch size of 8 and a patch size of 512x512"; stages with "weight
# of 0.3 : 0.3 : 0.4 as a warm-up with 1000 epochs", then "0.1 : 0.1 : 0.8"; "a mixed approach [...] Minnen & Singh
# (2020)". 1633 pictures.
QIAN = {
    "crop": (512,),
    "batch": 8,
    "steps": 2 * (1633 // 8) * 1000,
    "stages": StageWeights((1633 // 8) * 1000, (0.3, 0.3, 0.4), (0.1, 0.1, 0.8)),
    "quantiser": Quantiser.MIXED,
    "correlation": None,
    "learning_rate": 1e-4,
    "warmup": 1,
    "ema": 0.0,
    "cooldown": 0.2,
    "halving": None,
}


def compare(recipe: Recipe, wanted: dict[str, Any]) -> None:
    """Every field of a recipe is one that is expected."""
    expected = {**NOTHING, **OURS, **wanted}
    assert set(expected) == {field.name for field in dataclasses.fields(Recipe)}
    for name, value in expected.items():
        assert getattr(recipe, name) == value, name


@pytest.mark.parametrize("path", sorted((ROOT / "correlation-2023").glob("*.toml")), ids=lambda p: p.stem)
def test_the_correlation_paper(path):
    with_loss = path.stem.endswith("-corr")
    model = path.stem.removesuffix("-corr")
    compare(load_recipe(path), {**ALI, "model": model, "correlation": LOSS if with_loss else None})


@pytest.mark.parametrize(("stem", "alpha"), [("cheng-hp", 0.036), ("swint-hp", 0.10), ("elic", 0.10)])
def test_its_alpha_is_that_of_a_sum(stem, alpha):
    """On a mean it is alpha n^2, for n pictures x channels x centres of 3 x 3 in 16 x 16 latents."""
    recipe = load_recipe(ROOT / f"correlation-2023/{stem}-corr.toml")
    config, side = recipe.with_lambda(0.013).model_config(), recipe.crop[0] // 16 - 2
    terms = recipe.batch * config.transform.latents * side**2
    assert recipe.correlation is not None
    assert recipe.correlation.alpha * terms**2 == pytest.approx(alpha, rel=0.02)
    assert terms == PAPER_TERMS * config.transform.latents / 192


@pytest.mark.parametrize("model", ["elic", "elic-sm"])
def test_elic(model):
    """Its supplement: "lambda = {0.08, 0.16}" at high rates, "lambda = {3, 12, 40, 120}" for MS-SSIM; the schedule and
    the other lambdas are those of the correlation paper. Its quantiser is mixed (Minnen & Singh 2020)."""
    same = {**ALI, "model": model, "quantiser": Quantiser.MIXED, "correlation": None}
    compare(load_recipe(ROOT / f"elic-2022/{model}.toml"), {**same, "lambdas": (*ALI["lambdas"], 0.08, 0.16)})
    similar = {**same, "lambdas": (3.0, 12.0, 40.0, 120.0), "distortion": Distortion.MS_SSIM}
    compare(load_recipe(ROOT / f"elic-2022/{model}-ms-ssim.toml"), similar)


@pytest.mark.parametrize(
    ("stem", "changes"),
    [
        ("mse", {"lambdas": ALI["lambdas"], "distortion": Distortion.MSE}),
        ("ms-ssim", {"lambdas": (3.0, 12.0, 40.0, 120.0), "distortion": Distortion.MS_SSIM}),
        ("gdn", {"lambdas": (0.0130,), "distortion": Distortion.MSE, "config": {"transform": {"subtractive": False}}}),
        (
            "gsdn",
            {
                "lambdas": (0.0130,),
                "distortion": Distortion.MSE,
                "steps": QIAN["steps"] // 2,
                "stages": StageWeights(0),
            },
        ),
    ],
)
def test_global_reference(stem, changes):
    """The paper does not say its lambdas, its learning rate, nor how long it trains after the change of weights."""
    compare(load_recipe(ROOT / f"global-reference-2021/{stem}.toml"), {**QIAN, "model": "global-reference", **changes})
