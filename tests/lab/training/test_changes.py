"""Recipes changed on the command line, and what explains their keys."""

from __future__ import annotations

import dataclasses
import math
import time
from pathlib import Path

import pytest
import torch

from lichen.errors import BadRecipe, UsageError
from lichen.lab.losses.correlation import Correlation, Mask
from lichen.lab.losses.objective import Decorrelation, StageWeights
from lichen.lab.training import session
from lichen.lab.training.explain import config_keys, recipe_keys
from lichen.lab.training.recipe import Bfloat16, Halving, Quantiser, Recipe, load_recipe
from lichen.lab.training.schema import Change, override
from lichen.lab.training.session import Run, duration
from tests.command import run

TEXT = 'model = "lichen-hp"\nsteps = 30\n\n[correlation]\nalpha = 1\n'


def chosen(folder: Path, *changes: str, text: str = TEXT, **options: object) -> Recipe:
    (folder / "r.toml").write_text(text)
    return Run(folder / "r.toml", folder, folder, changes=changes, **options).chosen()


def test_values_take_the_place_of_the_recipe_s(tmp_path):
    recipe = chosen(
        tmp_path,
        "learning_rate=2e-4",
        "quantiser=noise",
        'bfloat16 = "auto"',
        "correlation.map.mask=long-cross",
        "correlation.ramp = [1, 2]",
        "config.transform.latents=64",
        "seed=3",
        steps=7,
        batch=4,
        crop=(64, 128),
    )
    assert (recipe.steps, recipe.batch, recipe.crop, recipe.seed) == (7, 4, (64, 128), 3)
    assert (recipe.learning_rate, recipe.quantiser, recipe.bfloat16) == (2e-4, Quantiser.NOISE, Bfloat16.AUTO)
    term = recipe.correlation
    assert term is not None and (term.alpha, term.ramp, term.map) == (1, (1, 2), Correlation(mask=Mask.LONG_CROSS))
    assert recipe.model_config().transform.latents == 64
    assert chosen(tmp_path) == load_recipe(tmp_path / "r.toml")


@pytest.mark.parametrize(
    ("change", "hint"),
    [
        ("learning_rat=1", "--set learning_rat=1: unknown key 'learning_rat'; did you mean 'learning_rate'"),
        ("steps=0", "--set steps=0: steps must be at least 1"),
        ("quantiser=nois", "--set quantiser=nois: quantiser cannot be 'nois'; did you mean 'noise'"),
        ("bfloat16=1", "bfloat16 cannot be 1; there are: auto, false, true"),
        ("correlation.map.window=4", "--set correlation.map.window=4: window must be 3, 5 or 7"),
        ("correlation.alfa=1", "unknown key 'alfa'"),
        ("model.name=lichen", "--set model.name=lichen: model is not a table"),
        ("model=moss", "--set model=moss: no model 'moss'"),
        ("config.transform.latents=-1", "--set config.transform.latents=-1: no model can be built"),
        ("halving.start=1", "--set halving.start=1: 'every' is missing"),
    ],
)
def test_wrong_values_are_said_with_the_option(tmp_path, change, hint):
    with pytest.raises(BadRecipe, match=f"^{hint}" if hint.startswith("--") else hint):
        chosen(tmp_path, change)


def test_errors_of_the_file_still_have_its_line(tmp_path):
    with pytest.raises(BadRecipe, match=r"r\.toml, line 2: steps must be at least 1"):
        chosen(tmp_path, "seed=4", text=TEXT.replace("30", "0"))
    with pytest.raises(BadRecipe, match=r"^--crop: crop must be a multiple of 64"):
        chosen(tmp_path, crop=(100,))
    for wrong in ("seed", "=3", "a..b=3"):
        with pytest.raises(UsageError, match="--set takes key=value"):
            Change.of(wrong)


def test_every_key_is_explained():
    """Every field of every table that a recipe has, with a default as a recipe would state it."""
    keys = {key.name: key for key in recipe_keys()}
    tables = {"": Recipe, "halving.": Halving, "stages.": StageWeights, "correlation.": Decorrelation}
    tables["correlation.map."] = Correlation
    assert set(keys) == {prefix + field.name for prefix, kind in tables.items() for field in dataclasses.fields(kind)}
    assert all(len(key.meaning) > 10 and key.meaning.endswith(".") for key in keys.values())
    assert (keys["crop"].default, keys["bfloat16"].default) == ("[128]", "false")
    assert (keys["quantiser"].default, keys["correlation.ramp"].default) == ('"mixed"', "[0, 0]")
    assert "border" in keys["correlation.map.mask"].meaning and keys["model"].default == ""


@pytest.mark.parametrize("key", [key for key in recipe_keys() if key.default], ids=lambda key: key.name)
def test_defaults_are_said_as_a_recipe_takes_them(tmp_path, key):
    text = TEXT + "[halving]\nstart = 3\nevery = 1\nend = 4\n[stages]\nchange = 3\n" if "." in key.name else TEXT
    assert chosen(tmp_path, f"{key.name}={key.default}", text=text) == chosen(tmp_path, text=text)


def test_config_keys_are_those_of_the_default_model():
    config = Recipe("lichen", 1).model_config()
    for key in config_keys():
        place = Change.of(f"{key.name}={key.default}")
        data: dict = {}
        place.apply(data)
        assert override(config, data["config"]) == config


def test_the_command_explains_without_a_recipe(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert run("train", "--explain") == 0
    out = capsys.readouterr().out
    assert all(key.name in out for key in (*recipe_keys(), *config_keys()))
    assert "the number of" not in out and "what stands in for rounding" in out


def test_the_command_passes_its_options_on(tmp_path, monkeypatch):
    seen: list[Run] = []
    monkeypatch.setattr(session, "train_session", lambda run, console: seen.append(run))
    options = ["--batch", "3", "--crop", "64", "--crop", "128", "--set", "seed=4", "--set", "ema=0", "--steps", "9"]
    assert run("train", "r.toml", "--data", str(tmp_path), *options) == 0
    assert run("train", "r.toml", "--data", str(tmp_path), "--max-minutes", "5", "--lambda", "0.1") == 0
    first, second = seen
    assert (first.batch, first.crop, first.changes, first.steps) == (3, (64, 128), ("seed=4", "ema=0"), 9)
    assert first.max_minutes is None and (second.max_minutes, second.lam, second.crop) == (5, 0.1, ())
    assert run("train", "r.toml", "--data", str(tmp_path), "--cache", "disk") == 2


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (98, "98 s"), (100, "2 min"), (98.4 * 60, "98 min"), (3 * 3600 + 600, "3 h 10 min"),
     (47.4 * 3600, "47 h 24 min"), (52 * 3600, "2 d 4 h")],
)  # fmt: skip
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_the_estimate_of_the_end(monkeypatch):
    """By the pace since the first step, which takes longer; or by the minutes that are left, if they are fewer."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    clock, short = session._Clock(10, 110, math.inf), session._Clock(10, 110, 1)
    now[0] += 20
    assert clock.left(11) == "about 33 min to go"  # 99 steps of 20 s
    assert short.left(11) == "about 40 s to go"
    for one in (clock, short):
        one.warm(11)
    now[0] += 18
    assert clock.left(20) == "about 3 min to go"  # 90 steps of 2 s
    assert short.left(20) == "about 22 s to go"
    now[0] += 100
    assert short.left(30) == "about 0 s to go"


def test_bfloat16_on_a_gpu_is_asked_of_the_gpu(monkeypatch):
    for has in (True, False):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation, has=has: has)
        assert Bfloat16.AUTO.used_on(torch.device("cuda")) == has
    assert Bfloat16.ON.used_on(torch.device("cuda")) and not Bfloat16.OFF.used_on(torch.device("cuda"))
