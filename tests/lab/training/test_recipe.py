"""Recipes: read by type, refused with the line and the nearest valid key; schedules by hand; all of recipes/."""

from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path

import pytest

from lichen.errors import BadRecipe, UnknownWeights, UsageError
from lichen.lab.losses.correlation import LatentSource, Mask, Reduction
from lichen.lab.models.config import Distortion, MsSsimRates, OneMsSsimRate, OneRate, Rates
from lichen.lab.models.transform_configs import ChengTransform
from lichen.lab.models.zoo import row
from lichen.lab.training.recipe import Halving, Quantiser, Recipe, load_recipe
from lichen.lab.training.schema import line_of, plain

RECIPES = sorted((Path(__file__).parents[3] / "recipes").rglob("*.toml"))
HEAD = 'model = "lichen"\nsteps = 3\n'


def load(folder: Path, text: str) -> Recipe:
    path = folder / "r.toml"
    path.write_text(text)
    return load_recipe(path)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ('model = "lichen"', "r.toml: 'steps' is missing"),
        (HEAD + "\n# slowly\nlearning_rat = 1", "line 5: unknown key 'learning_rat'; did you mean 'learning_rate'"),
        (HEAD + "zzz = 1", "line 3: unknown key 'zzz'; there are: balance, batch,"),
        ('model = "lichen"\nsteps = "many"', "line 2: steps must be of type int"),
        (HEAD + "seed = true", "line 3: seed must be of type int"),
        (HEAD + "crop = 100", "line 3: crop must be a multiple of 64"),
        (HEAD + "crop = [\n  128,\n  1.5,\n]\nbatch = 3", "line 3: crop must be of type int, not 1.5"),
        ('steps = 3\n\nmodel = "moss"', "line 3: no model 'moss'; there are: lichen"),
        ('model = "lichen"\nsteps = 0', "line 2: steps must be at least 1"),
        (HEAD + "ema = 1", "line 3: ema must"),
        (HEAD + "seed = -1", "line 3: seed must"),
        (HEAD + "block_rate = nan", "line 3: block_rate must"),
        (HEAD + "balance = -1", "line 3: balance must"),
        (HEAD + "[config.rates]\ncount = 0", r"line 4: count must lie in 1 \.\.\. 128"),
        (HEAD + "[config.rates]\ncount = 129", "line 4: count must"),
        (HEAD + "[config]\n[config.transform]\ncoarse = 0", "line 3: no model can be built"),
        (HEAD + "[config.transform]\nlatents = -3", "no model can be built"),
        (HEAD + "[config.rates]\nlow = nan", "line 4: low must"),
        (HEAD + "[config.rates]\nhigh = 1e-9", "line 4: high must not be below low"),
        (HEAD + "cooldown = 2", "line 3: cooldown must"),
        (HEAD + "clip = nan", "line 3: clip must"),
        (HEAD + "lambdas = [0.1, -1]", "line 3: lambdas must"),
        (HEAD + 'distortion = "psnr"', "line 3: distortion cannot be 'psnr'; there are: ms-ssim, mse"),
        (HEAD + 'crop = 128\ndistortion = "ms-ssim"', "line 3: crop must be at least 192"),
        (HEAD + "correlation = 3", r"line 3: correlation is a table: write \[correlation\]"),
        (HEAD + "[correlation]\nramp = [0, 1]", r"line 3: 'alpha' is missing in \[correlation\]"),
        (HEAD + "[correlation]\nalpha = 1\nramp = [0]", "line 5: ramp must be a list of 2"),
        (HEAD + "[correlation]\nalpha = 1\nramp = [5, 1]", "line 5: ramp must be two steps"),
        (HEAD + "[correlation]\nalpha = 1\nmap.window = 4", "line 5: window must be 3, 5 or 7"),
        (HEAD + '[correlation]\nalpha = 1\nmap.mask = "cross"', "line 5: mask cannot be 'cross'; did you mean"),
        (HEAD + "[halving]\nstart = 3\nevery = 0\nend = 4", "line 5: every must be at least 1"),
        (HEAD + "cooldown = 0.1\n[halving]\nstart = 3\nevery = 1\nend = 4", "line 3: cooldown and .halving. exclude"),
        (HEAD + "lambdas = [0.1]\nbalance = 0", "line 4: balance is for many rates"),
        (HEAD + "[stages]\nchange = 3\nlate = [1, 1, 1]", "line 5: late must be a weight for each stage"),
        (HEAD + "[config]\ntransform.latens = 3", "line 4: unknown key 'latens'; did you mean 'latents'"),
        (HEAD + "[config]\n\ntransform.latents = 3.5", "line 5: latents must be of type int"),
        (HEAD + "[config.transform]\nencoder_depth = [1]", "line 4: encoder_depth must be a list of 2"),
        (HEAD + '[config]\nrates.kind = "Rate"', "line 4: unknown kind 'Rate'; did you mean 'Rates'"),
        ('model = "factorized"\nsteps = 3\n[correlation]\nalpha = 0.1', "line 4: alpha needs a model with a scale"),
        ("steps = 3\nmodel = moss", "not valid TOML .*line 2"),
    ],
)
def test_bad_recipes(tmp_path, text, hint):
    with pytest.raises(BadRecipe, match=hint):
        load(tmp_path, text)


def test_lines_of_keys():
    text = "a = 1\n\n# no\nb = [\n  1,\n]\n[c.d]\ne.f = 2\ng = 3\n"
    assert [line_of(text, place) for place in (("a",), ("b",), ("c",), ("c", "d", "e", "f"), ("c", "d", "g"))] == [
        1, 4, 7, 8, 9]  # fmt: skip
    assert line_of(text, ("h",)) is None


def test_everything_can_be_said(tmp_path):
    recipe = load(
        tmp_path,
        HEAD
        + """
crop = [192, 256]
lambdas = [0.0009, 12]
distortion = "ms-ssim"
quantiser = "noise"
start = "other/a.safetensors"
[correlation]
alpha = 1e-13
ramp = [10, 20]
map.window = 5
map.mask = "long-cross"
map.source = "ste"
map.per_channel = true
map.reduction = "sum"
map.detach = true
[stages]
change = 1000
[halving]
start = 1_000_000
every = 50_000
end = 1_250_000
[config]
transform.kind = "ChengTransform"
transform.latents = 32
hyper.hyper_latents = 8
""",
    )
    assert (recipe.crop, recipe.distortion, recipe.quantiser) == ((192, 256), Distortion.MS_SSIM, Quantiser.NOISE)
    term = recipe.correlation
    assert term is not None and (term.alpha, term.ramp) == (1e-13, (10, 20))
    assert (term.map.window, term.map.mask, term.map.source) == (5, Mask.LONG_CROSS, LatentSource.STE)
    assert term.map.per_channel and term.map.detach and term.map.reduction is Reduction.SUM
    assert recipe.start == tmp_path / "other/a.safetensors"
    assert recipe.stages is not None and recipe.stages.at(0) == (0.3, 0.3, 0.4)
    config = recipe.model_config()
    assert config.transform == ChengTransform(latents=32)
    assert config.hyper == dataclasses.replace(row("lichen").config.hyper, hyper_latents=8)
    assert plain(recipe)["correlation"]["map"]["mask"] == "long-cross"


def test_one_of_several_lambdas(tmp_path):
    recipe = load(tmp_path, HEAD + "lambdas = [0.0018, 0.013]")
    one = recipe.with_lambda(0.013)
    assert one.model_config().rates == one.objective().rates == OneRate(0.013)
    for wrong in (None, 0.5):
        with pytest.raises(UsageError, match=r"0\.0018, 0\.013"):
            recipe.with_lambda(wrong)
    many = load(tmp_path, HEAD + "[config]\nrates.count = 4")
    assert many.with_lambda(None).model_config().rates == Rates(count=4)
    with pytest.raises(UsageError, match="many at once"):
        many.with_lambda(0.1)
    single = load(tmp_path, HEAD + "lambdas = 0.01")
    assert single.with_lambda(None).model_config().rates == OneRate(0.01)


def test_learning_rate_by_hand():
    """As the paper trains: 1e-4, halved every 50 k steps from 1 M to 1.25 M, of 1.5 M."""
    recipe = Recipe("lichen", 1_500_000, learning_rate=1e-4, warmup=1, halving=Halving(1_000_000, 50_000, 1_250_000))
    steps = (0, 999_999, 1_000_000, 1_049_999, 1_050_000, 1_249_999, 1_499_999)
    assert [round(recipe.rate_at(step) / 1e-4, 6) for step in steps] == [1, 1, 0.5, 0.5, 0.25, 2**-5, 2**-5]
    cosine = Recipe("lichen", 1000, learning_rate=1e-3, warmup=100, cooldown=0.5)
    assert [cosine.rate_at(step) for step in (0, 99, 499)] == pytest.approx([1e-5, 1e-3, 1e-3])
    assert cosine.rate_at(750) == pytest.approx(1e-3 * (0.01 + 0.99 / 2))
    assert cosine.rate_at(1000) == pytest.approx(1e-5)


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_all_recipes_load_and_build(path):
    recipe = load_recipe(path)
    chosen = recipe.with_lambda(recipe.lambdas[0] if recipe.lambdas else None)
    assert chosen.objective().rates == chosen.model_config().rates
    assert chosen.rate_at(chosen.steps - 1) < 0.05 * chosen.learning_rate


def test_pairs_differ_in_the_correlation_loss_only():
    pairs = [(p.with_name(p.name.replace("-corr", "")), p) for p in RECIPES if p.stem.endswith("-corr")]
    pairs += [(p.with_name("plain.toml"), p) for p in RECIPES if p.stem.startswith("alpha-")]
    assert len(pairs) == 17
    for plain_path, path in pairs:
        without, with_loss = (tomllib.loads(p.read_text()) for p in (plain_path, path))
        assert with_loss.pop("correlation")["alpha"] > 0 and with_loss == without


def test_unknown_rows_are_refused():
    with pytest.raises(UnknownWeights):
        Recipe("moss", 3).model_config()


def test_rates_are_those_of_the_distortion(tmp_path):
    head = HEAD + 'crop = 192\ndistortion = "ms-ssim"\n'
    similar = load(tmp_path, head + "[config.rates]\nlow = 2\nhigh = 50")
    assert similar.model_config().rates == similar.objective().rates == MsSsimRates(2, 50)
    assert load(tmp_path, head + "lambdas = 8").model_config().rates == OneMsSsimRate(8)
    for wrong in (head + '[config]\nrates.kind = "Rates"', HEAD + '[config]\nrates.kind = "MsSsimRates"'):
        with pytest.raises(BadRecipe, match=r"these rates are for .*mend distortion"):
            load(tmp_path, wrong)
