"""Fixed-point modules beside plain convolutions, against naive integers and against floats."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch
from torch import nn

from lichen.errors import BadCheckpoint
from lichen.lab.fixed_point.convert import to_fixed_point
from lichen.lab.fixed_point.functions import function_table, look_up
from lichen.lab.fixed_point.grid import ROUNDER, round_to_grid
from lichen.lab.prior.entropy_parameters import EntropyParameters
from lichen.lab.prior.masked import MaskedConv, causal, checkerboard, neighbours
from lichen.lab.prior.reference import Confidence, LogMean, Search
from lichen.lab.prior.sources import HalfTanh


def grid(*shape: int, spread: float = 3.0) -> torch.Tensor:
    return round_to_grid(torch.randn(*shape).double() * spread)


@pytest.mark.parametrize(
    "conv",
    [
        nn.ConvTranspose2d(5, 4, 5, stride=2, padding=2, output_padding=1),
        nn.ConvTranspose2d(5, 4, 3, padding=1),
        nn.ConvTranspose2d(5, 4, 4, stride=2, padding=1, bias=False),
        nn.ConvTranspose2d(5, 4, 3, stride=3),
        nn.ConvTranspose2d(5, 4, (3, 5), stride=(1, 3), padding=(1, 0), output_padding=(0, 2)),
    ],
    ids=["hyper", "stride 1", "even", "apart", "uneven"],
)
def test_transposed_convolution_is_the_integer_one(conv):
    torch.manual_seed(0)
    fixed, x = to_fixed_point(nn.Sequential(conv))[0], grid(2, 5, 6, 7)
    weight = (fixed.taps.permute(2, 3, 0, 1) * 2**14).long()
    units = nn.functional.conv_transpose2d(
        (x * 2**12).long(), weight, None, conv.stride, conv.padding, conv.output_padding
    )
    assert torch.equal(fixed(x), round_to_grid(units.double() * 2.0**-26 + (fixed.offset - ROUNDER)[:, None, None]))
    assert float((fixed(x) - conv(x.float()).detach()).abs().max()) < 0.01


def test_transposed_convolutions_that_could_overflow_are_refused():
    conv = nn.ConvTranspose2d(60000, 1, 2)
    with torch.no_grad():
        conv.weight.fill_(1.99)
    with pytest.raises(BadCheckpoint, match="exact"):
        to_fixed_point(nn.Sequential(conv))


@pytest.mark.parametrize("mask", [causal(5), checkerboard(5), causal(3, centre=True)])
def test_masked_convolution_and_its_fixed_point_module_see_the_open_taps_only(mask):
    torch.manual_seed(0)
    conv = MaskedConv(3, 4, mask)
    plain = nn.functional.conv2d(torch.ones(1, 3, 9, 9), conv.weight * mask, conv.bias, padding=len(mask) // 2)
    assert torch.allclose(conv(torch.ones(1, 3, 9, 9))[0].t().view(4, 9, 9), plain[0], atol=1e-5)
    x, positions = grid(2, 3, 6, 7), torch.tensor([0, 5, 17, 41])
    fixed = conv.fixed_point()
    assert float((fixed(x) - conv(x.float()).detach()).abs().max()) < 0.01
    assert torch.equal(fixed(x, positions), fixed(x)[:, positions])
    flat = torch.cat([x.permute(0, 2, 3, 1).flatten(1, 2), torch.zeros(2, 1, 3).double()], dim=1)
    index = neighbours(mask, 6, 7)
    assert torch.equal(fixed.gathered(flat, index), fixed(x))
    assert torch.allclose(conv.gathered(flat.float(), index), conv(x.float()), atol=1e-5)


def test_functions_are_frozen_and_right():
    stored = b"".join(
        function_table(name, 12).numpy().tobytes() for name in ("half_tanh", "log_mean", "tail", "halving")
    )
    assert hashlib.sha256(stored).hexdigest() == "31f5212ee36473941f004b93e8be35f2a23886ead611e3bb2f6636d9e2ffa4b2"
    x = round_to_grid(torch.linspace(0, 15, 1000).double())
    assert float((look_up("half_tanh", x) - torch.tanh(x) / 2).abs().max()) <= 2**-13
    assert float((look_up("tail", x, 24) - torch.erfc(x / 2**0.5) / 2).abs().max()) <= 2**-25 + 1e-12


def test_modules_of_functions_are_near_the_floats():
    torch.manual_seed(0)
    x, y = grid(1000), grid(1000)
    assert torch.equal(HalfTanh().fixed_point()(x), -HalfTanh().fixed_point()(-x))
    for module, arguments in ((HalfTanh(), (x,)), (LogMean(), (x, y))):
        assert float((module.fixed_point()(*arguments) - module(*arguments)).abs().max()) < 3e-4
    parameters = EntropyParameters(grid(2, 50, 8), grid(2, 50, 8, spread=1.5))
    y_hat = torch.round(parameters.mean + grid(2, 50, 8, spread=1))
    rough, exact = Confidence()(y_hat, parameters), Confidence().fixed_point()(y_hat, parameters)
    assert float((rough - exact).abs().max()) < 1e-3 and float(exact.max()) > 0.2


def test_the_search_finds_a_planted_copy():
    torch.manual_seed(0)
    plane = torch.randint(-4, 5, (10, 12, 6)).double()
    plane[7:9, 5:9] = plane[2:4, 1:5]
    flat = torch.cat([plane.flatten(0, 1), torch.zeros(1, 6).double()])
    winners, similarities = Search(flat, 10, 12).block(torch.arange(120))
    assert int(winners[8 * 12 + 7]) == 3 * 12 + 3 and float(similarities[8 * 12 + 7]) == 1
    assert all(int(winner) < position for position, winner in enumerate(winners) if similarities[position] > 0)
    steps = Search(flat, 10, 12)
    alone = [steps.next() for _ in range(120)]
    assert torch.equal(torch.cat([s for _, s in alone]), similarities)
    assert np.array_equal(torch.cat([w for w, _ in alone])[1:], winners[1:])
