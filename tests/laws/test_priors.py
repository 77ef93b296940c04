"""The laws for every kind of context model, on priors alone."""

from __future__ import annotations

import pytest
import torch

from lichen.lab.fixed_point.convert import to_fixed_point
from lichen.lab.prior.centroids import SHIFT_MAX
from lichen.lab.prior.estimator import Estimator
from lichen.lab.prior.file_coder import FileReader
from tests.laws import priors
from tests.laws.laws import mask_of, threads
from tests.laws.priors import CONTEXTS, RATE_LEVEL, SEES_NOTHING, SIZE, WITHOUT_HYPER, M

# How far floats may be; in single precision from weights of nine bits, of few channels, where deviations are about 6.
NEAR = {name: 0.4 if name == priors.FLOAT32 else 0.02 for name in CONTEXTS}
ROUNDED = {"slices": 1.01, "ours-quad": 0.51 + SHIFT_MAX, "ours-float32": 0.51 + SHIFT_MAX}  # 0.51 otherwise
pytestmark = pytest.mark.parametrize("name", CONTEXTS)


class First(FileReader):
    """A reader of the first blocks of a file alone."""

    def __init__(self, payloads, count, fill_mean):
        super().__init__(payloads, fill_mean)
        self.left = count

    def code(self, parameters, y, group=0):
        self.left -= 1
        return super().code(parameters, y, group if self.left >= 0 else 99)


@pytest.mark.parametrize("size", [(1, 1), (4, 4), (5, 8)])
def test_schedule_tiles_the_latents_once(name, size):
    steps = priors.small_prior(name).context.schedule.steps(*size, torch.device("cpu"))
    assert (sum(mask_of(step, (M, *size)) for step in steps) == 1).all()


def test_causal_by_gradient(name):
    prior = priors.small_prior(name)
    assert priors.leaks(prior, name) == 0
    assert priors.uses_context(prior, name) == (name not in SEES_NOTHING)


@torch.no_grad()
def test_causal_by_change(name):
    if name not in {"causal", "reference", "staged", "causal-alone", "reference-alone"}:
        pytest.skip("its order is not raster")
    prior = priors.small_prior(name)
    assert not any(priors.sees_ahead(prior, name, position) for position in (0, 7, 8, 37, 95))


@torch.no_grad()
def test_training_parameters_are_coding_parameters(name):
    assert priors.disagreement(priors.small_prior(name), name) < NEAR[name]


@torch.no_grad()
def test_coding_parameters_are_on_the_grid(name):
    assert priors.off_the_grid(to_fixed_point(priors.small_prior(name)), name) == 0


@torch.no_grad()
def test_decode_of_encode_is_y_hat_and_as_large_as_estimated(name):
    prior = priors.small_prior(name)
    exact = to_fixed_point(prior)
    payload, y_hat = priors.written(exact, name)
    assert torch.equal(priors.read(exact, name, payload), y_hat)
    size_bytes = sum(map(len, payload))
    assert abs(priors.estimated_bytes(prior, name) - size_bytes) <= 0.01 * size_bytes + 64
    assert size_bytes > 400


@torch.no_grad()
def test_training_y_hat_is_coding_y_hat(name):
    """Teacher-forced or step by step, in float or fixed point: y_hat differs by the grid at most."""
    prior = priors.small_prior(name)
    y, z = priors.latents(name)
    trained = prior.walk(Estimator(None), RATE_LEVEL, z.shape[2:], y, z).y_hat
    _, coded = priors.written(to_fixed_point(prior), name)
    # A residual near a half may round the other way, and all that sees it.
    far = (trained - coded).abs() > NEAR[name]
    assert float(far.double().mean()) < 0.2
    assert float((coded - y).abs().max()) < ROUNDED.get(name, 0.51)


@torch.no_grad()
@pytest.mark.parametrize("count", [2, 7])
def test_same_bytes_under_other_thread_counts(name, count):
    exact = to_fixed_point(priors.small_prior(name))
    payload, y_hat = priors.written(exact, name)
    with threads(count), torch.backends.mkldnn.flags(enabled=False, allow_tf32=None):
        assert priors.written(exact, name)[0] == payload
        assert torch.equal(priors.read(exact, name, payload), y_hat)


@torch.no_grad()
def test_any_prefix_decodes(name):
    """A prefix of the steps is what the whole file gives; the rest is filled by means or zeros."""
    if name in {"causal", "reference"}:
        pytest.skip("a serial model's steps are positions")
    exact = to_fixed_point(priors.small_prior(name))
    payload, y_hat = priors.written(exact, name)
    steps = exact.context.schedule.steps(*SIZE, torch.device("cpu"))
    shape = SIZE if name in WITHOUT_HYPER else (3, 2)
    for count in range(len(steps) + 1):
        known = sum((mask_of(step, y_hat.shape) for step in steps[:count]), torch.zeros(1, dtype=torch.int32)) > 0
        for fill_mean in (False, True):
            partial = exact.walk(First(payload, 1 + count, fill_mean), RATE_LEVEL.double(), shape).y_hat
            assert torch.equal(partial * known, y_hat * known)
    assert torch.equal(partial, y_hat)
