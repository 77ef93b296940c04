"""The learned density: likelihoods of the reference library, medians by construction, frozen integers."""

from __future__ import annotations

import copy

import pytest
import torch
from safetensors.torch import load_file

from lichen.lab.prior.factorized import TOTAL, LearnedDensity, imported_density
from tests.helpers import OTHERS


@pytest.fixture
def density() -> LearnedDensity:
    """One with random parameters."""
    torch.manual_seed(0)
    density = LearnedDensity(3, 40, 2.0**-24)
    with torch.no_grad():
        for parameter in density.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.5)
    return density


@pytest.mark.parametrize("name", ["bmshj2018-factorized", "mbt2018-mean"])
def test_likelihoods_of_the_reference_library(name):
    path = OTHERS / "vectors" / f"{name}.safetensors"
    if not path.exists():
        pytest.skip("CompressAI's vectors are absent")
    stored = {key: value.float() for key, value in load_file(path).items()}
    weights = "weights.entropy_bottleneck."
    parts = [[stored[f"{weights}{part}.{i}"] for i in range(n)] for part, n in (("matrices", 5), ("biases", 5))]
    factors = [stored[f"{weights}factors.{i}"] for i in range(4)]
    state = imported_density(*parts, factors, stored[f"{weights}quantiles"][:, 0, 1])
    density = LearnedDensity(len(state["medians"]), 31, 1e-9)
    density.load_state_dict(state | {"frequencies": density.frequencies})
    residual = torch.arange(-300, 301.0)[None, :, None].expand(1, -1, len(state["medians"]))
    mass = torch.exp2(-density.bits(residual)).sum(dim=1)
    assert torch.allclose(mass, torch.ones_like(mass), atol=1e-3)
    if name == "bmshj2018-factorized":
        y = stored["out.y"].permute(0, 2, 3, 1).flatten(1, 2)
        parameters = density(torch.zeros(1), y.shape[1])
        wanted = -torch.log2(stored["out.likelihoods.y"]).permute(0, 2, 3, 1).flatten(1, 2)
        assert torch.allclose(parameters.bits(torch.round(y - parameters.centre)), wanted, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_the_cumulative_is_a_half_at_the_median_and_rises(density):
    x = torch.linspace(-30, 30, 601).expand(3, 1, -1)
    logit = density._logit(x)
    assert (logit.diff(dim=2) > 0).all()
    assert float(logit[:, :, 300].abs().max()) < 1e-6


def test_bits_under_autocast_are_those_without(density):
    residual = torch.randn(2, 50, 3) * 4
    with torch.autocast("cpu", torch.bfloat16):
        bits = density.bits(residual)
    assert torch.equal(bits, density.bits(residual))


def test_medians_learn_with_the_rest():
    torch.manual_seed(0)
    density = LearnedDensity(1, 31, 2.0**-24)
    optimiser = torch.optim.Adam(density.parameters(), 0.15)
    for _ in range(60):
        x = torch.randn(1, 256, 1) + 4
        parameters = density(torch.zeros(1), 256)
        noise = torch.rand_like(x) - 0.5
        loss = parameters.training_bits(x - parameters.centre + noise).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert float(density.medians.detach()) == pytest.approx(4, abs=0.3)
    assert float(loss.detach()) == pytest.approx(2.1, abs=0.3)  # log2 of sqrt(2 pi e), and the noise's part


def test_frequencies_follow_training_and_stay_when_loaded(density):
    before = density.state_dict()["frequencies"].clone()
    assert (before.sum(dim=1) == TOTAL).all() and before.min() >= 1
    with torch.no_grad():
        density.matrices[0].add_(1.0)
    after = density.state_dict()["frequencies"].clone()
    assert not torch.equal(before, after)
    loaded = LearnedDensity(3, 40, 2.0**-24).eval()
    loaded.load_state_dict(copy.deepcopy(density.state_dict()) | {"frequencies": before})
    assert torch.equal(loaded.state_dict()["frequencies"], before)
    assert torch.equal(loaded.fixed_point()(torch.zeros(1).double(), 5).frequencies, before)


def test_frequencies_are_the_likelihoods(density):
    frequencies = density.state_dict()["frequencies"]
    residual = torch.arange(-40, 41.0)[None, :, None].expand(1, -1, 3)
    mass = torch.exp2(-density.bits(residual))[0].t()
    assert torch.allclose(frequencies[:, :-1] / TOTAL, mass, atol=1e-5)
