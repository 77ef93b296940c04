"""Fixed point in single precision: integers whatever library sums them, and never bfloat16."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lichen.errors import BadCheckpoint
from lichen.lab.fixed_point import float32
from lichen.lab.fixed_point.convert import to_fixed_point
from lichen.lab.fixed_point.float32 import MAX, Float32Depthwise, Float32Pointwise, careful_sums, coarse, stepped
from lichen.lab.fixed_point.grid import round_to_grid
from lichen.lab.transforms.blocks import LevelTable, Pointwise, zero_
from tests.laws.laws import threads


class Net(nn.Sequential):
    """Layers of which files compute in single precision."""

    float32 = True


def wild(channels: int) -> torch.Tensor:
    """(2, C, 9, 8) on the grid, pixels of very different sizes."""
    sizes = 2.0 ** torch.randint(-9, 9, (2, 1, 9, 8))
    return round_to_grid(torch.randn(2, channels, 9, 8) * sizes).float()


def in_double(fixed: Float32Pointwise | Float32Depthwise, x: torch.Tensor) -> torch.Tensor:
    """What a fixed-point layer should give: its rounded inputs, summed and rounded in float64."""
    if isinstance(fixed, Float32Pointwise):
        seen = coarse(x.permute(0, 2, 3, 1), fixed.coarseness).permute(0, 3, 1, 2)
        total = F.conv2d(seen.double(), fixed.weight.double())
        bias = -fixed.minus_offset.double()[:, None, None] - float32.ROUNDER
    else:
        seen = (x.clamp(-128, 128) + fixed.rounder) - fixed.rounder
        side = fixed.padding[0]
        padded = F.pad(seen.double(), (side,) * 4, fixed.fill)
        total = F.conv2d(padded, fixed.weight.double(), groups=x.shape[1])
        bias = -fixed.minus_offset.double() - float32.ROUNDER
    return (torch.round((total + bias) * 4096) / 4096).clamp(-MAX, MAX)


def peaked() -> Net:
    """A layer with few large weights, as trained ones are: its inputs keep more bits than bfloat16 has."""
    torch.manual_seed(0)
    layer = Pointwise(320, 128)
    with torch.no_grad():
        layer.weight.pow_(5).mul_(1e5)
    return Net(layer)


LAYERS = [
    Pointwise(320, 128),
    Pointwise(7, 5, bias=False),
    zero_(Pointwise(6, 4)),
    nn.Conv2d(128, 128, 5, padding=2, groups=128),
    nn.Conv2d(16, 16, 3, padding=1, groups=16, padding_mode="replicate"),
]


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_sums_are_exact(layer, count):
    torch.manual_seed(0)
    fixed, x = to_fixed_point(Net(layer))[0], wild(layer.in_channels)
    assert isinstance(fixed, Float32Pointwise | Float32Depthwise)
    with threads(count):
        assert torch.equal(fixed(x).double(), in_double(fixed, x))
    near = x.clamp(-8, 8)
    assert float((fixed(near) - layer(near)).detach().abs().max()) < 0.15


def test_the_largest_sums_are_exact():
    """All of one sign and as large as may be: the last bit of 24 counts."""
    layer = Pointwise(256, 8)
    with torch.no_grad():
        layer.weight.fill_(511 / 512)
        layer.weight[:, 0] = 1 / 512
    fixed = to_fixed_point(Net(layer))[0]
    x = torch.full((1, 256, 4, 4), 1024 - 2.0**-12)
    x[:, 0] = 1.0
    seen = coarse(x.permute(0, 2, 3, 1), fixed.coarseness).permute(0, 3, 1, 2)
    total = float32._sums(seen, fixed.weight)
    assert torch.equal(total.double(), F.conv2d(seen.double(), fixed.weight.double()))
    step = 2.0 ** (10 - 24) * float(fixed.coarseness) / 1.5 / 512
    assert 2**23 < float(total.max()) / step <= 2**24


@pytest.mark.parametrize("largest", [0.999, 1.0, 3.0, 700.0])
def test_each_pixel_is_rounded_by_itself(largest):
    x = torch.randn(50, 64)
    x[:, 3] = largest
    steps = (x.abs().amax(dim=1).frexp().exponent + 12 - 24).double().exp2()[:, None]
    assert torch.equal(coarse(x, torch.tensor(1.5 * 2.0**12)).double(), torch.round(x.double() / steps) * steps)
    assert torch.equal(coarse(x, torch.tensor(1.5 * 2.0**12))[7], coarse(x[7:8], torch.tensor(1.5 * 2.0**12))[0])


def test_weights_have_nine_bits_and_sums_their_bound():
    rows = torch.tensor([[511.4, -3.0], [511.6, 1.0], [0.0, 0.0], [1e-20, 1e-21], [204.8, 102.4]])
    found, bits = stepped((rows[:, :, None, None] / 8).numpy())
    assert (8 * found).reshape(5, 2).tolist()[:4] == [[511, -3], [512, 0], [0, 0], [0, 0]]  # 1/8 is half a second step
    assert bits.tolist() == [10, 8, 2, 2, 10]
    assert all(2**b >= s for b, s in zip(bits, [514, 256, 0, 0, 410 + 205], strict=True))


def test_rows_are_some_of_all():
    layer = Pointwise(12, 9)
    fixed, rows = to_fixed_point(Net(layer))[0], torch.tensor([1, 4, 8])
    x = wild(12)
    points = fixed.prepared(x[:1]).permute(0, 2, 3, 1).flatten(1, 2)
    some = fixed.rows(points, rows)
    assert torch.equal(some, fixed(x[:1]).permute(0, 2, 3, 1).flatten(1, 2)[:, :, rows])


def test_results_are_clamped_and_activations_on_the_grid():
    layer = Pointwise(1, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([1.0, -1.0])[:, None, None, None])
        layer.bias.zero_()
    huge = torch.full((1, 1, 1, 1), 1e6)
    assert to_fixed_point(Net(layer))(huge).flatten().tolist() == [MAX, -MAX]
    y = to_fixed_point(Net(nn.LeakyReLU(0.125)))(wild(3))
    assert torch.equal(y, torch.round(y.double() * 4096).float() / 4096)
    assert (
        to_fixed_point(Net(nn.LeakyReLU(0.125)))(torch.tensor([1800.0, -1800.0])) == torch.tensor([1800.0, -225.0])
    ).all()
    table = to_fixed_point(Net(LevelTable(torch.randn(8, 4))))[0]
    assert table(torch.tensor([2.3])).dtype == torch.float32


@pytest.mark.parametrize(
    "layer",
    [nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 1, stride=2), nn.ConvTranspose2d(4, 4, 5), nn.LeakyReLU(0.01)],
    ids=["dense", "strided", "transposed", "slope"],
)
def test_other_layers_are_refused(layer):
    with pytest.raises(BadCheckpoint):
        to_fixed_point(Net(layer))


@pytest.mark.parametrize(("what", "value"), [("weight", np.nan), ("weight", 128), ("bias", np.nan), ("bias", np.inf)])
def test_weights_beyond_all_use_are_refused(what, value):
    layer = Pointwise(2, 2)
    with torch.no_grad():
        getattr(layer, what)[0] = value
    with pytest.raises(BadCheckpoint, match="damaged"):
        to_fixed_point(Net(layer))


def test_bfloat16_does_not_get_in():
    """Under autocast convolutions of float32 are made in bfloat16: sums go on in float64, or leave it."""
    fixed, x = to_fixed_point(peaked())[0], wild(320)
    plain = fixed(x)
    with torch.autocast("cpu", torch.bfloat16):
        seen = coarse(x.permute(0, 2, 3, 1), fixed.coarseness).permute(0, 3, 1, 2)
        assert not torch.equal(F.conv2d(seen, fixed.weight).double(), F.conv2d(seen.double(), fixed.weight.double()))
        assert torch.equal(fixed(x), plain)
        with careful_sums():
            assert torch.equal(fixed(x), plain)


def rough(values: torch.Tensor) -> torch.Tensor:
    return values.bfloat16().to(values.dtype)


@pytest.mark.parametrize(
    "taken",
    [
        lambda x, w, groups: (rough(x), rough(w)),
        lambda x, w, groups: (x, rough(w)),
        lambda x, w, groups: (rough(x) if groups > 1 else x, w),
        lambda x, w, groups: (rough(x), w) if x.numel() > 20480 and groups == 1 else (x, w),
    ],
    ids=["all", "weights", "depthwise", "large"],
)
def test_a_library_that_rounds_is_noticed(taken, monkeypatch):
    """Convolutions that take what they see as bfloat16, whoever told them to: sums go on in float64."""
    modules = [to_fixed_point(net)[0] for net in (peaked(), Net(nn.Conv2d(320, 320, 3, padding=1, groups=320)))]
    x, real = wild(320), F.conv2d
    plain = [fixed(x) for fixed in modules]

    def library(x: torch.Tensor, weight: torch.Tensor, *rest: Any, groups: int = 1) -> torch.Tensor:
        if x.dtype == torch.float32:
            x, weight = taken(x, weight, groups)
        return real(x, weight, *rest, groups=groups)

    with careful_sums():  # by the library as it is: what is true of the machine is known
        pass
    monkeypatch.setattr(F, "conv2d", library)
    assert not all(torch.equal(fixed(x), right) for fixed, right in zip(modules, plain, strict=True))
    with careful_sums():
        assert all(torch.equal(fixed(x), right) for fixed, right in zip(modules, plain, strict=True))


def test_probes_are_as_large_as_sums_may_be():
    """And all are right here, at any number of threads: nothing is slow without need."""
    for x, weight, groups, sums in float32._probes():
        assert float(sums.abs().max()) > 2**19
        most = F.conv2d(x.double().abs(), weight.double().abs(), groups=groups).max()
        assert float(most) <= 2**24
        assert float(weight.abs().max()) >= 509
    for count in (1, 2):
        with threads(count), careful_sums():
            assert not float32._in_double.get()


def test_small_maps_go_to_the_library_channels_last(monkeypatch):
    """On ARM the library sums planes of 3 x 3 by Winograd, and its sums are then not of integers.

    On other machines no result shows it, so what the library is given is looked at. A map of one position, whose
    layouts cannot be told apart, must be of several when it gets there.
    """
    fixed = to_fixed_point(Net(nn.Conv2d(8, 8, 3, padding=1, groups=8, padding_mode="replicate")))[0]
    seen, real = [], F.conv2d

    def library(x: torch.Tensor, *rest: Any, **named: Any) -> torch.Tensor:
        seen.append(x.is_contiguous())
        return real(x, *rest, **named)

    monkeypatch.setattr(F, "conv2d", library)
    fixed(torch.randn(1, 1, 1, 8).permute(0, 3, 1, 2))
    fixed(torch.randn(1, 8, 4, 4))
    assert seen == [False, False]
