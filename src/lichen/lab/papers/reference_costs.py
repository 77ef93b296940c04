"""Global Reference (Qian 2021), counted as its paper counts: Tables 2 and 3 beside ours, and timed.

That is in GFLOPs, two for each multiply-add, transposed convolutions at every output position (without their
stride), normalisations included, masked convolutions in full, and half of the similarity matrix.
"""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from lichen.lab.models.config import ModelConfig
from lichen.lab.models.model import Model
from lichen.lab.papers.global_reference_2021 import MODULE_GFLOPS, TABLE_3
from lichen.lab.papers.protocol import PictureSize
from lichen.lab.prior.estimator import Estimator
from lichen.lab.prior.reference import SEARCHED_AT_ONCE, ReferenceModel
from lichen.lab.prior.reference_search import Search
from lichen.lab.prior.serial import SerialModel

_PATCH = 4  # causal positions of a 3 x 3 patch
_SIDES = (512, 768)  # of Table 2's picture
_ENTROPY_MODEL = tuple(MODULE_GFLOPS)[2:]

Calls = list[tuple[nn.Module, tuple[Tensor, ...]]]  # networks, each with what it is given


@dataclass(frozen=True)
class PaperCost:
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


def _gflops(calls: Calls) -> float:
    counter = FlopCounterMode(display=False, custom_mapping={torch.ops.aten.convolution: _every_output})
    with torch.no_grad(), counter:
        for module, inputs in calls:
            module.to("meta")(*(x.to("meta") for x in inputs))
    return float(counter.get_total_flops()) / 1e9


def _parts(model: Model, config: ModelConfig) -> dict[str, Calls]:
    """The modules of Table 2, and what each is given for its picture."""
    context, rate_level = model.prior.context, torch.zeros(1)
    latents, (height, width) = config.transform.latents, (side // model.stride for side in _SIDES)
    hyper = (side // model.hyper_stride for side in _SIDES)
    y, z = torch.zeros(1, latents, height, width), torch.zeros(1, config.hyper.hyper_latents, *hyper)
    points = lambda ways: (torch.zeros(1, ways, height, width),)  # noqa: E731
    parts: dict[str, Calls] = {
        "encoder": [(model.analysis, (torch.zeros(1, 3, *_SIDES), rate_level))],
        "decoder": [(model.synthesis, (y, rate_level))],
        "hyper encoder": [(model.hyper_analysis, (y, rate_level))],
        "hyper decoder": [(model.prior.synthesis, (z, rate_level))],
    }
    if isinstance(context, ReferenceModel) and context.third is not None:
        stages = (context.first, context.second, context.third)
        ways = (latents, 2 * latents, 2 * latents + config.features)
        parts["context model"] = [(context.local, (y,))]
        parts["reference model"] = [(context.reference, (y,))]
        parts["parameter networks"] = [(stage, points(w)) for stage, w in zip(stages, ways, strict=True)]
        return parts
    if isinstance(context, SerialModel):
        parts["context model"] = [(context.source.gather, (y,))]
        parts["parameter networks"] = [(context.source.aggregate, points(2 * latents + config.features))]
        return parts
    raise TypeError("only Global Reference and what it is compared with have these tables")


def modules(config: ModelConfig) -> dict[str, float]:
    """GFLOPs of each module for a picture of 512 x 768 (Table 2)."""
    counted = {name: _gflops(calls) for name, calls in _parts(config.build(), config).items()}
    if "reference model" in counted:
        counted["reference model"] += _search(*_SIDES, config.transform.latents)
    return counted


def _search(height: int, width: int, latents: int) -> float:
    """GFLOPs of half the similarity matrix of patches: two for each product."""
    return (height * width / 256) ** 2 * _PATCH * latents / 1e9


def lines(config: ModelConfig) -> list[PaperCost]:
    """Tables 2 and 3 of the paper beside ours."""
    ours = modules(config)
    return [PaperCost(name, paper, ours[name]) for name, paper in MODULE_GFLOPS.items()] + sizes(config, TABLE_3)


def sizes(config: ModelConfig, wanted: Sequence[PictureSize]) -> list[PaperCost]:
    """Table 3: the entropy model at each size; convolutions grow with the pixels, the search with their square."""
    ours, latents = modules(config), config.transform.latents
    searching = _search(*_SIDES, latents)
    alone = sum(ours[name] for name in _ENTROPY_MODEL) - searching
    masked = ours["reference model"] - searching
    found = []
    for size in wanted:
        growth, search = size.pixels / (512 * 768), _search(size.height, size.width, latents)
        total, reference = alone * growth + search, masked * growth + search
        share = 100 * reference / total
        found.append(
            PaperCost(
                f"entropy model, {size.name}", size.gflops, total, paper_share=size.reference_percent, our_share=share
            )
        )
    return found


def _seconds(run: Callable[[], object], repeats: int, device: torch.device) -> float:
    """The median of `repeats` calls."""
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


@torch.inference_mode()
def module_seconds(config: ModelConfig, repeats: int, device: torch.device) -> dict[str, float]:
    """Seconds of each module of Table 2 on its picture, the median of `repeats` calls; the search included."""
    model = config.build().to(device)
    found = {}
    for name, calls in _parts(model, config).items():
        placed = [(module, [x.to(device) for x in inputs]) for module, inputs in calls]
        found[name] = _seconds(functools.partial(_call, placed), repeats, device)
    if "reference model" in found:
        found["reference model"] += _search_seconds(config, *_SIDES, repeats, device)
    return found


def _call(calls: Sequence[tuple[nn.Module, Sequence[Tensor]]]) -> None:
    for module, inputs in calls:
        module(*inputs)


@torch.inference_mode()
def size_seconds(config: ModelConfig, size: PictureSize, repeats: int, device: torch.device) -> tuple[float, float]:
    """Seconds of an estimating pass of the entropy model, padded to whole hyper-latents, and of its search alone."""
    prior, step = config.build().prior.to(device), config.transform.stride * config.hyper.stride
    shape = (-(-size.height // step), -(-size.width // step))
    height, width = (side * config.hyper.stride for side in shape)
    chance, rate_level = torch.Generator().manual_seed(1), torch.zeros(1, device=device)
    y = 4 * torch.randn(1, config.transform.latents, height, width, generator=chance).to(device)
    z = torch.zeros(1, config.hyper.hyper_latents, *shape, device=device)
    whole = _seconds(lambda: prior.walk(Estimator(None), rate_level, shape, y=y, z=z), repeats, device)
    pixels = (height * config.transform.stride, width * config.transform.stride)
    return whole, _search_seconds(config, *pixels, repeats, device)


def _search_seconds(config: ModelConfig, height: int, width: int, repeats: int, device: torch.device) -> float:
    high, wide = (side // config.transform.stride for side in (height, width))
    chance = torch.Generator().manual_seed(1)
    flat = 4 * torch.randn(high * wide + 1, config.transform.latents, generator=chance).to(device)

    def run() -> None:
        search = Search(flat, high, wide)
        for block in torch.arange(high * wide, device=device).split(SEARCHED_AT_ONCE):
            search.block(block)

    return _seconds(run, repeats, device)
