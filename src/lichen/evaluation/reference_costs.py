"""Global Reference (Qian 2021), counted as its paper counts: Tables 2 and 3 beside ours.

That is in GFLOPs, two for each multiply-add, transposed convolutions at every output position (without their
stride), normalisations included, masked convolutions in full, and half of the similarity matrix.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from lichen.models.config import ModelConfig
from lichen.prior.reference import ReferenceModel

_PATCH = 4  # causal positions of a 3 x 3 patch
# Table 2, at 512 x 768.
_MODULES = {
    "encoder": 84.12,
    "decoder": 279.47,
    "hyper encoder": 2.92,
    "hyper decoder": 7.62,
    "context model": 11.32,
    "reference model": 7.70,
    "parameter networks": 24.46,
}
_ENTROPY_MODEL = tuple(_MODULES)[2:]
# Table 3: height, width, GFLOPs of the entropy model, percentage of the reference model.
_SIZES = {
    "240p": (240, 320, 9.98, 9.36),
    "360p": (360, 480, 22.85, 10.90),
    "480p": (480, 640, 41.59, 12.98),
    "512x768": (512, 768, 54.03, 14.25),
    "720p": (720, 1280, 138.04, 21.34),
    "1080p": (1080, 1920, 366.57, 33.36),
    "4k": (2304, 4096, 3296.99, 66.28),
}


@dataclass(frozen=True)
class Line:
    """A figure of the paper beside ours: GFLOPs, and the reference model's share in per cent where it is stated."""

    name: str
    paper: float
    ours: float
    paper_share: float | None = None
    our_share: float | None = None


def _every_output(x: Any, weight: Any, *_: Any, out_shape: Any, **__: Any) -> int:
    """Two for each multiply-add, a transposed convolution as if each output saw its whole kernel."""
    batch, _channels, *size = out_shape
    return int(2 * batch * torch.Size(size).numel() * torch.Size(weight).numel())


def _gflops(module: nn.Module, *inputs: Tensor) -> float:
    mapping = {torch.ops.aten.convolution: _every_output}
    counter = FlopCounterMode(display=False, custom_mapping=mapping)
    with torch.no_grad(), counter:
        module.to("meta")(*(x.to("meta") for x in inputs))
    return float(counter.get_total_flops()) / 1e9


def modules(config: ModelConfig) -> dict[str, float]:
    """GFLOPs of each module for a picture of 512 x 768 (Table 2)."""
    model, latents, level = config.build(), config.transform.latents, torch.zeros(1)
    context = model.prior.context
    if not isinstance(context, ReferenceModel):
        raise TypeError("only Global Reference has these tables")
    y, z = torch.zeros(1, latents, 32, 48), torch.zeros(1, config.hyper.hyper_latents, 8, 12)
    points = [torch.zeros(1, ways, 32, 48) for ways in (latents, 2 * latents, 2 * latents + config.features)]
    stages = (context.first, context.second, context.third)
    return {
        "encoder": _gflops(model.analysis, torch.zeros(1, 3, 512, 768), level),
        "decoder": _gflops(model.synthesis, y, level),
        "hyper encoder": _gflops(model.hyper_analysis, y, level),
        "hyper decoder": _gflops(model.prior.synthesis, z, level),
        "context model": _gflops(context.local, y),
        "reference model": _gflops(context.reference, y) + _search(512, 768, latents),
        "parameter networks": sum(_gflops(stage, x) for stage, x in zip(stages, points, strict=True)),
    }


def _search(height: int, width: int, latents: int) -> float:
    """GFLOPs of half the similarity matrix of patches: two for each product."""
    return (height * width / 256) ** 2 * _PATCH * latents / 1e9


def lines(config: ModelConfig) -> list[Line]:
    """Tables 2 and 3 of the paper beside ours; convolutions grow with the pixels, the search with their square."""
    ours, latents = modules(config), config.transform.latents
    found = [Line(name, paper, ours[name]) for name, paper in _MODULES.items()]
    alone = sum(ours[name] for name in _ENTROPY_MODEL) - _search(512, 768, latents)
    masked = ours["reference model"] - _search(512, 768, latents)
    for name, (height, width, paper, share) in _SIZES.items():
        growth, search = height * width / (512 * 768), _search(height, width, latents)
        total, reference = alone * growth + search, masked * growth + search
        found.append(Line(f"entropy model, {name}", paper, total, share, 100 * reference / total))
    return found
