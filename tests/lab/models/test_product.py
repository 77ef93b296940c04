"""Any transform goes with any hyper transform, any prior, one rate or many: a sample, through real files."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lichen.codec import Codec
from lichen.errors import BadCheckpoint
from lichen.lab.models.checkpoint import save_checkpoint
from lichen.lab.models.config import AnyRates, ModelConfig, OneRate, Rates, from_json, to_json
from lichen.lab.models.prior_configs import (
    AnyContext,
    CausalContext,
    CheckerboardContext,
    Context,
    DirectContext,
    FactorizedContext,
    GroupContext,
    LearnedHyperPrior,
    LevelHyperPrior,
    ReferenceContext,
    SliceContext,
)
from lichen.lab.models.transform_configs import (
    AnyHyper,
    AnyTransform,
    ChengHyper,
    ChengTransform,
    ConvHyper,
    ElicTransform,
    FastHyper,
    FastTransform,
    MinnenTransform,
    NoHyper,
    SwinHyper,
    SwinTransform,
)
from lichen.lab.prior.noise import Noise
from lichen.lab.prior.schedules import DualCheckerboard, Quadtree
from lichen.lab.tensors import to_float
from lichen.runtime.level import Level
from tests.small import M, enliven, scene

MANY = Rates(low=0.0003, high=0.01, count=3)
FAST = FastTransform(M, 8, 8, (1, 1), (1, 1))
GROUPS = GroupContext((2, 2, 4, 6, 10), (8, 6))

PRODUCT: list[tuple[AnyTransform, AnyHyper, AnyContext, AnyRates]] = [
    (FAST, NoHyper(), FactorizedContext(), MANY),
    (FAST, ConvHyper(6, (8, 12)), CausalContext(), MANY),
    (FAST, SwinHyper((16, 16), (2, 1)), GROUPS, MANY),
    (MinnenTransform(M, 8), FastHyper(6, 12, 16), Context(DualCheckerboard(), 8, 16), MANY),
    (MinnenTransform(M, 8, subtractive=True), ChengHyper(8), GROUPS, OneRate()),
    (ChengTransform(M, attention=False), ConvHyper(6, (8, 12)), SliceContext(8, 5, (8, 6)), MANY),
    (ChengTransform(M), SwinHyper((16, 16), (2, 1)), ReferenceContext(16), OneRate()),
    (ElicTransform(M, 8), ChengHyper(8), DirectContext(), MANY),
    (ElicTransform(M, 8, 1, attention=False), FastHyper(6, 12, 16), Context(Quadtree(), 8, 16), OneRate()),
    (SwinTransform((8, 8, 8, M), (1, 1, 2, 1), 4), ConvHyper(6, (8, 12)), CheckerboardContext(), MANY),
]


def name_of(part: object) -> str:
    return type(part).__name__


@pytest.mark.parametrize(("transform", "hyper", "context", "rates"), PRODUCT, ids=name_of)
@torch.no_grad()
def test_files_of_the_product(transform, hyper, context, rates, tmp_path):
    torch.manual_seed(0)
    side = LevelHyperPrior() if isinstance(rates, Rates) else LearnedHyperPrior(31)
    config = ModelConfig(transform, hyper, context, rates, side)
    assert from_json(to_json(config)) == config
    model = config.build()
    picture = scene(130, 70)
    enliven(model, to_float(np.asarray(picture)))
    path = tmp_path / "any.safetensors"
    save_checkpoint(path, "lichen", config, model.state_dict(), {})
    codec = Codec(weights=path)
    sizes = []
    trellis = codec.engine.trellis
    for quality in (0, 60):
        data = codec.encode(picture, quality, effort=int(trellis))
        y_hat = codec.decode_latents(data)
        index = Level.of_quality(quality, codec.engine.levels).index
        y, z = codec.engine.latents(np.asarray(picture), index)
        assert torch.equal(codec.engine.write(y, z, index, trellis=trellis)[1], y_hat)
        assert codec.decode(data).size == (130, 70)
        sizes.append(len(data))
    assert (sizes[1] > sizes[0]) == isinstance(rates, Rates)


@pytest.mark.parametrize(("transform", "hyper", "context", "rates"), PRODUCT, ids=name_of)
def test_the_product_trains(transform, hyper, context, rates):
    """Every parameter that can matter gets a gradient from rate and distortion."""
    torch.manual_seed(0)
    model = ModelConfig(transform, hyper, context, rates, LearnedHyperPrior(31)).build()
    with torch.no_grad():
        enliven(model, to_float(np.asarray(scene(64, 64))))
    x = torch.rand(1, 3, 128, 64)
    coded = model(x, torch.tensor([min(0.5, rates.count - 1)]), Noise([0], x.device))
    (coded.bits.sum() / x.numel() + ((coded.x_hat - x) ** 2).mean()).backward()
    without = {name for name, p in model.named_parameters() if p.numel() and p.grad is None}
    assert not without
    assert all(bool(torch.isfinite(p.grad).all()) for p in model.parameters() if p.numel())


def test_a_config_of_unknown_parts_is_refused():
    data = to_json(ModelConfig(FAST, NoHyper(), FactorizedContext(), MANY))
    data["transform"]["kind"] = "NewTransform"
    with pytest.raises(BadCheckpoint, match="NewTransform"):
        from_json(data)
