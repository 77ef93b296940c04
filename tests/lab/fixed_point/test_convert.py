"""Fixed point: exact under any order of summation, close to floats, and refusing what it cannot do."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lichen.errors import BadCheckpoint
from lichen.lab.fixed_point.convert import to_fixed_point
from lichen.lab.fixed_point.grid import ACTIVATION_MAX, ROUNDER, round_to_grid
from lichen.lab.fixed_point.layers import FixedPointConv, FixedPointLeakyReLU
from lichen.lab.transforms.blocks import LevelTable, Pointwise


def integers(module: FixedPointConv, x: torch.Tensor) -> torch.Tensor:
    """A naive convolution in Python-sized integers: the reference."""
    bits = 14
    weight = (module.weight * 2**bits).long()
    assert torch.equal(weight.double() / 2**bits, module.weight)
    activations = (x * 2**12).long()
    total = torch.nn.functional.conv2d(activations, weight, None, module.stride, module.padding, groups=module.groups)
    exact = total.double() * 2.0 ** -(bits + 12) + (module.offset - ROUNDER)[:, None, None]
    return round_to_grid(exact)


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(5, 7, 3, padding=1),
        nn.Conv2d(5, 7, (3, 5), padding=(0, 1)),
        nn.Conv2d(5, 7, 5, stride=2, padding=2),
        nn.Conv2d(4, 6, 3, groups=2),
        nn.Conv2d(6, 6, 5, padding=2, groups=6),
        nn.Conv2d(1, 1, 3, padding=1),
        Pointwise(5, 9),
    ],
    ids=["dense", "uneven", "strided", "grouped", "depthwise", "single", "pointwise"],
)
def test_convolution_is_the_integer_one(conv):
    torch.manual_seed(0)
    fixed = to_fixed_point(nn.Sequential(conv))[0]
    x = round_to_grid(torch.randn(2, conv.in_channels, 9, 8).double() * 50)
    assert torch.equal(fixed(x), integers(fixed, x))
    assert float((fixed(x) - conv(x.float()).detach().double()).abs().max()) < 0.1


@pytest.mark.parametrize("shape", [(1, 5, 30, 1), (2, 5, 1, 30)])
def test_points_that_lie_as_columns_or_rows(shape):
    fixed = to_fixed_point(nn.Sequential(Pointwise(5, 9)))[0]
    x = (
        round_to_grid(torch.randn(shape[0], shape[2] * shape[3], shape[1]).double())
        .permute(0, 2, 1)
        .unflatten(2, shape[2:])
    )
    assert torch.equal(fixed(x), integers(fixed, x))


def test_inputs_beyond_the_range_are_clamped():
    fixed = to_fixed_point(nn.Sequential(nn.Conv2d(1, 1, 1)))[0]
    huge, top = torch.full((1, 1, 1, 1), 1e9).double(), torch.full((1, 1, 1, 1), ACTIVATION_MAX).double()
    assert torch.equal(fixed(huge), fixed(top))


def test_leaky_relu_and_rounding_are_on_the_grid():
    x = torch.randn(1000).double()
    y = FixedPointLeakyReLU(nn.LeakyReLU(0.01))(x)
    assert torch.equal(y * 2**12, torch.round(y * 2**12))
    assert float(round_to_grid(torch.tensor([0.5 / 4096, 1.5 / 4096]).double())[0]) == 0  # half to even
    assert float(round_to_grid(torch.tensor([1.5 / 4096]).double()) * 4096) == 2


def test_large_weights_take_a_coarser_grid():
    conv = nn.Conv2d(1, 1, 1)
    with torch.no_grad():
        conv.weight.fill_(100.0)
    fixed = to_fixed_point(nn.Sequential(conv))[0]
    assert float(fixed.weight) == 100.0


def test_interpolation_of_levels_is_exact_in_any_grouping():
    table = to_fixed_point(nn.Sequential(LevelTable(torch.randn(8, 4) * 5)))[0]
    rate_level = torch.arange(0, 3585).double() / 512
    values = table(rate_level)[:, :, 0, 0]
    assert torch.equal(values * 2**21, torch.round(values * 2**21))
    assert torch.equal(values[::512], table.table)


@pytest.mark.parametrize("layer", [nn.Tanh(), nn.Conv2d(2, 2, 3, padding_mode="reflect", padding=1), nn.GELU("tanh")])
def test_layers_without_a_fixed_point_module_are_refused(layer):
    with pytest.raises(BadCheckpoint):
        to_fixed_point(nn.Sequential(layer))


def test_weights_that_could_overflow_are_refused():
    conv = nn.Conv2d(60000, 1, 1)
    with torch.no_grad():
        conv.weight.fill_(1.99)
    with pytest.raises(BadCheckpoint, match="exact"):
        to_fixed_point(nn.Sequential(conv))
    with torch.no_grad():
        conv.weight.fill_(torch.nan)
    with pytest.raises(BadCheckpoint, match="finite"):
        to_fixed_point(nn.Sequential(conv))
