"""The objective by hand: rates and distortions, alpha and its ramp, stages, and what is refused."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from lichen.errors import UsageError
from lichen.lab.losses.correlation import Correlation, Mask, correlation_loss
from lichen.lab.losses.distortion import distorted, mse, psnr_db
from lichen.lab.losses.objective import Decorrelation, Objective, StageWeights
from lichen.lab.models.config import Distortion, OneMsSsimRate, OneRate, Rates
from lichen.lab.prior.latents import Coded, Latents
from lichen.metrics import ms_ssim
from tests.small import scene

X = torch.zeros(2, 3, 4, 4)


def coded(latents: Latents | None, stages: tuple[torch.Tensor, ...] = ()) -> Coded:
    """Two pictures of 16 pixels, 2/255 off, with 1 and 2 bits a pixel, an eighth of them for z."""
    return Coded(X + 2 / 255, torch.tensor([14.0, 28.0]), torch.tensor([2.0, 4.0]), latents, stages)


def random_latents() -> Latents:
    torch.manual_seed(0)
    return Latents(torch.randn(2, 3, 8, 8) + 1, torch.randn(2, 3, 8, 8), torch.rand(2, 3, 8, 8) + 0.5)


def test_many_rates_by_hand():
    assert mse(X + 2 / 255, X).tolist() == pytest.approx([4, 4])
    terms = Objective(Rates(0.01, 1.0, 3), balance=0.5)(coded(None), X, torch.tensor([0.0, 2.0]))
    wanted = ((0.01 / 0.1) ** -0.5 * (1 + 0.01 * 4) + (1 / 0.1) ** -0.5 * (2 + 1 * 4)) / 2
    assert float(terms.loss) == pytest.approx(wanted, rel=1e-5)
    assert terms.estimated_bpp.tolist() == [1, 2]
    assert terms.mse.tolist() == terms.distortion.tolist() == pytest.approx([4, 4])
    assert float(psnr_db(terms.mse)[0]) == pytest.approx(42.11, abs=0.01)


@pytest.mark.parametrize("rates", [OneRate(0.013), Rates(0.013, 0.013, 1)])
def test_one_rate_by_hand(rates):
    terms = Objective(rates)(coded(None), X, torch.zeros(2))
    assert float(terms.loss) == pytest.approx(1.5 + 0.013 * 4, rel=1e-5)


def test_thumbnails_are_not_weighed_by_a_lambda_of_ms_ssim():
    small = dataclasses.replace(coded(None), thumbnail=X[:, :, ::2, ::2] + 1 / 255)
    assert float(Objective(OneRate(0.1))(small, X, torch.zeros(2)).loss) == pytest.approx(1.5 + 0.1 * 5, rel=1e-5)
    with pytest.raises(UsageError, match="thumbnails"):
        Objective(OneMsSsimRate(8.0))(small, X, torch.zeros(2))


def test_alpha_adds_the_correlation_loss():
    latents, how = random_latents(), Correlation(5, Mask.BORDER)
    plain = Objective(OneRate(0.01))
    term = dataclasses.replace(plain, correlation=Decorrelation(0.3, map=how))
    difference = term(coded(latents), X, torch.zeros(2)).loss - plain(coded(latents), X, torch.zeros(2)).loss
    assert float(difference) == pytest.approx(0.3 * float(correlation_loss(latents, how)), rel=1e-4)


def test_ramp():
    assert [Decorrelation(0.4).alpha_at(step) for step in (0, 10**6)] == [0.4, 0.4]
    ramped = Decorrelation(0.4, ramp=(100, 300))
    assert [ramped.alpha_at(step) for step in (0, 100, 150, 300, 301)] == pytest.approx([0, 0, 0.1, 0.4, 0.4])
    sudden = Decorrelation(0.4, ramp=(100, 100))
    assert [sudden.alpha_at(step) for step in (99, 100)] == [0, 0.4]


def test_stages_are_weighed_and_the_last_one_is_reported():
    stages = (torch.tensor([40.0, 40.0]), torch.tensor([20.0, 30.0]), torch.tensor([14.0, 28.0]))
    objective = Objective(OneRate(0.01), stages=StageWeights(change=5))
    early, late = (objective(coded(None, stages), X, torch.zeros(2), step) for step in (4, 5))
    by_hand = [0.3 * 40 + 0.3 * 25 + 0.4 * 21, 0.1 * 40 + 0.1 * 25 + 0.8 * 21]
    for terms, bits in zip((early, late), by_hand, strict=True):
        assert float(terms.loss) == pytest.approx((bits + 3) / 16 + 0.04, rel=1e-5)
        assert terms.estimated_bpp.tolist() == [1, 2]


def test_ms_ssim_is_that_of_the_evaluation():
    a, b = (torch.from_numpy(np.array(scene(192, 176, seed))) for seed in (0, 1))
    x, y = (p.permute(2, 0, 1)[None].float() / 255 for p in (a, b))
    both = distorted(Distortion.MS_SSIM, torch.cat([y, x]), torch.cat([x, x]))
    assert both.tolist() == pytest.approx([1 - ms_ssim(a.numpy(), b.numpy()), 0], abs=1e-5)
    y.requires_grad_()
    distorted(Distortion.MS_SSIM, y, x).sum().backward()
    assert y.grad is not None and y.grad.any()
    terms = Objective(OneMsSsimRate(12.0))(Coded(y, torch.zeros(1), torch.zeros(1), None), x, torch.zeros(1))
    assert float(terms.loss.detach()) == pytest.approx(12 * float(both[0]), rel=1e-5)
    assert float(terms.mse) == pytest.approx(float(mse(y.detach(), x)))


def test_what_is_refused():
    with pytest.raises(UsageError, match="factorized"):
        Objective(OneRate(), correlation=Decorrelation(0.1))(coded(None), X, torch.zeros(2))
    with pytest.raises(UsageError, match="3 weights for a prior of 0 stages"):
        Objective(OneRate(), stages=StageWeights(1))(coded(None), X, torch.zeros(2))
    with pytest.raises(UsageError, match="161 pixels"):
        distorted(Distortion.MS_SSIM, X, X)
    for wrong in ({"alpha": -1}, {"alpha": float("nan")}, {"alpha": 1, "ramp": (2, 1)}):
        with pytest.raises(UsageError):
            Decorrelation(**wrong)
    with pytest.raises(UsageError, match="late must"):
        StageWeights(1, late=(0.5, 0.6))
