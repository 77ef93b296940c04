"""What a model is made of, as frozen dataclasses with `build()`. A checkpoint carries one as JSON."""

from __future__ import annotations

import dataclasses
import math
import typing
from dataclasses import dataclass
from typing import Any

import torch

from lichen.errors import BadCheckpoint
from lichen.models.model import Gains, Model
from lichen.models.prior_configs import OUR_SIDE, AnyContext, AnySide
from lichen.prior.context import Prior
from lichen.transforms.fast import BLOCK, FastAnalysis, FastSynthesis, atom_spreads
from lichen.transforms.hyper import FastHyperAnalysis, FastHyperSynthesis

LEVEL_STEPS = 512  # a file states its quality level in units of 1/512


@dataclass(frozen=True)
class Rates:
    """The trained quality levels: `count` values of lambda from `low` to `high`, evenly in log.

    lambda weighs 255^2 MSE against bits per pixel.
    """

    low: float = 0.00025
    high: float = 0.15
    count: int = 8

    def lam(self, level: float) -> float:
        """lambda at a level in [0, count - 1]."""
        share = level / max(self.count - 1, 1)
        return float(self.low * (self.high / self.low) ** share)

    def start_gains(self) -> torch.Tensor:
        """1 / step for each level, by high-rate theory: step^2 = 12 / (2 ln 2 * 65025 lambda)."""
        lams = torch.tensor([self.lam(i) for i in range(self.count)])
        return torch.sqrt(2 * math.log(2) * 65025 * lams / 12)


@dataclass(frozen=True)
class FastTransform:
    """The default model's transform; channels at 1/8 and 1/16, blocks there for each side."""

    latents: int = 320
    fine: int = 128
    coarse: int = 256
    encoder_depth: tuple[int, int] = (3, 4)
    decoder_depth: tuple[int, int] = (4, 6)

    def build(self, levels: int) -> tuple[FastAnalysis, FastSynthesis]:
        widths = (self.latents, self.fine, self.coarse)
        return (
            FastAnalysis(*widths, self.encoder_depth, levels),
            FastSynthesis(*widths, self.decoder_depth, levels),
        )


@dataclass(frozen=True)
class FastHyper:
    """The default model's hyper transform; `features` is what it gives the context model."""

    hyper_latents: int = 64
    width: int = 96
    features: int = 128

    def build(self, latents: int, levels: int) -> tuple[FastHyperAnalysis, FastHyperSynthesis]:
        return (
            FastHyperAnalysis(latents, self.width, self.hyper_latents, levels),
            FastHyperSynthesis(self.hyper_latents, self.width, self.features, levels),
        )


@dataclass(frozen=True)
class ModelConfig:
    """All of a model. `build()` gives it with fresh parameters."""

    transform: FastTransform
    hyper: FastHyper
    context: AnyContext
    rates: Rates
    side: AnySide = OUR_SIDE

    def build(self) -> Model:
        levels, latents = self.rates.count, self.transform.latents
        analysis, synthesis = self.transform.build(levels)
        hyper_analysis, hyper_synthesis = self.hyper.build(latents, levels)
        base_raw = torch.log2(self.rates.start_gains()[:, None] * atom_spreads(latents))
        context = self.context.build(base_raw, self.hyper.features)
        prior = Prior(hyper_synthesis, context, self.side.build(self.hyper.hyper_latents, levels))
        gains = Gains(self.rates.start_gains(), latents)
        return Model(analysis, synthesis, hyper_analysis, prior, gains, BLOCK, 4 * BLOCK)


def _kinds(hint: Any) -> dict[str, type]:
    """Every dataclass that a config may hold, found by following the types of its fields."""
    if not dataclasses.is_dataclass(hint):
        found = [_kinds(argument) for argument in typing.get_args(hint)]
        return {name: kind for kinds in found for name, kind in kinds.items()}
    kinds: dict[str, type] = {hint.__name__: hint}  # type: ignore[union-attr, dict-item]
    for field in typing.get_type_hints(hint).values():
        kinds |= _kinds(field)
    return kinds


def to_json(config: Any) -> Any:
    """A config as plain data: each dataclass a dict with its class name under `kind`."""
    if dataclasses.is_dataclass(config):
        fields = {f.name: to_json(getattr(config, f.name)) for f in dataclasses.fields(config)}
        return {"kind": type(config).__name__, **fields}
    if isinstance(config, tuple):
        return [to_json(item) for item in config]
    return config


def from_json(data: Any) -> Any:
    """The inverse of `to_json`. Raises `BadCheckpoint` on kinds or fields this version lacks."""
    if isinstance(data, list):
        return tuple(from_json(item) for item in data)
    if not isinstance(data, dict):
        return data
    fields = {name: from_json(value) for name, value in data.items() if name != "kind"}
    kind = _kinds(ModelConfig).get(str(data.get("kind")))
    if kind is None:
        raise BadCheckpoint(f"unknown part {data.get('kind')!r} in the config; a newer Lichen may know it")
    try:
        return kind(**fields)
    except TypeError as error:
        raise BadCheckpoint(f"the config does not fit {kind.__name__}: {error}") from error
