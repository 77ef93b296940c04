"""Layers in inference mode have the results that they have in training, up to rounding."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lichen.lab.transforms import convolutions, gdn
from lichen.lab.transforms.blocks import Bottleneck, DepthwiseBlock, conv, deconv
from lichen.lab.transforms.convolutions import winograd


def both_ways(layer: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """As in training, and as in coding."""
    plain = layer(x).detach()
    with torch.inference_mode():
        fast = layer(x)
    return plain, fast.clone()


@pytest.mark.parametrize("shape", [(1, 12, 4, 4), (2, 12, 9, 14), (1, 12, 33, 7), (1, 12, 1, 2)])
@pytest.mark.parametrize("strip", [1, 2**20])
def test_winograd_is_the_convolution(shape, strip, monkeypatch):
    monkeypatch.setattr(convolutions, "_STRIP", strip)
    torch.manual_seed(0)
    layer, x = nn.Conv2d(shape[1], 5, 3, padding=1).requires_grad_(False), torch.randn(shape)
    want = F.conv2d(x.double(), layer.weight.double(), layer.bias.double(), padding=1)
    assert float((winograd(x, layer.weight, layer.bias) - want).abs().max()) < 2e-6
    bare = F.conv2d(x.double(), layer.weight.double(), padding=1)
    assert float((winograd(x, layer.weight, None) - bare).abs().max()) < 2e-6


def test_wide_convolutions_of_large_maps_take_winograds_way(monkeypatch):
    seen = []
    monkeypatch.setattr(convolutions, "winograd", lambda *a: seen.append(a[0].shape) or winograd(*a))
    torch.manual_seed(0)
    plain, fast = both_ways(conv(160, 160, 3, 1), torch.randn(1, 160, 64, 66))
    assert len(seen) == 1
    assert float((plain - fast).abs().max()) < 1e-5
    for channels, side in ((96, 64), (160, 32)):
        both_ways(conv(channels, channels, 3, 1), torch.randn(1, channels, side, side))
    assert len(seen) == 1


@pytest.mark.parametrize("layer", [deconv(6, 3), deconv(6, 4), deconv(6, 5), deconv(6, 3, 3)])
def test_transposed_convolutions_of_few_outputs(layer):
    plain, fast = both_ways(layer, torch.randn(2, 6, 7, 9))
    assert plain.shape == fast.shape == (2, layer.out_channels, 14, 18)
    assert float((plain - fast).abs().max()) < 1e-6


@pytest.mark.parametrize("kind", [gdn.GDN, gdn.IGDN, gdn.GSDN, gdn.IGSDN])
def test_normalisation_in_chunks(kind, monkeypatch):
    monkeypatch.setattr(gdn, "NORMALISATION_CHUNK", 50)
    layer = kind(6)
    with torch.no_grad():
        layer.root_gamma.uniform_(0, 1)
    plain, fast = both_ways(layer, torch.randn(2, 6, 7, 9))
    assert float((plain - fast).abs().max()) < 1e-5


def test_bottlenecks_in_chunks(monkeypatch):
    monkeypatch.setattr("lichen.lab.transforms.blocks.HIDDEN_CHUNK", 50)
    layer, x = Bottleneck(6), torch.randn(2, 6, 7, 9)
    before = copy.deepcopy(x)
    plain, fast = both_ways(layer, x)
    assert float((plain - fast).abs().max()) < 1e-6
    assert torch.equal(x, before)


@pytest.mark.parametrize("layer", [gdn.GDN(6), Bottleneck(6), DepthwiseBlock(6, 3), deconv(6, 3)])
def test_under_autocast_as_in_training(layer):
    x = torch.randn(1, 6, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        plain = layer(x).detach()
        with torch.inference_mode():
            assert torch.equal(layer(x), plain)
