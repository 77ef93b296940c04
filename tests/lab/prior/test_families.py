"""What a latent costs: Gaussian and logistic families, in estimates, in training and in the coder's tables."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from lichen.coding.scales import SCALE_MAX, SCALE_MIN, SCALES
from lichen.coding.tables import load_tables
from lichen.lab.prior.entropy_parameters import EntropyParameters
from lichen.lab.prior.estimator import Estimator
from lichen.lab.prior.families import (
    Gaussian,
    LinearScale,
    Logistic,
    LogScale,
    gaussian_bits,
    logistic_bits,
)
from lichen.lab.prior.noise import Noise

SCALE = [SCALE_MIN * (SCALE_MAX / SCALE_MIN) ** (i / (SCALES - 1)) for i in range(SCALES)]


@pytest.mark.parametrize("scale", [SCALE_MIN, 0.3, 1.0, 7.0, SCALE_MAX])
def test_a_logistic_distribution(scale):
    """Its masses sum to 1, and noise about it has the variance that its name says, plus that of rounding."""
    at = torch.arange(-(2**14), 2**14 + 1, dtype=torch.float64)
    mass = 2 ** -logistic_bits(at, torch.tensor(scale, dtype=torch.float64))
    assert float(mass.sum()) == pytest.approx(1, abs=1e-9)
    if scale >= 1:
        assert float((mass * at**2).sum()) == pytest.approx(scale**2 + 1 / 12, rel=1e-3)


@pytest.mark.parametrize("index", range(0, SCALES, 9))
def test_its_tables_are_what_is_estimated(index):
    frequencies = torch.tensor(load_tables("logistic")[index].astype(float))
    radius = (len(frequencies) - 2) // 2
    symbols = torch.arange(-radius, radius + 1, dtype=torch.float64)
    mass = 2 ** -logistic_bits(symbols, torch.tensor(SCALE[index], dtype=torch.float64))
    off = (frequencies[:-1] / 2**24 - mass).abs()
    assert float(torch.cat([off[:radius], off[radius + 1 :]]).max()) < 1e-7  # the centre takes the rounding
    assert float(off[radius]) < 2e-5 and 1 - float(mass.sum()) < 2.0**-17


def test_its_tails_are_heavier():
    one = torch.ones(1)
    assert logistic_bits(8 * one, one) < gaussian_bits(8 * one, one)
    assert logistic_bits(2 * one, one) > gaussian_bits(2 * one, one)


@pytest.mark.parametrize("distance", [0.0, 0.6, 40.0, 1e5])
def test_training_sees_outliers(distance):
    x = torch.tensor([distance], requires_grad=True)
    bits = Logistic().training_bits(x, torch.tensor([0.11]))
    bits.backward()
    assert 0 < bits.item() < 300 and (x.grad.item() > 0) == (distance > 0)
    assert Logistic().bits(x, torch.tensor([0.11])).item() <= 24


@pytest.mark.parametrize("family", [Gaussian(), Logistic()], ids=["gaussian", "logistic"])
def test_training_noise_prices_like_rounding(family):
    torch.manual_seed(0)
    y, zeros = torch.randn(1, 1024, 4) * 3, torch.zeros(1, 1024, 4)
    parameters = EntropyParameters(zeros, zeros + math.log2(3), family)
    noisy, rounded = Estimator(Noise([0], torch.device("cpu"))), Estimator(None)
    noisy.code(parameters, y), rounded.code(parameters, y)
    assert float(noisy.bits[0]) == pytest.approx(float(rounded.bits[0]), rel=0.02)


@pytest.mark.parametrize(("rule", "start"), [(LogScale(), 20.0), (LinearScale(), 300.0)])
def test_a_scale_beyond_the_tables_can_fall(rule, start):
    raw_scale = torch.tensor([start], requires_grad=True)
    scale = rule.scale(raw_scale)
    assert float(scale.detach()) == SCALE_MAX
    logistic_bits(torch.tensor([3.0]), scale).backward()  # a smaller scale would be cheaper
    assert raw_scale.grad is not None and float(raw_scale.grad) > 0


def test_a_scale_learns_from_what_a_file_has():
    """Its gradient is that of the rounded latent's cost, which is the value too; the mean's is the noisy one's."""
    torch.manual_seed(0)
    y, noise = 2 * torch.randn(1, 40, 3), torch.rand(1, 40, 3) - 0.5

    def gradients(split: bool, rounded: bool) -> tuple[Tensor, Tensor, Tensor]:
        mean, raw_scale = (torch.zeros_like(y, requires_grad=True) for _ in range(2))
        parameters, residual = EntropyParameters(mean, raw_scale, Logistic()), y - mean
        settled = torch.round(residual.detach())
        cost = parameters.training_bits(settled if rounded else residual + noise, settled if split else None)
        cost.sum().backward()
        return cost.detach(), torch.zeros(()) if mean.grad is None else mean.grad, raw_scale.grad

    mixed, noisy, hard = gradients(True, False), gradients(False, False), gradients(False, True)
    assert torch.equal(mixed[0], hard[0]) and torch.equal(mixed[2], hard[2])
    assert torch.equal(mixed[1], noisy[1]) and noisy[1].any()
    assert not torch.equal(mixed[2], noisy[2])
