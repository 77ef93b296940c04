"""The parts of a model as modules of tensors alone, which can be exported as graphs without weights.

Each takes and gives maps (1, C, h, w) or flat blocks, and a `rate_level` (1,) float64. Nothing is computed here that
the lab's modules do not compute: a test compares every graph with its module.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lichen.errors import UsageError
from lichen.lab.models.config import ModelConfig
from lichen.lab.models.model import Model
from lichen.lab.prior.adaptation import PER_HYPER, ScaleStatistics
from lichen.lab.prior.context import ParallelModel, State
from lichen.lab.prior.prior import Prior
from lichen.lab.prior.schedules import Step
from lichen.lab.transforms.blocks import Pointwise


class Analysis(nn.Module):
    """x (1, 3, H, W) in [0, 1], whole hyper-latents -> y (1, M, h, w) in quantisation steps."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.analysis, self.gains = model.analysis, model.gains

    def forward(self, x: Tensor, rate_level: Tensor) -> Tensor:
        rate_level = rate_level.float()
        return self.gains.gain(self.analysis(x, rate_level), rate_level)


class HyperAnalysis(nn.Module):
    """y (1, M, h, w) -> z (1, Z, h', w')."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.hyper_analysis = model.hyper_analysis

    def forward(self, y: Tensor, rate_level: Tensor) -> Tensor:
        z: Tensor = self.hyper_analysis(y, rate_level.float())
        return z


class Synthesis(nn.Module):
    """y_hat (1, M, h, w) -> x_hat (1, 3, H, W), unclamped."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.synthesis, self.gains = model.synthesis, model.gains

    def forward(self, y_hat: Tensor, rate_level: Tensor) -> Tensor:
        rate_level = rate_level.float()
        x_hat: Tensor = self.synthesis(self.gains.inverse_gain(y_hat, rate_level), rate_level)
        return x_hat


class PostFilter(nn.Module):
    """x_hat (1, 3, H, W), a kernel (3, 3, n, n) and offsets (3,) -> the filtered picture (1, 3, H, W)."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.middle = side // 2

    def forward(self, x_hat: Tensor, kernel: Tensor, offsets: Tensor) -> Tensor:
        return F.conv2d(F.pad(x_hat, (self.middle,) * 4, mode="replicate"), kernel, offsets)


class HyperSynthesis(nn.Module):
    """z_hat (1, Z, h', w') -> features (1, F, h, w), in fixed point."""

    def __init__(self, prior: Prior) -> None:
        super().__init__()
        self.synthesis = prior.synthesis

    def forward(self, z_hat: Tensor, rate_level: Tensor) -> Tensor:
        features: Tensor = self.synthesis(z_hat, rate_level)
        return features


class Predict(nn.Module):
    """`ParallelModel.predict` of one step, in fixed point: a block's means, table indices, and indices without offsets.

    features (1, F, h, w), y_hat (1, M, h, w), counts (1, 2, M, h / 4, w / 4) -> (n,) float32, uint8 and uint8.
    """

    def __init__(self, context: ParallelModel, step: Step) -> None:
        super().__init__()
        self.context, self.step = context, step

    def forward(
        self, features: Tensor, known: Tensor, counts: Tensor, rate_level: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        statistics = ScaleStatistics(counts) if self.context.adaptation is not None else None
        parameters, state = self.context.predict(self.step, State(features, rate_level, known, statistics))
        assert state.prediction is not None
        index = parameters.family.scale.index
        moved, unmoved = (p.raw_scale.flatten() for p in (parameters, state.prediction.unmoved))
        return parameters.mean.flatten(), index(moved), index(unmoved)


@dataclass(frozen=True)
class Graph:
    """A part to export: example inputs by name (any shape), which of their axes grow with the picture, and outputs.

    An axis' entry is how many of its units a hyper-latent has.
    """

    module: nn.Module
    inputs: dict[str, Tensor]
    growing: Mapping[str, tuple[int, int]]
    outputs: tuple[str, ...]


def graphs_of(config: ModelConfig, model: Model | None = None) -> dict[str, Graph]:
    """The graphs of a config, or of a `model` of it, by name. Raises `UsageError` for one that cannot be exported."""
    model = config.build().eval().requires_grad_(False) if model is None else model
    prior = model.fixed_point_prior()
    context = _exportable(prior)
    model = as_convolutions(model)
    down, across, unit = 3, 5, model.hyper_stride // model.stride
    rows, columns, rate_level = down * unit, across * unit, torch.zeros(1, dtype=torch.float64)
    pixels = torch.zeros(1, 3, down * model.hyper_stride, across * model.hyper_stride)
    latents, features = torch.zeros(1, context.latents, rows, columns), torch.zeros(1, config.features, rows, columns)
    hyper = torch.zeros(1, prior.hyper_prior.channels, down, across)
    counts = torch.zeros(1, 2, context.latents, rows // PER_HYPER, columns // PER_HYPER)
    fine, stride = (unit, unit), (model.hyper_stride, model.hyper_stride)
    found = {
        "analysis": Graph(Analysis(model), {"x": pixels, "rate_level": rate_level}, {"x": stride}, ("y",)),
        "hyper_analysis": Graph(HyperAnalysis(model), {"y": latents, "rate_level": rate_level}, {"y": fine}, ("z",)),
        "synthesis": Graph(Synthesis(model), {"y_hat": latents, "rate_level": rate_level}, {"y_hat": fine}, ("x_hat",)),
        "hyper_synthesis": Graph(
            HyperSynthesis(prior), {"z_hat": hyper, "rate_level": rate_level}, {"z_hat": (1, 1)}, ("features",)
        ),
    }
    if model.post_filter is not None:
        side = model.post_filter.side
        inputs = {"x_hat": pixels, "kernel": torch.zeros(3, 3, side, side), "offsets": torch.zeros(3)}
        found["post_filter"] = Graph(PostFilter(side), inputs, {"x_hat": stride}, ("filtered",))
    given = {"features": features, "known": latents, "counts": counts, "rate_level": rate_level}
    growing = {"features": fine, "known": fine, "counts": (1, 1)}
    for step in context.schedule.steps(rows, columns, torch.device("cpu")):
        found[f"predict{step.number}"] = Graph(Predict(context, step), given, growing, ("mean", "index", "unmoved"))
    return found


def _exportable(prior: Prior) -> ParallelModel:
    """The context model of a prior. Raises `UsageError` where it cannot be exported."""
    context, device = prior.context, torch.device("cpu")
    if isinstance(context, ParallelModel) and prior.float32:
        cells = [cell for step in context.schedule.steps(4, 4, device) for cell in step.cells]
        if all(cell.positions is None for cell in cells):
            return context
    raise UsageError("only priors in float32 whose cells are lattices can be exported: the lab's engine runs others")


def as_convolutions(model: Model) -> Model:
    """A copy whose 1 x 1 layers are convolutions, which engines run faster than products with a bias."""
    model = copy.deepcopy(model)
    for module in model.modules():
        if type(module) is Pointwise:
            module.__class__ = nn.Conv2d  # type: ignore[assignment]
    return model


class WithWeights(nn.Module):
    """A module as a function of its inputs (any shape) and weights, so that an exporter folds none of them."""

    def __init__(self, inner: nn.Module, names: list[str]) -> None:
        super().__init__()
        self._inner: Callable[..., Any] = lambda *inputs: torch.func.functional_call(inner, *inputs)
        self.names = names

    def forward(self, inputs: tuple[Tensor, ...], weights: list[Tensor]) -> Any:
        return self._inner(dict(zip(self.names, weights, strict=True)), inputs)
