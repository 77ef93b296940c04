"""Shapes of every transform at small widths, and parameter counts of the full ones against the papers."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from lichen.errors import UsageError
from lichen.lab.models.transform_configs import (
    ChengHyper,
    ChengTransform,
    ConvHyper,
    ElicTransform,
    FastHyper,
    FastTransform,
    MinnenTransform,
    NoHyper,
    RandomAtoms,
    SwinHyper,
    SwinTransform,
)

RANDOM = FastTransform(24, 8, 8, (1, 1), (1, 1), start_atoms=RandomAtoms())
TRANSFORMS = [
    FastTransform(24, 8, 8, (1, 1), (1, 1)),
    RANDOM,
    MinnenTransform(24, 8),
    MinnenTransform(24, 8, subtractive=True),
    ChengTransform(24, attention=False),
    ChengTransform(24),
    ElicTransform(24, 8),
    ElicTransform(24, 8, blocks=1, attention=False),
    SwinTransform((8, 8, 16, 32), (1, 2, 1, 1), 4),
]
HYPERS = [
    FastHyper(6, 12, 16),
    ConvHyper(6, (8, 12)),
    ConvHyper(6, (6, 6), features=24, slope=0.0, magnitude=True),
    ChengHyper(8),
    SwinHyper((16, 16), (2, 1)),
    NoHyper(),
]


@pytest.mark.parametrize("config", TRANSFORMS, ids=str)
def test_transform_shapes_and_gradients(config):
    torch.manual_seed(0)
    analysis, synthesis = config.build(2)
    rate_level = torch.tensor([0.0, 1.0])
    y = analysis(torch.rand(2, 3, 64, 96), rate_level)
    assert y.shape == (2, config.latents, 64 // config.stride, 96 // config.stride)
    x_hat = synthesis(y, rate_level)
    assert x_hat.shape == (2, 3, 64, 96)
    (x_hat**2).mean().backward()
    silent = {n for n, p in [*analysis.named_parameters(), *synthesis.named_parameters()] if p.grad is None}
    assert not silent


@pytest.mark.parametrize("learning", [True, False])
@pytest.mark.parametrize("bfloat16", [True, False])
def test_branches_meet_before_the_shuffle(learning, bfloat16):
    """The fast synthesis adds a block's quarters to its cells; plainly, it is two shuffles of the outputs."""
    torch.manual_seed(0)
    _, synthesis = TRANSFORMS[0].build(2)
    deep, y_hat = torch.randn(2, 192, 8, 12).contiguous(memory_format=torch.channels_last), torch.randn(2, 24, 4, 6)
    blocks = F.conv2d(y_hat, synthesis.linear.weight)
    plain = F.pixel_shuffle(blocks, 16) + F.pixel_shuffle(deep, 8)
    with torch.set_grad_enabled(learning), torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        met = synthesis._with_blocks(deep.clone(memory_format=torch.channels_last), y_hat)
    assert met.dtype == torch.float32 and met.requires_grad == learning
    assert torch.allclose(F.pixel_shuffle(met, 8), plain, atol=1e-5)


def test_random_atoms_are_orthonormal_shared_by_both_directions_and_the_seeds_own():
    def start(seed):
        torch.manual_seed(seed)
        analysis, synthesis = RANDOM.build(1)
        return analysis.linear.weight.detach().flatten(1), synthesis.linear.weight.detach()[:, :, 0, 0]

    forth, back = start(1)
    assert torch.allclose(forth @ forth.t(), torch.eye(24), atol=1e-6)
    assert torch.equal(back, forth.t())
    assert torch.equal(start(1)[0], forth) and not torch.allclose(start(2)[0], forth, atol=0.01)
    assert float(forth.abs().max()) < 0.25  # spread over all pixels: 0.036 is their root mean square
    with pytest.raises(UsageError, match="spread must be positive"):
        RandomAtoms(0)


@pytest.mark.parametrize("config", TRANSFORMS, ids=str)
def test_start_of_gains(config):
    gains, spreads = config.start(torch.tensor([0.001, 0.01, 0.1]))
    assert gains.shape == (3,) and spreads.shape == (config.latents,)
    assert bool((gains[1:] > gains[:-1]).all()) and bool((spreads > 0).all())


@pytest.mark.parametrize("config", HYPERS, ids=str)
@torch.no_grad()
def test_hyper_shapes(config):
    analysis, synthesis = config.build(24, 2)
    rate_level = torch.tensor([0.5])
    z = analysis(torch.randn(1, 24, 8, 12), rate_level)
    assert z.shape == (1, config.hyper_latents, 8 // config.stride, 12 // config.stride)
    assert synthesis(z, rate_level).shape == (1, config.outputs(24), 8, 12)


def millions(*modules: torch.nn.Module) -> float:
    return sum(p.numel() for m in modules for p in m.parameters()) / 1e6


def test_parameters_of_minnen_and_swin_are_the_papers():
    """mbt2018-mean 7.03 M with its density of z (some thousands), SwinT 24.65 M."""
    minnen = millions(*MinnenTransform().build(1), *ConvHyper().build(192, 1))
    swin = millions(*SwinTransform().build(1), *SwinHyper().build(320, 1))
    assert minnen == pytest.approx(7.03, abs=0.02)
    assert swin == pytest.approx(24.65, abs=0.02)
