"""Fixed-point modules of Swin's layers: near the float layers, and the same however they are computed."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lichen.lab.fixed_point.convert import to_fixed_point
from lichen.lab.fixed_point.grid import round_to_grid
from lichen.lab.models.transform_configs import SwinHyper
from lichen.lab.transforms.swin import ChannelNorm, WindowAttention
from tests.laws.laws import threads


def lively(module: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    for parameter in module.parameters():
        fan = parameter[0].numel() if parameter.dim() > 1 else 4
        nn.init.normal_(parameter, std=fan**-0.5)
    return module


@pytest.mark.parametrize(
    ("layer", "tolerance"),
    [
        (nn.Sequential(nn.GELU()), 2e-4),
        (nn.Sequential(ChannelNorm(64)), 5e-4),
        (nn.Sequential(WindowAttention(64, 4, False)), 5e-3),
        (nn.Sequential(WindowAttention(64, 4, True)), 5e-3),
    ],
)
@torch.no_grad()
def test_modules_are_near(layer, tolerance):
    exact = to_fixed_point(lively(layer))
    x = round_to_grid(torch.randn(1, 64, 6, 9))
    out = exact(x)
    assert torch.equal(out, round_to_grid(out))
    assert float((out - layer.double()(x)).abs().max()) < tolerance


@torch.no_grad()
def test_far_values_do_no_harm():
    x = round_to_grid(torch.tensor([-2047.0, -9.0, -1.0, 0.0, 1.0, 9.0, 2047.0])).view(1, 1, 1, 7)
    assert torch.allclose(to_fixed_point(nn.Sequential(nn.GELU()))(x), nn.functional.gelu(x), atol=2e-4)
    wide = to_fixed_point(lively(nn.Sequential(WindowAttention(32, 4, False))))(
        round_to_grid(torch.randn(1, 32, 4, 4) * 1000)
    )
    assert bool(torch.isfinite(wide).all())


@torch.no_grad()
def test_a_whole_hyper_synthesis_is_the_same_in_any_order():
    synthesis = lively(SwinHyper((64, 64), (2, 2)).build(24, 1)[1])
    exact, rate_level = to_fixed_point(synthesis), torch.zeros(1)
    z = torch.round(torch.randn(1, 64, 3, 2) * 4).double()
    out = exact(z, rate_level)
    assert float((out - synthesis.double()(z, rate_level)).abs().max()) < 0.02 * float(out.abs().max())
    for count in (2, 7):
        with threads(count):
            assert torch.equal(exact(z, rate_level), out)
    assert torch.equal(exact(torch.cat([z + 1, z]), rate_level)[1], out[0])
    assert torch.equal(exact(z.contiguous(memory_format=torch.channels_last), rate_level), out)
