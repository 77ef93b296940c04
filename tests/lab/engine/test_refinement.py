"""Refined latents: files of less cost, for every row, in tiles or not, and decoders know nothing of it."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import pytest
import torch

from lichen.codec import Codec
from lichen.errors import UsageError
from lichen.lab.engine import precision, refinement
from lichen.lab.engine.annealing import Annealer
from lichen.lab.prior.entropy_parameters import EntropyParameters
from lichen.lab.prior.estimator import Estimator
from lichen.lab.prior.families import OURS
from lichen.metrics import psnr_db
from lichen.progress import Stage, listening
from lichen.runtime.memory import MemoryEstimate
from tests.small import scene

QUALITY_INDEX = 900
LESS = 0.995  # weights that are trained for longer leave less to find: 0.991 and 0.993 are measured


def cost(codec, picture, data, quality=50):
    """Bits per pixel of a file of this quality + lambda x MSE of what it decodes to."""
    pixels = np.asarray(picture)
    error = np.mean((codec.decode_picture(data).pixels.astype(float) - pixels) ** 2)
    rates = codec.checkpoint.config.rates
    lam = rates.lam(quality / 100 * (rates.count - 1))
    return 8 * len(data) / (pixels.shape[0] * pixels.shape[1]) + lam * error


def test_every_row_finds_latents_that_cost_no_more(codec):
    picture = scene(60, 40)
    engine, pixels = codec.engine, np.asarray(picture)
    quality_index = min(QUALITY_INDEX, (engine.levels - 1) * 512)
    with torch.inference_mode():
        y, _ = engine.latents(pixels, quality_index)
        refined, _ = engine.latents(pixels, quality_index, 2)
    assert refined.shape == y.shape and not refined.is_inference()
    assert not torch.equal(refined, y)
    data = codec.encode(picture, refine_steps=1)
    assert codec.decode(data).size == picture.size


@pytest.mark.parametrize(("quality", "size"), [(50, (128, 64)), (25, (192, 128))])
def test_real_files_cost_less(sample, quality, size):
    """At low rates too, where most latents are zeros: moved as far as the others they find nothing (0.986 is seen)."""
    codec = Codec()
    picture = sample.crop((0, 0, *size))
    plain, refined = codec.encode(picture, quality, effort=0), codec.encode(picture, quality, refine_steps=16)
    assert cost(codec, picture, refined, quality) < LESS * cost(codec, picture, plain, quality)
    assert codec.encode(picture, quality, refine_steps=16) == refined


def test_a_latent_that_hardly_matters_hardly_moves():
    shift = torch.zeros(3)
    descent = refinement._Descent(shift)
    for _ in range(5):
        descent.move(torch.tensor([1.0, -1.0, 0.01]), 0.02)
    assert 0.05 < float(shift[1]) < 0.15 and shift[0] == -shift[1]
    assert 0 < -float(shift[2]) < 0.05 * float(shift[1])


def test_a_codec_built_for_inference_alone_refines(tiny):
    picture = scene(40, 40)
    with torch.inference_mode():
        data = Codec(weights=tiny._extra).encode(picture, refine_steps=1)
    assert data == tiny.encode(picture, refine_steps=1)


def test_a_search_says_how_far_it_is(tiny, monkeypatch):
    heard: list[Stage] = []
    monkeypatch.setattr(MemoryEstimate, "refinement_side", lambda self, stride: 2)
    with listening(heard.append):
        tiny.encode(scene(192, 64), refine_steps=2)
    tiny.encode(scene(64, 64), refine_steps=2)  # nobody listens any more
    assert heard == [Stage("search", done, 4) for done in (1, 2, 3, 4)]


def test_tiles_are_refined_one_by_one(sample, monkeypatch):
    codec = Codec()
    picture = sample.crop((0, 0, 192, 64))
    plain = codec.encode(picture, 50, effort=0)
    monkeypatch.setattr(MemoryEstimate, "refinement_side", lambda self, stride: 2)
    refined = codec.encode(picture, 50, refine_steps=16)
    assert cost(codec, picture, refined) < LESS * cost(codec, picture, plain)


def test_what_got_worse_is_not_kept(tiny, monkeypatch):
    """With steps of a whole picture's range the search loses its way, and the latents stay."""
    monkeypatch.setattr(refinement, "STEP", 1e4)
    picture = scene(70, 90)
    assert tiny.encode(picture, refine_steps=2) == tiny.encode(picture, effort=0)


def test_margins_stay(tiny):
    engine, pixels = tiny.engine, np.asarray(scene(192, 128))
    y, _ = engine.latents(pixels, QUALITY_INDEX)
    x, rate_level = torch.rand(1, 3, *pixels.shape[:2]), torch.tensor([QUALITY_INDEX / 512])
    place = refinement._Place(engine.checkpoint.model, x, y.clone(), rate_level, 0.1, nullcontext)
    moved = place.search((4, 0, 4, 0), 3)
    kept = torch.zeros_like(y, dtype=torch.bool)
    kept[..., :4, :] = kept[..., :4] = True
    assert torch.equal(moved[kept], y[kept])
    assert not torch.equal(moved[~kept], y[~kept])


def test_a_cold_annealer_rounds_to_the_nearest():
    """At a low temperature its bits are an estimator's, and its rounding the nearest wherever that is not close."""
    chance = torch.Generator().manual_seed(3)
    parameters = EntropyParameters(torch.zeros(1, 500, 2), torch.full((1, 500, 2), 1.5), OURS)
    y = 4 * torch.randn(1, 500, 2, generator=chance)
    y = torch.round(y) + 0.3 * (y - torch.round(y))
    annealer, estimator = Annealer(0.004, chance), Estimator(None)
    for coder in (annealer, estimator):
        coder.code(parameters, y)  # stands for the hyper-latents
    soft, hard = annealer.code(parameters, y), estimator.code(parameters, y)
    assert torch.allclose(soft, hard, atol=1e-3)
    assert torch.allclose(annealer.bits[1], estimator.bits[1], rtol=1e-3)


def test_a_warm_annealer_goes_both_ways():
    chance = torch.Generator().manual_seed(3)
    parameters = EntropyParameters(torch.zeros(1, 4000, 1), torch.full((1, 4000, 1), 1.5), OURS)
    annealer = Annealer(0.5, chance)
    y = torch.full((1, 4000, 1), 2.5)
    annealer.code(parameters, y)
    up = (annealer.code(parameters, y) > 2.5).float().mean()
    assert 0.45 < float(up) < 0.55


def test_targets_are_met_by_refined_files(tiny):
    picture = scene(64, 64)
    pixels = np.asarray(picture)
    size = len(tiny.encode(picture, 60))
    assert len(tiny.encode(picture, target_size_bytes=size, refine_steps=1)) <= size
    wanted = psnr_db(tiny.decode_picture(tiny.encode(picture, 40)).pixels, pixels)
    data = tiny.encode(picture, target_psnr_db=wanted, refine_steps=1)
    assert psnr_db(tiny.decode_picture(data).pixels, pixels) >= wanted


@pytest.mark.parametrize("native", [True, False])
def test_only_the_synthesis_of_the_search_runs_in_bfloat16(tiny, monkeypatch, native):
    """And only on a processor that has it: prices are float32, so is what decides whether a search was worth it."""
    monkeypatch.setattr(precision, "native_bfloat16", lambda: native)
    model, seen = type(tiny.checkpoint.model), {}

    def spy(name):
        plain = getattr(model, name)

        def spied(self, *args):
            seen.setdefault(name, set()).add(torch.is_autocast_enabled("cpu"))
            return plain(self, *args)

        monkeypatch.setattr(model, name, spied)

    for name in ("walk", "hyper_analyse", "synthesise"):
        spy(name)
    tiny.encode(scene(64, 64), refine_steps=2)
    assert seen == {"walk": {False}, "hyper_analyse": {False}, "synthesise": {native}}


def test_negative_steps_are_refused(tiny):
    with pytest.raises(UsageError, match="refine"):
        tiny.encode(scene(64, 64), refine_steps=-1)
