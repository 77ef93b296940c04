"""The numbers of the experiment about the correlation loss, of a small model: whole, finite, and adding up."""

from __future__ import annotations

import json
import math
import runpy
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.stats import norm

from lichen.codec import Codec
from lichen.image.picture import Picture
from lichen.lab.evaluation.context_gap import Fit
from lichen.lab.models.zoo import row
from lichen.lab.papers.claim import Question, numbers
from tests.small import scene, small_checkpoint

ROOT = Path(__file__).parents[3]
TABLE = ROOT / "scripts/claim_table.py"
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


def share_and_entropy(sigma: float) -> tuple[float, float]:
    """Of a Gaussian of this deviation, rounded: the squared correlation with what was rounded; bits."""
    symbols = np.arange(-60, 61)
    low, high = (symbols - 0.5) / sigma, (symbols + 0.5) / sigma
    mass = norm.cdf(high) - norm.cdf(low)
    product = (symbols * sigma * (norm.pdf(low) - norm.pdf(high))).sum()
    filled = mass[mass > 0]
    return product**2 / (sigma**2 * (symbols**2 * mass).sum()), -(filled * np.log2(filled)).sum()


def test_the_bound_of_the_page():
    """And that a Gaussian field of small correlations costs sum of rho^2 / (4 ln 2) bits less."""

    def ratio(sigma: float) -> float:
        share, bits = share_and_entropy(sigma)
        return share**2 / bits

    found = minimize_scalar(lambda sigma: -ratio(sigma), bounds=(0.2, 3), method="bounded")
    assert (found.x, -found.fun) == (pytest.approx(0.57, abs=0.005), pytest.approx(0.452, abs=0.0005))
    saved = 8 * (0.0454**2 - 0.0107**2) / (4 * math.log(2))
    assert saved == pytest.approx(0.0056, abs=5e-5) and -found.fun * saved == pytest.approx(0.0025, abs=5e-5)
    assert -found.fun * 8 * 0.27**2 / (4 * math.log(2)) == pytest.approx(0.095, abs=0.001)
    angles = np.linspace(0, 2 * np.pi, 4096, endpoint=False)
    spectrum = 1 + 2 * 0.05 * np.cos(angles)  # two neighbours on a line
    assert -0.5 * np.log2(spectrum).mean() == pytest.approx(2 * 0.05**2 / (4 * math.log(2)), rel=0.02)


def test_the_page_says_what_was_measured():
    page = (ROOT / "docs/evidence.md").read_text()
    kodak = json.loads((ROOT / "results/claim/plain-1-step-8175.json").read_text())["sets"]["kodak"]
    gap, latents, files = kodak["gap"], kodak["latents"], kodak["files"]
    own, scale, every = (100 * gap[name] for name in PRIORS[1:])
    assert f"g = {own:.1f} % with" in page and f"{scale:.1f} % for mean and scale, {every:.1f} %" in page
    assert f"map is {latents['off_centre_normalised']:.3f}" in page
    assert f"bits, is {latents['rate_weighted_rho']:.2f}" in page
    assert f"{files['bpp']:.3f} bpp and {files['psnr_db']:.2f} dB, of which z has {files['bpp_z']:.3f}" in page


def test_the_page_says_which_channels_are_correlated():
    page = (ROOT / "docs/evidence.md").read_text().replace("\n", " ")
    seen = json.loads((ROOT / "results/claim/plain-1-step-8175-inspect.json").read_text())
    (model,) = seen if isinstance(seen, list) else [seen]
    rates = np.array(model["channel_bpp"])
    maps = np.abs(np.array(model["channel_rho_maps"])).reshape(len(rates), 9)
    rho = np.delete(maps, 4, axis=1).mean(axis=1)
    coded, weighed = rates > 1e-3, rates * rho
    three = np.argsort(weighed)[-3:]
    assert f"Of {len(rates)} channels {coded.sum()} cost bits" in page and rates[~coded].sum() < 1e-6
    assert f" of {rho[three].min():.1f} to {rho[three].max():.1f}" in page
    shares = rates[three].sum() / rates.sum(), weighed[three].sum() / weighed.sum()
    assert f"{100 * shares[0]:.0f} % of the bits and {100 * shares[1]:.0f} % of that mean" in page
