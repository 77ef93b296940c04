"""Fixed point in single precision: integers whatever library sums them, and never bfloat16."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lichen.errors import BadCheckpoint
from lichen.prior import single
from lichen.prior.exact import freeze, snap
from lichen.prior.single import MAX, SingleDepthwise, SinglePointwise, careful_sums, coarse, stepped
from lichen.transforms.blocks import LevelTable, Pointwise, zero_
from tests.laws.test_laws import threads


class Net(nn.Sequential):
    """Layers of which files compute in single precision."""

    single = True


def wild(channels: int) -> torch.Tensor:
    """(2, C, 9, 8) on the grid, pixels of very different sizes."""
    sizes = 2.0 ** torch.randint(-9, 9, (2, 1, 9, 8))
    return snap(torch.randn(2, channels, 9, 8) * sizes).float()


def in_double(twin: SinglePointwise | SingleDepthwise, x: torch.Tensor) -> torch.Tensor:
    """What the twin should give: its own rounded inputs, summed and rounded in float64."""
    if isinstance(twin, SinglePointwise):
        seen = coarse(x.permute(0, 2, 3, 1), twin.sum_bits).permute(0, 3, 1, 2)
        total = F.conv2d(seen.double(), twin.weight.double())
        bias = twin.offset.double()[:, None, None] - single.ROUNDER
    else:
        seen = (x.clamp(-128, 128) + twin.rounder) - twin.rounder
        side = twin.padding[0]
        padded = F.pad(seen.double(), (side,) * 4, twin.fill)
        total = F.conv2d(padded, twin.weight.double(), groups=x.shape[1])
        bias = twin.offset.double() - single.ROUNDER
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
    twin, x = freeze(Net(layer))[0], wild(layer.in_channels)
    assert isinstance(twin, SinglePointwise | SingleDepthwise)
    with threads(count):
        assert torch.equal(twin(x).double(), in_double(twin, x))
    near = x.clamp(-8, 8)
    assert float((twin(near) - layer(near)).detach().abs().max()) < 0.15


def test_the_largest_sums_are_exact():
    """All of one sign and as large as may be: the last bit of 24 counts."""
    layer = Pointwise(256, 8)
    with torch.no_grad():
        layer.weight.fill_(511 / 512)
        layer.weight[:, 0] = 1 / 512
    twin = freeze(Net(layer))[0]
    x = torch.full((1, 256, 4, 4), 1024 - 2.0**-12)
    x[:, 0] = 1.0
    seen = coarse(x.permute(0, 2, 3, 1), twin.sum_bits).permute(0, 3, 1, 2)
    total = single._sums(seen, twin.weight)
    assert torch.equal(total.double(), F.conv2d(seen.double(), twin.weight.double()))
    step = 2.0 ** (10 + twin.sum_bits - 24) / 512
    assert 2**23 < float(total.max()) / step <= 2**24


@pytest.mark.parametrize("largest", [0.999, 1.0, 3.0, 700.0])
def test_each_pixel_is_rounded_by_itself(largest):
    x = torch.randn(50, 64)
    x[:, 3] = largest
    steps = (x.abs().amax(dim=1).frexp().exponent + 12 - 24).double().exp2()[:, None]
    assert torch.equal(coarse(x, 12).double(), torch.round(x.double() / steps) * steps)
    assert torch.equal(coarse(x, 12)[7], coarse(x[7:8], 12)[0])


def test_weights_have_nine_bits_and_sums_their_bound():
    weight = torch.tensor([[511.4, -3.0], [511.6, 1.0], [0.0, 0.0], [0.2, 0.1]])[:, :, None, None]
    found, bits = stepped(weight)
    assert found.flatten(1).tolist()[:3] == [[511, -3], [512, 0], [0, 0]]  # 1 is half a step of the second
    assert bits == [10, 8, 2, 10]
    assert all(2**b >= s for b, s in zip(bits, [514, 256, 0, 410 + 205], strict=True))


def test_rows_are_some_of_all():
    layer = Pointwise(12, 9)
    twin, rows = freeze(Net(layer))[0], torch.tensor([1, 4, 8])
    x = wild(12)
    points = x[:1].permute(0, 2, 3, 1).flatten(1, 2)
    some = twin.rows(points, rows)
    assert some.dtype == torch.float64
    assert torch.equal(some, twin(x[:1]).permute(0, 2, 3, 1).flatten(1, 2)[:, :, rows].double())


def test_results_are_clamped_and_activations_on_the_grid():
    layer = Pointwise(1, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([1.0, -1.0])[:, None, None, None])
        layer.bias.zero_()
    huge = torch.full((1, 1, 1, 1), 1e6)
    assert freeze(Net(layer))(huge).flatten().tolist() == [MAX, -MAX]
    y = freeze(Net(nn.LeakyReLU(0.125)))(wild(3))
    assert torch.equal(y, torch.round(y.double() * 4096).float() / 4096)
    assert (freeze(Net(nn.LeakyReLU(0.125)))(torch.tensor([1800.0, -1800.0])) == torch.tensor([1800.0, -225.0])).all()
    table = freeze(Net(LevelTable(torch.randn(8, 4))))[0]
    assert table(torch.tensor([2.3])).dtype == torch.float32


@pytest.mark.parametrize(
    "layer",
    [nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 1, stride=2), nn.ConvTranspose2d(4, 4, 5), nn.LeakyReLU(0.01)],
    ids=["dense", "strided", "transposed", "slope"],
)
def test_other_layers_are_refused(layer):
    with pytest.raises(BadCheckpoint):
        freeze(Net(layer))


def test_weights_that_are_not_finite_are_refused():
    layer = Pointwise(2, 2)
    with torch.no_grad():
        layer.weight[0, 0] = np.nan
    with pytest.raises(BadCheckpoint, match="not finite"):
        freeze(Net(layer))


def test_bfloat16_does_not_get_in():
    """Under autocast float32 convolutions are made in bfloat16: careful sums are what they are without."""
    twin, x = freeze(peaked())[0], wild(320)
    plain = twin(x)
    with torch.autocast("cpu", torch.bfloat16):
        assert not torch.equal(twin(x).float(), plain)
        with careful_sums():
            assert torch.equal(twin(x), plain)


def test_a_library_that_rounds_is_noticed(monkeypatch):
    """A convolution that takes its inputs as bfloat16, whoever told it to: sums go on in float64."""
    twin, x, real = freeze(peaked())[0], wild(320), F.conv2d
    plain = twin(x)

    def rough(x: torch.Tensor, weight: torch.Tensor, *rest: object, **more: object) -> torch.Tensor:
        return real(x.bfloat16().to(x.dtype) if x.dtype == torch.float32 else x, weight, *rest, **more)

    monkeypatch.setattr(F, "conv2d", rough)
    assert not torch.equal(twin(x), plain)
    with careful_sums():
        assert torch.equal(twin(x), plain)
