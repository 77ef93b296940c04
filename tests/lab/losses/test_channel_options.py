"""The options that are not the paper's: weights by rate, an unbiased estimate, C / C(0); value, gradient, bias."""

from __future__ import annotations

import itertools
import math
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import Tensor

from lichen.errors import BadRecipe, UsageError
from lichen.lab.losses import correlation
from lichen.lab.losses.channel_rates import channel_bits, gaussian_bits
from lichen.lab.losses.correlation import (
    ChannelWeights,
    Correlation,
    Estimate,
    Mask,
    Reduction,
    correlation_loss,
)
from lichen.lab.prior.latents import Latents
from lichen.lab.training.recipe import load_recipe

OPTIONS = [
    Correlation(window, mask, per_channel=per_channel, weights=weights, estimate=estimate, normalise=normalise)
    for window, mask in ((3, Mask.POINT), (5, Mask.SHORT_CROSS))
    for per_channel, weights, estimate, normalise in itertools.product(
        (False, True), ChannelWeights, Estimate, (False, True)
    )
    if per_channel or weights is ChannelWeights.EQUAL
]


def latents_of(pictures: int = 4, channels: int = 3, height: int = 8, width: int = 7) -> Latents:
    """Correlated residuals whose size, and so whose rate, differs between channels."""
    generator = torch.Generator().manual_seed(5)
    shape = (pictures, channels, height, width)
    scale = 0.2 + torch.rand(shape, generator=generator, dtype=torch.float64)
    scale = scale * torch.tensor([0.7, 1.0, 4.0], dtype=torch.float64)[:channels, None, None]
    mean = torch.randn(shape, generator=generator, dtype=torch.float64)
    white = torch.randn(pictures, channels, height + 1, width, generator=generator, dtype=torch.float64)
    return Latents(mean + scale * (white[:, :, 1:] + 0.6 * white[:, :, :-1] + 0.2), mean, scale)


def oracle(latents: Latents, how: Correlation) -> float:
    """The loss by loops in numpy, from the formulas of the docstrings."""
    y, mean, scale = (t.detach().numpy() for t in (latents.y, latents.mean, latents.scale))
    u, reach = (y - mean) / np.maximum(scale, 0.11), how.window // 2
    pictures, channels, height, width = u.shape
    maps = np.zeros((pictures, channels, how.window, how.window))
    centres = list(itertools.product(range(reach, height - reach), range(reach, width - reach)))
    for i, c, (row, column) in itertools.product(range(pictures), range(channels), centres):
        near = u[i, c, row - reach : row + reach + 1, column - reach : column + reach + 1]
        maps[i, c] += near * u[i, c, row, column] / len(centres)
    if not how.per_channel:
        maps = maps.mean(axis=1, keepdims=True)
    squares = maps.mean(axis=0) ** 2
    if how.estimate is Estimate.UNBIASED:
        squares = np.mean([maps[i] * maps[j] for i, j in itertools.permutations(range(pictures), 2)], axis=0)
    if how.normalise:
        squares = squares / maps.mean(axis=0)[:, reach, reach][:, None, None] ** 2
    losses = (squares * ~how.mask.left_out(how.window).numpy()).sum(axis=(1, 2))
    weights = np.ones(len(losses))
    if how.weights is ChannelWeights.RATE:
        weights = np.array([sum(map(bits, (y - mean)[:, c].flat, scale[:, c].flat)) for c in range(channels)])
    return float((losses * weights / weights.sum()).sum())


def bits(residual: float, scale: float) -> float:
    """What an integer costs under a Gaussian, by the error function of the standard library."""
    distance, unit = abs(round(residual)), max(scale, 0.11) * math.sqrt(2)
    probability = (math.erfc((distance - 0.5) / unit) - math.erfc((distance + 0.5) / unit)) / 2
    return -math.log2(max(probability, 2**-24))


@pytest.mark.parametrize("how", OPTIONS, ids=lambda h: f"{h.window}-{h.per_channel:d}-{h.weights.value}-"
                         f"{h.estimate.value}-{h.normalise:d}")  # fmt: skip
def test_values_are_those_of_the_loops(how):
    latents = latents_of()
    assert float(correlation_loss(latents, how)) == pytest.approx(oracle(latents, how), rel=1e-9)


def test_options_matter():
    losses = [float(correlation_loss(latents_of(), how)) for how in OPTIONS]
    assert len({round(loss, 9) for loss in losses}) == len(OPTIONS)


@pytest.mark.parametrize("how", OPTIONS, ids=str)
def test_gradients_are_those_of_finite_differences(how, monkeypatch):
    """Weights have no gradient by definition, so finite differences hold them fixed."""
    latents = latents_of(3, 2, 6, 5)
    fixed = channel_bits(latents.y, latents.mean, latents.scale)
    inputs = [t.requires_grad_() for t in (latents.y, latents.mean, latents.scale)]
    own = torch.autograd.grad(correlation_loss(Latents(*inputs), how), inputs)
    monkeypatch.setattr(correlation, "channel_bits", lambda *of: fixed)
    held = torch.autograd.grad(correlation_loss(Latents(*inputs), how), inputs)
    for a, b in zip(own, held, strict=True):
        assert torch.allclose(a, b, rtol=1e-12, atol=0)
    assert torch.autograd.gradcheck(lambda *of: correlation_loss(Latents(*of), how), inputs)


def test_bits_are_those_of_the_coder():
    residual = torch.tensor([0.0, 1, -3, 40], dtype=torch.float64)
    scale = torch.tensor([0.2, 1.5, 1.0, 0.5], dtype=torch.float64)
    wanted = [bits(float(r), float(s)) for r, s in zip(residual, scale, strict=True)]
    assert gaussian_bits(residual, scale).tolist() == pytest.approx(wanted, rel=1e-9) and wanted[-1] == 24


def test_a_channel_without_bits_has_no_weight():
    """And where none has any, the loss is 0, not nan."""
    u = torch.ones(2, 2, 5, 5)
    scale = torch.tensor([0.11, 2.0])[:, None, None].expand_as(u)
    how = Correlation(per_channel=True, weights=ChannelWeights.RATE)
    one = Latents(u * torch.tensor([0.01, 2.0])[:, None, None], torch.zeros_like(u), scale)
    assert float(correlation_loss(one, how)) == pytest.approx(8, rel=1e-4)
    silent = Latents(u * 0.01, torch.zeros_like(u), torch.full_like(u, 1e-3))
    assert float(correlation_loss(silent, how)) == pytest.approx(0, abs=1e-3)


def test_the_unbiased_estimate_is_the_mean_of_all_halvings():
    latents = latents_of(4)
    how = Correlation(per_channel=True, estimate=Estimate.UNBIASED)
    u = correlation.normalised(latents, how)
    products = []
    for first in ((0, 1), (0, 2), (0, 3)):
        other = tuple({0, 1, 2, 3} - set(first))
        products.append(math.prod(correlation.channel_maps(u[list(half)], 3) for half in (first, other)))
    wanted = torch.stack(products).mean(dim=0)
    wanted[:, 1, 1] = 0
    assert float(correlation_loss(latents, how)) == pytest.approx(float(wanted.sum(dim=(1, 2)).mean()), rel=1e-12)


def moving_average(pictures: int, generator: torch.Generator, share: float = 0.5) -> Latents:
    """Two channels of unit variance whose horizontal neighbours correlate by share / (1 + share^2), one negatively."""
    white = torch.randn(pictures, 2, 6, 7, generator=generator, dtype=torch.float64)
    sign = torch.tensor([1.0, -1.0], dtype=torch.float64)[:, None, None]
    u = (white[..., 1:] + sign * share * white[..., :-1]) / math.sqrt(1 + share**2)
    return Latents(u, torch.zeros_like(u), torch.ones_like(u))


@pytest.mark.parametrize("pictures", [2, 3])
@pytest.mark.parametrize("per_channel", [False, True])
def test_the_unbiased_estimate_has_the_mean_c_squared_and_the_plain_one_has_not(pictures, per_channel):
    """Over 2000 batches. With one map over both channels C is 0: their correlations cancel."""
    rho, generator = 0.5 / 1.25, torch.Generator().manual_seed(1)
    wanted = 2 * rho**2 if per_channel else 0.0
    batches = [moving_average(pictures, generator) for _ in range(2000)]
    found = {}
    for estimate in Estimate:
        how = Correlation(per_channel=per_channel, estimate=estimate)
        losses = torch.stack([correlation_loss(batch, how) for batch in batches])
        found[estimate] = float(losses.mean()) - wanted, float(losses.std()) / math.sqrt(len(losses))
    bias, error = found[Estimate.UNBIASED]
    assert abs(bias) < 3.5 * error
    bias, error = found[Estimate.PLAIN]
    assert bias > 20 * error


def test_normalised_does_not_change_with_the_scale():
    """C / C(0): neither a larger scale alone nor the plain loss's way out, a larger variance, lowers it."""
    latents, how = latents_of(), Correlation(per_channel=True, normalise=True)
    factor = torch.ones((), dtype=torch.float64, requires_grad=True)
    larger = Latents(latents.y, latents.mean, latents.scale.clamp(min=0.2) * factor)
    (gradient,) = torch.autograd.grad(correlation_loss(larger, how), factor, retain_graph=True)
    plain = correlation_loss(larger, Correlation(per_channel=True))
    (of_plain,) = torch.autograd.grad(plain, factor)
    assert abs(float(gradient)) < 1e-12 < 1e-3 * abs(float(of_plain))
    constant = Latents(torch.ones(2, 3, 9, 9), torch.zeros(2, 3, 9, 9), torch.full((2, 3, 9, 9), 0.7))
    assert float(correlation_loss(constant, how)) == pytest.approx(8)
    silent = Latents(*(torch.zeros(2, 3, 9, 9),) * 3)
    assert float(correlation_loss(silent, how)) == 0


def test_what_does_not_fit_together_is_refused(tmp_path):
    with pytest.raises(UsageError, match="weights by rate are for per_channel"):
        Correlation(weights=ChannelWeights.RATE)
    with pytest.raises(UsageError, match="normalise divides a sum by a sum"):
        Correlation(normalise=True, reduction=Reduction.SUM)
    with pytest.raises(UsageError, match="at least two pictures"):
        correlation_loss(latents_of(1), Correlation(estimate=Estimate.UNBIASED))
    path = tmp_path / "r.toml"
    path.write_text('model = "lichen"\nsteps = 3\nbatch = 1\n[correlation]\nalpha = 1\nmap.estimate = "unbiased"\n')
    with pytest.raises(BadRecipe, match="line 3: batch must be at least 2"):
        load_recipe(path)


def test_they_are_read_from_recipes(tmp_path):
    path = tmp_path / "r.toml"
    keys = 'map.per_channel = true\nmap.weights = "rate"\nmap.estimate = "unbiased"\nmap.normalise = true\n'
    path.write_text(f'model = "lichen"\nsteps = 3\n[correlation]\nalpha = 1\n{keys}')
    term = load_recipe(path).correlation
    assert term is not None and term.map == Correlation(
        per_channel=True, weights=ChannelWeights.RATE, estimate=Estimate.UNBIASED, normalise=True
    )


SPLIT = """
import sys
import torch
from torch import distributed
from tests.lab.losses.test_channel_options import OPTIONS, latents_of
from lichen.lab.losses.correlation import correlation_loss
from lichen.lab.prior.latents import Latents
rank, store, out = int(sys.argv[1]), sys.argv[2], sys.argv[3]
distributed.init_process_group("gloo", init_method="file://" + store, rank=rank, world_size=2)
latents, found = latents_of(), []
for how in OPTIONS:
    half = [t[2 * rank : 2 * rank + 2].clone().requires_grad_() for t in (latents.y, latents.mean, latents.scale)]
    loss = correlation_loss(Latents(*half), how)
    loss.backward()
    found.append((loss.detach(), [t.grad / 2 for t in half]))  # DDP averages gradients over processes
torch.save(found, out + str(rank))
distributed.destroy_process_group()
"""


def test_two_processes_have_the_loss_of_the_joint_batch(tmp_path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    arguments = [str(tmp_path / "store"), str(tmp_path / "found")]
    processes = [
        subprocess.Popen([sys.executable, "-c", SPLIT, str(rank), *arguments], env=environment) for rank in (0, 1)
    ]
    assert [process.wait(120) for process in processes] == [0, 0]
    first, second = (torch.load(tmp_path / f"found{rank}", weights_only=True) for rank in (0, 1))
    for how, of_first, of_second in zip(OPTIONS, first, second, strict=True):
        inputs: list[Tensor] = [t.requires_grad_() for t in vars(latents_of()).values()]
        loss = correlation_loss(Latents(*inputs), how)
        loss.backward()
        assert torch.allclose(of_first[0], loss) and torch.allclose(of_second[0], loss)
        for whole, *halves in zip(inputs, of_first[1], of_second[1], strict=True):
            assert whole.grad is not None and torch.allclose(torch.cat(halves), whole.grad)
