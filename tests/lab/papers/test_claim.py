"""The numbers of the experiment about the correlation loss, of a small model: whole, finite, and adding up."""

from __future__ import annotations

import json
import math
import runpy
from pathlib import Path

import numpy as np
import pytest

from lichen.codec import Codec
from lichen.image.picture import Picture
from lichen.lab.evaluation.context_gap import Fit
from lichen.lab.models.zoo import row
from lichen.lab.papers.claim import Question, numbers
from tests.small import scene, small_checkpoint

TABLE = Path(__file__).parents[3] / "scripts/claim_table.py"
PRIORS = ["hyperprior", "own-channel-means", "own-channel", "all-channels"]


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    folder = tmp_path_factory.mktemp("claim")
    weights = small_checkpoint(row("lichen-hp"), folder)
    pictures = [Picture(np.asarray(scene(192, 128, seed))) for seed in (1, 2)]
    question = Question(weights, {"a": pictures, "b": pictures[:1]}, pictures, Fit(steps=4, batch=2, side=8))
    said: list[str] = []
    return weights, pictures, numbers(question, said.append), said


def test_files_are_those_of_the_codec(measured):
    weights, pictures, found, _ = measured
    codec, files = Codec(weights=weights), found["sets"]["a"]["files"]
    sizes = [8 * len(codec.encode(picture, 0)) / picture.pixels[..., 0].size for picture in pictures]
    assert files["bpp"] == pytest.approx(np.mean(sizes)) and [e["bpp"] for e in files["each"]] == pytest.approx(sizes)
    decoded = codec.decode_picture(codec.encode(pictures[0], 0)).pixels
    squares = np.square(decoded.astype(float) - pictures[0].pixels).mean()
    assert found["sets"]["b"]["files"]["mse"] == pytest.approx(squares)
    assert files["j"] == pytest.approx(files["bpp"] + found["lambda"] * files["mse"])
    header = files["bpp"] - files["bpp_y"] - files["bpp_z"]
    assert 0 < header * pictures[0].pixels[..., 0].size / 8 < 40  # bytes
    assert files["bpp_y"] > files["bpp_z"] > 0


def test_refitted_priors_share_one_distortion_and_give_the_gaps(measured):
    found = measured[2]["sets"]["a"]
    refitted = found["refitted"]
    assert list(refitted) == PRIORS
    assert len({rates["mse"] for rates in refitted.values()}) == 1
    for name in PRIORS[1:]:
        assert found["gap"][name] == pytest.approx(1 - refitted[name]["bpp"] / refitted["hyperprior"]["bpp"])
    own = 1 - refitted["own-channel"]["bpp_y"] / refitted["hyperprior"]["bpp_y"]
    assert found["gap"]["own-channel, y"] == pytest.approx(own)
    assert refitted["hyperprior"]["bpp"] == pytest.approx(
        found["files"]["bpp"], rel=0.2
    )  # other rounding, same weights


def test_latents_are_described(measured):
    latents = measured[2]["sets"]["a"]["latents"]
    assert all(math.isfinite(value) for value in latents.values())
    assert latents["off_centre_normalised"] == pytest.approx(latents["off_centre"] / latents["centre"])
    assert 0 < latents["rate_weighted_rho"] < 1


def test_it_is_json_and_says_what_it_does(measured):
    assert json.loads(json.dumps(measured[2]))["fit"]["steps"] == 4
    assert "fitting own-channel" in measured[3] and measured[3][0] == "a: files"


def test_the_table_takes_the_means_of_pairs_and_their_intervals(measured, tmp_path):
    """Three seeds whose rates differ by 1, 2 and 3 % of the plain one's; a fourth has no plain run and is left out."""
    numbers_of = measured[2]
    for seed in (1, 2, 3, 4):
        for arm, dearer in (("plain", 0), ("pooled", seed)):
            changed = json.loads(json.dumps(numbers_of))
            files = changed["sets"]["a"]["files"]
            files["j"] += dearer / 100 * files["bpp"]
            files["bpp"] *= 1 + dearer / 100
            if (arm, seed) != ("plain", 4):
                (tmp_path / f"{arm}-{seed}.json").write_text(json.dumps(changed))
    found = runpy.run_path(str(TABLE))["table"](tmp_path, "a", "plain")
    assert set(found) == {"pooled"} and found["pooled"]["seeds"] == ["1", "2", "3"]
    for name in ("J, files", "R"):
        assert found["pooled"][name] == pytest.approx((2.0, 4.3027 / math.sqrt(3)), rel=1e-4)
    assert found["pooled"]["PSNR, dB"] == pytest.approx((0, 0), abs=1e-9)
