"""Points of reconstruction: what they do to latents, in training and in files."""

from __future__ import annotations

import pytest
import torch

from lichen.coding.scales import SCALE_MIN, SCALES
from lichen.lab.fixed_point.convert import to_fixed_point
from lichen.lab.prior.centroids import SHIFT_MAX, Centroids
from lichen.lab.prior.entropy_parameters import EntropyParameters
from lichen.lab.prior.estimator import Estimator
from lichen.lab.prior.families import Logistic
from lichen.lab.prior.noise import Noise


def pulled(seed: int = 0) -> Centroids:
    torch.manual_seed(seed)
    made = Centroids()
    with torch.no_grad():
        made.table.copy_(-0.6 * torch.rand(SCALES, 2))
    return made


def parameters_of(scale: float, count: int) -> EntropyParameters:
    return EntropyParameters(
        torch.linspace(-1, 1, count)[None, :, None], torch.full((1, count, 1), scale).log2(), Logistic()
    )


def test_a_symbol_is_put_back_where_its_table_says():
    made, parameters = pulled(), parameters_of(SCALE_MIN, 5)
    symbols = torch.tensor([0.0, 1, -1, 2, -7])[None, :, None]
    one, more = made.table[0].clamp(-SHIFT_MAX, SHIFT_MAX)
    wanted = symbols + torch.stack([torch.zeros(()), one, -one, more, -more])[None, :, None]
    assert torch.allclose(made(parameters.mean + symbols, symbols, parameters) - parameters.mean, wanted, atol=1e-6)


def test_they_begin_as_nothing():
    parameters = parameters_of(1.0, 9)
    decoded = parameters.mean + torch.arange(-4, 5)[None, :, None]
    assert torch.equal(Centroids()(decoded.clone(), decoded - parameters.mean, parameters), decoded)


@torch.no_grad()
def test_the_fixed_point_module_lies_on_the_grid_and_near():
    made, parameters = pulled(), parameters_of(0.7, 9)
    exact = to_fixed_point(torch.nn.Sequential(made))[0]
    on_grid = EntropyParameters(
        torch.round(parameters.mean.double() * 4096) / 4096, torch.round(parameters.raw_scale.double() * 4096) / 4096
    )
    symbols = torch.arange(-4, 5)[None, :, None]
    y_hat = exact(on_grid.mean + symbols, symbols.double(), on_grid)
    assert y_hat.dtype == torch.float64 and torch.equal(y_hat * 4096, torch.round(y_hat * 4096))
    rough = made(parameters.mean + symbols, symbols, parameters) - parameters.mean
    assert float((y_hat - on_grid.mean - rough).abs().max()) < 2.0**-12


def test_they_are_learned():
    """By gradient the table finds the mean of what is rounded to a symbol: at small scales a point nearer to 0."""
    torch.manual_seed(0)
    made, parameters = Centroids(), parameters_of(0.5, 20_000)
    uniform = torch.rand_like(parameters.mean).clamp(1e-6, 1 - 1e-6)
    y = parameters.mean + torch.logit(uniform) * 0.5 * 3**0.5 / torch.pi
    optimiser = torch.optim.Adam(made.parameters(), lr=0.02)
    for step in range(60):
        coder = Estimator(Noise([step], torch.device("cpu")))
        symbols = coder.code(parameters, y)
        error = (made(parameters.mean + symbols, symbols, parameters) - y).square().sum()
        optimiser.zero_grad()
        error.backward()
        optimiser.step()
    rounded = torch.round(y - parameters.mean).abs()
    wanted = float(((y - parameters.mean).abs() - rounded)[rounded == 1].mean())
    index = int(Logistic().scale.index(parameters.raw_scale[:1, :1].double()))
    assert made.table[index, 0].item() == pytest.approx(wanted, abs=0.02) and wanted < -0.15
