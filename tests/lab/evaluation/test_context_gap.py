"""The gap on latents whose dependence is known: none, along rows of a channel, in magnitudes, and between channels."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import Tensor

from lichen.errors import BadData, UsageError
from lichen.lab.evaluation.context_gap import (
    AllChannels,
    Fit,
    OwnChannel,
    RefittedPrior,
    Unchanged,
    corrections,
    fitted,
)
from lichen.lab.models.zoo import row
from lichen.lab.prior.entropy_parameters import EntropyParameters
from lichen.lab.prior.families import Gaussian
from tests.small import M, small

FIT = Fit(steps=160, batch=2, learning_rate=3e-3, correction_rate=5e-3)
SIDE = 32
DEVIATION = 3.0


def ignore(step: int, bits: float) -> None:
    """No report."""


def model_of(name: str = "lichen-hp") -> torch.nn.Module:
    torch.manual_seed(0)
    return small(row(name).config).build().requires_grad_(False)


def white(count: int = 20) -> list[Tensor]:
    chance = torch.Generator().manual_seed(5)
    return [torch.randn(M, SIDE, SIDE, generator=chance) for _ in range(count)]


def rates(latents: list[Tensor], *names: str, fit: Fit = FIT) -> list[float]:
    """Bits a latent of each prior, fitted to the first pictures, on the last two."""
    found = []
    for name in names:
        torch.manual_seed(1)
        refitted = fitted(model_of(), corrections(M, 16)[name], latents[:-2], rate_level=0.0, fit=fit, report=ignore)
        with torch.no_grad():
            bits_y, bits_z = refitted(torch.stack(latents[-2:]), torch.zeros(2))
        found.append(float((bits_y + bits_z).mean()) / latents[0].numel())
    return found


def test_white_latents_have_no_gap():
    plain, own = rates([DEVIATION * y for y in white()], "hyperprior", "own-channel")
    assert plain == pytest.approx(math.log2(DEVIATION * math.sqrt(2 * math.pi * math.e)), rel=0.02)
    assert own == pytest.approx(plain, rel=0.01)


def test_dependence_along_rows_is_saved_by_the_mean_as_theory_says():
    """-1/2 log2(1 - rho^2) bits a latent, of which rounding and a short fit leave most."""
    rho, latents = 0.8, [DEVIATION * y for y in white()]
    for y in latents:
        for i in range(1, SIDE):
            y[:, :, i] = rho * y[:, :, i - 1] + math.sqrt(1 - rho**2) * y[:, :, i]
    fit = dataclasses.replace(FIT, correction_rate=2e-2)  # such strong weights are far for a short fit
    plain, means, own = rates(latents, "hyperprior", "own-channel-means", "own-channel", fit=fit)
    assert plain - means == pytest.approx(-0.5 * math.log2(1 - rho**2), rel=0.15)
    assert own == pytest.approx(means, rel=0.02)


def test_dependence_of_magnitudes_is_saved_by_the_scale_alone():
    """A deviation that wanders along a row, in each channel for itself, shows in the sizes of its neighbours."""
    octaves = [1.5 * torch.sin(y.flip(0).cumsum(dim=2) / 3) for y in white()]
    latents = [DEVIATION * torch.exp2(o) * y for o, y in zip(octaves, white(), strict=True)]
    plain, means, own = rates(latents, "hyperprior", "own-channel-means", "own-channel")
    assert means == pytest.approx(plain, rel=0.01)
    assert own < 0.985 * plain


def test_dependence_between_channels_is_seen_by_the_prior_that_looks_at_all():
    latents = [DEVIATION * y for y in white()]
    for y in latents:
        y[12:, :, 1:] = y[:12, :, :-1] + 0.3 * y[12:, :, 1:]
    plain, own, all_channels = rates(latents, "hyperprior", "own-channel", "all-channels")
    assert own == pytest.approx(plain, rel=0.01)
    assert all_channels < 0.9 * own


@pytest.mark.parametrize("name", list(corrections(M, 16)))
def test_each_starts_as_the_hyperprior(name):
    y = DEVIATION * torch.stack(white(2))
    alone = RefittedPrior(model_of(), Unchanged())(y, torch.zeros(2))
    started = RefittedPrior(model_of(), corrections(M, 16)[name])(y, torch.zeros(2))
    assert all(torch.equal(a, b) for a, b in zip(alone, started, strict=True))


@pytest.mark.parametrize("correction", [OwnChannel(M), AllChannels(M, 16)], ids=["own-channel", "all-channels"])
def test_parameters_depend_on_earlier_symbols_only(correction):
    torch.manual_seed(2)
    for parameter in correction.parameters():
        parameter.data.normal_(std=0.3)
    symbols = torch.round(3 * torch.randn(1, M, 9, 9)).requires_grad_()
    zeros = torch.zeros_like(symbols)
    found = correction(symbols, EntropyParameters(zeros, zeros, Gaussian()), torch.randn(1, 16, 9, 9))
    (found.mean + found.raw_scale)[0, 5, 4, 4].backward()
    reached = symbols.grad[0].abs().sum(dim=0) > 0
    assert not reached.flatten()[4 * 9 + 4 :].any()
    assert reached[2:4, 2:7].all() and reached[4, 2:4].all() and int(reached.sum()) == 12
    channels = symbols.grad[0].abs().sum(dim=(1, 2)) > 0
    assert int(channels.sum()) == (1 if isinstance(correction, OwnChannel) else M)


def test_the_model_s_own_weights_stay():
    model = model_of()
    before = {name: p.clone() for name, p in model.named_parameters()}
    steps: list[int] = []
    fit = Fit(steps=3, batch=2, side=8)
    latents = [DEVIATION * y for y in white(2)]
    fitted(model, OwnChannel(M), latents, rate_level=0.0, fit=fit, report=lambda step, bits: steps.append(step))
    assert steps == [1, 2, 3]
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())


def test_other_priors_and_small_pictures_are_refused():
    with pytest.raises(UsageError, match="plain hyperprior"):
        RefittedPrior(model_of("lichen-cb"), Unchanged())
    with pytest.raises(BadData, match="16 x 16 latents"):
        fitted(model_of(), Unchanged(), [torch.zeros(M, 8, 40)], rate_level=0.0, fit=Fit(), report=ignore)
