"""Small models of every row: the same composition at widths that a test can afford, with lively weights."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from lichen.coding.scales import SCALES
from lichen.lab.models import prior_configs as priors
from lichen.lab.models import transform_configs as transforms
from lichen.lab.models.checkpoint import save_checkpoint
from lichen.lab.models.config import ModelConfig, MsSsimRates, Rates
from lichen.lab.models.model import Model
from lichen.lab.models.zoo import Row
from lichen.lab.post_filter.filters import PostFilter
from lichen.lab.prior.context import HyperAndLocal, HyperOnly, ParallelModel
from lichen.lab.prior.factorized import FactorizedModel
from lichen.lab.prior.prior import Prior
from lichen.lab.prior.reference import ReferenceModel
from lichen.lab.prior.sources import Direct, Neighbourhood, Slice
from lichen.lab.prior.staged import StagedModel
from lichen.lab.tensors import to_float
from lichen.lab.transforms.blocks import RateIndependent

M = 24  # latents of every small model

_FIELDS: dict[type, dict[str, Any]] = {
    transforms.FastTransform: {
        "latents": M,
        "fine": 8,
        "coarse": 8,
        "encoder_depth": (1, 1),
        "decoder_depth": (1, 1),
        "encoder_dense": 1,
        "decoder_dense": 1,
    },
    transforms.MinnenTransform: {"latents": M, "width": 8},
    transforms.ChengTransform: {"latents": M},
    transforms.ElicTransform: {"latents": M, "width": 8},
    transforms.SwinTransform: {"widths": (8, 8, 8, M), "depths": (1, 1, 2, 1), "window": 4},
    transforms.FastHyper: {"hyper_latents": 6, "width": 12, "features": 16},
    transforms.ChengHyper: {"hyper_latents": 8},
    transforms.SwinHyper: {"widths": (8, 8), "depths": (2, 1)},
    priors.Context: {"local": 8, "hidden": 16},
    priors.GroupContext: {"groups": (2, 2, 4, 6, 10), "widths": (8, 6)},
    priors.SliceContext: {"slices": 8, "widths": (8, 6)},
    priors.LearnedHyperPrior: {"radius": 31},
    priors.ReferenceContext: {"hidden": 16},
    transforms.Filter: {"count": 6, "side": 3},
    Rates: {"low": 0.0003, "high": 0.01, "count": 3},
    MsSsimRates: {"low": 0.6, "high": 17.0, "count": 3},
}


def _narrow(config: Any) -> Any:
    if isinstance(config, priors.Context):
        config = dataclasses.replace(config, adaptation=min(config.adaptation, 12))
    if isinstance(config, priors.GroupContext):
        config = dataclasses.replace(config, least=min(config.least, 20))
    return dataclasses.replace(config, **_FIELDS.get(type(config), {}))


def _hyper(config: transforms.AnyHyper) -> transforms.AnyHyper:
    """With a given number of features: M for scales alone, otherwise any other."""
    if not isinstance(config, transforms.ConvHyper):
        return _narrow(config)
    features = None if config.features is None else M if config.magnitude else 16
    return dataclasses.replace(config, hyper_latents=6, inner=(8, 12), features=features)


def small(config: ModelConfig) -> ModelConfig:
    """The same composition at small widths."""
    return dataclasses.replace(
        config,
        transform=_narrow(config.transform),
        hyper=_hyper(config.hyper),
        context=_narrow(config.context),
        rates=_narrow(config.rates),
        hyper_prior=_narrow(config.hyper_prior),
        post_filter=None if config.post_filter is None else _narrow(config.post_filter),
    )


def scene(width: int, height: int, seed: int = 0) -> Image.Image:
    """A picture with edges, slopes and some noise."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:height, 0:width]
    planes = [
        128 + 60 * np.sin(columns / (5 + 7 * c)) * np.cos(rows / (9 + c)) + 40 * (rows > columns) for c in range(3)
    ]
    pixels = np.stack(planes, axis=2) + rng.normal(0, 6, (height, width, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


@torch.no_grad()
def small_checkpoint(row: Row, folder: Path, seed: int = 0) -> Path:
    """Random weights of a small model, with scales about as large as its latents at the highest level."""
    torch.manual_seed(seed)
    config = small(row.config)
    model = config.build()
    picture = to_float(np.asarray(scene(192, 128)))
    (_enliven_ours if isinstance(config.context, priors.Context) else enliven)(model, picture)
    if model.post_filter is not None:
        learned(model.post_filter)
        model.gains.backward_log.table -= 0.15  # pictures come out pale: filters pay
    path = folder / f"{row.name}.safetensors"
    save_checkpoint(path, row.name, config, model.state_dict(), {"steps": 0})
    return path


@torch.no_grad()
def learned(principal: PostFilter) -> None:
    """Filters: the first of contrast, the others by chance, of which the last is never used."""
    middle = principal.side // 2
    principal.filters.normal_(std=0.1)
    for colour in range(3):
        principal.filters[colour, colour] = 0
        principal.filters[colour, colour, middle, middle] = 1
    principal.offsets.normal_(std=0.3)
    principal.offsets[0] = -0.5
    principal.steps.fill_(-8)
    principal.raw_scales.fill_(1.5)
    principal.raw_scales[:, -1] = -9


def _enliven_ours(model: Model, picture: Tensor) -> None:
    """Latents are lively, as the transform starts as a DCT. The last channel is always skipped."""
    y = model.analyse(picture, torch.tensor([2.0]))
    raw_scale = torch.log2(y.std(dim=(0, 2, 3))).clamp(-2, 7)
    raw_scale[-1] = -4
    for source in model.prior.context.sources:
        last = source.predict
        last.weight.normal_(std=0.6 / last.in_channels**0.5)
        last.bias[: len(raw_scale)] = y.mean(dim=(0, 2, 3))
    model.prior.context.base_raw_scale.table.copy_(raw_scale.expand(3, -1))
    if model.prior.context.centroids is not None:
        model.prior.context.centroids.table.copy_(-0.4 * torch.rand(SCALES, 2))
    if model.prior.context.adaptation is not None:
        for network in model.prior.context.adaptation.mixed:
            network[-1].weight.normal_(std=0.1)
    model.hyper_analysis.body[-1].weight *= 40  # z is lively too
    model.prior.hyper_prior.raw_scale.table += 2


@torch.no_grad()
def enliven(model: Model, picture: Tensor) -> None:
    """y of about 4, z of about 3; a prior of random weights whose scales are about 5."""
    rate_level = torch.zeros(1)
    if isinstance(model.analysis, RateIndependent):  # ours starts lively
        amplify(model.analysis, 4 / model.analyse(picture, rate_level).std())
    y = model.analyse(picture, rate_level)
    if isinstance(model.prior.context, FactorizedModel):
        return
    amplify(model.hyper_analysis, 3 / model.hyper_analyse(y, rate_level).std())
    randomise(model.prior.synthesis, model.prior.context)
    widen(model.prior)


def amplify(network: nn.Module, factor: Tensor) -> None:
    """Multiply what a transform gives, by its last layer outside of an attention block."""
    inner = [part for child in network.body for part in (child if isinstance(child, nn.Sequential) else [child])]
    last = [layer for layer in inner if isinstance(layer, nn.Conv2d)][-1]
    last.weight *= factor
    last.bias *= factor


def widen(prior: Prior) -> None:
    """Scales of about 5, so that latents are rarely beyond the tables: escapes are not what is measured."""
    last = [layer for layer in prior.synthesis.modules() if isinstance(layer, nn.Conv2d)][-1]
    half = 0 if isinstance(prior.context, ParallelModel) and sees_scales_alone(prior.context) else len(last.bias) // 2
    calm(last, slice(half, None), 5)
    calm_scales(prior.context, M)


@torch.no_grad()
def randomise(*modules: nn.Module) -> None:
    """Weights by chance, whose layers neither grow nor shrink what they are given."""
    for parameter in (p for module in modules for p in module.parameters()):
        fan = parameter[0].numel() if parameter.dim() > 1 else 16
        parameter.normal_(std=(1.5 / fan) ** 0.5)


@torch.no_grad()
def calm(layer: nn.Module, rows: slice, centre: float) -> None:
    """Let these outputs of a layer vary little about `centre`."""
    layer.weight[rows] *= 0.2
    layer.bias[rows] = centre


def calm_scales(context: nn.Module, latents: int) -> None:
    """Let the raw scales of a context model's networks vary little: log2 of about 6, or 6 itself."""
    for module in context.modules():
        if isinstance(module, HyperOnly | HyperAndLocal):
            calm(module.predict, slice(latents, None), 2.5)
        elif isinstance(module, Neighbourhood):
            last = module.aggregate[-1]
            calm(last, slice(len(last.bias) // 2, None), 6)
        elif isinstance(module, Slice):
            calm(module.raw_scale[-1], slice(None), 6)
        elif isinstance(module, ReferenceModel | StagedModel):
            stages = [module.first, module.second, getattr(module, "third", None)]
            for stage in filter(None, stages):
                calm(stage[-1], slice(latents, None), 2.5)


def sees_scales_alone(context: ParallelModel) -> bool:
    return any(isinstance(source, Direct) and source.zero_mean for source in context.sources)
