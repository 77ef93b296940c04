"""Counting against sums done by hand, and the tables of `lichen models`."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lichen.lab.evaluation.counts import count, multiply_adds
from lichen.lab.models.transform_configs import ConvHyper, MinnenTransform
from lichen.lab.models.zoo import row
from lichen.lab.papers import reference_costs
from lichen.lab.transforms.blocks import DepthwiseBlock
from lichen.lab.transforms.gdn import GDN
from lichen.lab.transforms.swin import Attend


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
    """42 kMAC/pixel: synthesis 36.8, hyper synthesis 5.4."""
    with torch.device("meta"):
        _, synthesis = MinnenTransform().build(1)
        _, hyper = ConvHyper().build(192, 1)
        y, z, rate_level = torch.zeros(1, 192, 16, 16), torch.zeros(1, 128, 4, 4), torch.zeros(1)
    made = multiply_adds(synthesis, y, rate_level) + multiply_adds(hyper, z, rate_level)
    assert made / 256**2 == pytest.approx(42_000, rel=0.01)


def test_parts_add_up():
    counts = count(row("lichen-hp").config)
    model = row("lichen-hp").config.build()
    counted = [model.analysis, model.synthesis, model.hyper_analysis, model.prior]
    assert counts.parameters == sum(p.numel() for part in counted for p in part.parameters())
    whole = multiply_adds(model, torch.zeros(1, 3, 256, 256), torch.zeros(1))
    assert counts.encode + counts.synthesis.mac_per_pixel == pytest.approx(whole / 256**2)


def test_global_reference_as_its_paper_counts():
    """Table 2 but for the parameter networks, whose inputs differ; with theirs, Table 3 at every size."""
    found = {line.name: line for line in reference_costs.lines(row("global-reference").config)}
    for name in ("encoder", "decoder", "hyper encoder", "hyper decoder", "context model", "reference model"):
        assert found[name].ours == pytest.approx(found[name].paper, rel=2e-3)
    more = found["parameter networks"].ours - found["parameter networks"].paper
    pixels = {"240p": 320 * 240, "512x768": 512 * 768, "1080p": 1920 * 1080, "4k": 4096 * 2304}
    for name, count_ in pixels.items():
        line = found[f"entropy model, {name}"]
        theirs = line.ours - more * count_ / (512 * 768)
        assert theirs == pytest.approx(line.paper, rel=1e-3)
        assert line.our_share * line.ours / theirs == pytest.approx(line.paper_share, rel=5e-3)


def test_parameters_of_the_librarys_elic():
    """32.1 M: 32 073 624 without the quantiles of its density."""
    config = row("elic-library").config
    model = config.build()
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(32_073_624, abs=1000)


@pytest.mark.parametrize("fast", [False, True])
def test_a_block_is_counted_whole(fast):
    """Also where inference mode is on and it would go the way in chunks, some of whose products are not counted."""
    block = DepthwiseBlock(16, 3)
    with torch.inference_mode(fast):
        assert multiply_adds(block, torch.zeros(1, 16, 8, 8)) == 64 * (16 * 9 + 2 * 2 * 16 * 16)
