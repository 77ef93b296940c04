"""Counting against sums done by hand, and the tables of `lichen models`."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lichen.evaluation.counts import count, multiply_adds
from lichen.models.transform_configs import ConvHyper, MinnenTransform
from lichen.models.zoo import row
from lichen.transforms.gdn import GDN
from lichen.transforms.swin import Attend


def test_convolutions_by_hand():
    layers = nn.Sequential(
        nn.Conv2d(3, 8, 5, 2, 2), GDN(8), nn.ConvTranspose2d(8, 4, 5, 2, 2, 1), nn.Conv2d(4, 4, 3, groups=4)
    )
    first, up, depthwise = 8 * 8 * 8 * 75, 8 * 8 * 8 * 4 * 25, 14 * 14 * 4 * 9
    assert multiply_adds(layers, torch.zeros(1, 3, 16, 16)) == first + up + depthwise


def test_attention_by_hand():
    attend = Attend(2, 4)
    q = torch.zeros(5, 2, 16, 32)
    assert multiply_adds(attend, q, q, q, torch.zeros(5, 1, 16, 16, dtype=torch.bool)) == 2 * 5 * 2 * 16 * 16 * 32


def test_decoder_of_minnen_is_the_papers():
    """42 kMAC/pixel (spec section 1): synthesis 36.8, hyper synthesis 5.4."""
    with torch.device("meta"):
        _, synthesis = MinnenTransform().build(1)
        _, hyper = ConvHyper().build(192, 1)
        y, z, level = torch.zeros(1, 192, 16, 16), torch.zeros(1, 128, 4, 4), torch.zeros(1)
    made = multiply_adds(synthesis, y, level) + multiply_adds(hyper, z, level)
    assert made / 256**2 == pytest.approx(42_000, rel=0.01)


def test_parts_add_up():
    counts = count(row("lichen-hp").config)
    model = row("lichen-hp").config.build()
    inside = [model.analysis, model.synthesis, model.hyper_analysis, model.prior]
    assert counts.parameters == sum(p.numel() for part in inside for p in part.parameters())
    whole = multiply_adds(model, torch.zeros(1, 3, 256, 256), torch.zeros(1))
    assert counts.encode + counts.synthesis.mac_per_pixel == pytest.approx(whole / 256**2)
