"""Tests of the tests: faults planted into priors, each of which a law must notice."""

from __future__ import annotations

import pytest
import torch

from lichen.lab.fixed_point.convert import to_fixed_point
from lichen.lab.prior.masked import causal
from lichen.lab.prior.reference_search import Search
from lichen.lab.prior.schedules import ChannelSlices
from tests.laws import priors
from tests.laws.laws import mask_of


def sees_itself(prior):
    """A causal mask with its centre open."""
    prior.context.source.gather.mask = causal(5, centre=True)


def shifted_mask(prior):
    """A causal mask one column to the right: it opens what is not decoded yet."""
    prior.context.source.gather.mask = causal(5).flatten().roll(1).view(5, 5)


@pytest.mark.parametrize(
    ("name", "fault"),
    [("causal", sees_itself), ("causal", shifted_mask)],
)
def test_a_leak_is_caught_by_gradient(name, fault):
    prior = priors.small_prior(name)
    assert priors.leaks(prior, name) == 0
    fault(prior)
    assert priors.leaks(prior, name) > 0


@pytest.mark.parametrize("name", ["checkerboard", "groups", "slices"])
def test_a_leaked_anchor_or_slice_is_caught(name, monkeypatch):
    """A first pass that looks at its own anchors, a slice that sees itself: a round trip would not notice."""
    prior = priors.small_prior(name)
    y, z = priors.latents(name)
    y.requires_grad_()
    monkeypatch.setattr(priors, "latents", lambda _: (y, z))
    assert priors.leaks(prior, name) == 0
    source = type(prior.context.sources[0])
    honest = source.forward

    def leaky(self, features, known, before):
        seen = honest(self, features, known, None)
        return (seen[0], y) if name != "slices" else (seen[0], seen[1] + 0.1 * y[:, :4], seen[2])

    monkeypatch.setattr(source, "forward", leaky)
    assert priors.leaks(prior, name) > 0


@torch.no_grad()
def test_a_mask_that_differs_between_training_and_coding_is_caught():
    prior = priors.small_prior("causal")
    assert priors.disagreement(prior, "causal") < 0.02
    exact = to_fixed_point(prior)
    exact.context.source.gather.mask.copy_(torch.rot90(exact.context.source.gather.mask, 2))
    y, z = (tensor.double() for tensor in priors.latents("causal"))
    payload, y_hat = priors.written(exact, "causal")
    assert not torch.equal(priors.read(exact, "causal", payload), y_hat)
    assert y.shape == y_hat.shape and z.shape[1] == priors.Z


def test_a_schedule_with_a_hole_is_caught():
    class Holed(ChannelSlices):
        def steps(self, height, width, device):
            return super().steps(height, width, device)[1:]

    count = sum(mask_of(step, (priors.M, 4, 4)) for step in Holed(4, priors.M).steps(4, 4, torch.device("cpu")))
    assert not (count == 1).all()


@torch.no_grad()
@pytest.mark.parametrize("name", ["mean-scale", "causal", "slices", "groups"])
def test_a_planted_float_path_is_caught(name):
    """Parameters that leave the grid, as any float network's do, are noticed."""
    exact = to_fixed_point(priors.small_prior(name))
    assert priors.off_the_grid(exact, name) == 0
    honest = exact.synthesis.forward
    exact.synthesis.forward = lambda z_hat, rate_level: honest(z_hat, rate_level) * 1.0001
    assert priors.off_the_grid(exact, name) > 0


@torch.no_grad()
def test_a_search_that_peeks_is_caught(monkeypatch):
    """Candidates after the present position, as the authors allow in training."""
    prior = priors.small_prior("reference")
    positions = (20, 37, 60)
    assert not any(priors.sees_ahead(prior, "reference", position) for position in positions)
    honest = Search.block

    def peeking(self, wanted):
        self._learn(0, priors.SIZE[0] * priors.SIZE[1])
        winner, similarity = honest(self, wanted)
        patches = self._clamped[self._index].flatten(1)
        scores = (patches[wanted] @ patches.t()) / self._norms.clamp(min=1)
        scores[torch.arange(len(wanted)), wanted] = 0
        return scores.argmax(dim=1), similarity + winner[:, None] * 0

    monkeypatch.setattr(Search, "block", peeking)
    assert any(priors.sees_ahead(prior, "reference", position) for position in positions)
