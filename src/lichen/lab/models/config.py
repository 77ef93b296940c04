"""What a model is made of, as frozen dataclasses with `build()`. A checkpoint carries one as JSON."""

from __future__ import annotations

import dataclasses
import enum
import functools
import math
import typing
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from lichen.errors import BadCheckpoint, UsageError
from lichen.lab.models.model import Gains, Model, NoGains
from lichen.lab.models.outside import announced_kinds
from lichen.lab.models.prior_configs import OUR_HYPER_PRIOR, AnyContext, AnyHyperPrior
from lichen.lab.models.transform_configs import AnyHyper, AnyTransform, Filter, Thumbnail
from lichen.lab.prior.adaptation import PER_HYPER
from lichen.lab.prior.prior import Prior
from lichen.runtime.level import LEVEL_STEPS
from lichen.runtime.migration import migrate_config

LEVELS_MAX = 2**16 // LEVEL_STEPS  # levels whose last a file can state (docs/format.md)


class Distortion(enum.Enum):
    """What lambda weighs against bits per pixel (`losses.distortion`)."""

    MSE = "mse"  # in units of 1/255
    MS_SSIM = "ms-ssim"  # 1 - MS-SSIM


@dataclass(frozen=True)
class Rates:
    """The trained quality levels: `count` values of lambda from `low` to `high`, evenly in log.

    lambda weighs 255^2 MSE against bits per pixel. Raises `UsageError` for numbers that make no such levels.
    """

    low: float = 0.00025
    high: float = 0.15
    count: int = 8
    distortion: ClassVar[Distortion] = Distortion.MSE

    def __post_init__(self) -> None:
        if not 1 <= self.count <= LEVELS_MAX:
            raise UsageError(f"count must lie in 1 ... {LEVELS_MAX}, which a file can state, not {self.count}")
        if not 0 < self.low < math.inf:
            raise UsageError(f"low must be positive, not {self.low}")
        if not self.low <= self.high < math.inf:
            raise UsageError(f"high must not be below low, and finite, not {self.high}")

    def lam(self, rate_level: float) -> float:
        """lambda at a rate level in [0, count - 1]."""
        share = rate_level / max(self.count - 1, 1)
        return float(self.low * (self.high / self.low) ** share)

    def mse_lam(self, rate_level: float) -> float:
        """The lambda of 255^2 MSE that gives files of about the same size."""
        return self.lam(rate_level)

    def gains(self, start: torch.Tensor, latents: int) -> Gains:
        """The gains of M latents, from their start (levels,)."""
        return Gains(start, latents)


@dataclass(frozen=True)
class OneRate:
    """A single trained quality, as the papers train: no gains, and `quality` changes nothing."""

    value: float = 0.013
    count: ClassVar[int] = 1
    distortion: ClassVar[Distortion] = Distortion.MSE

    @property
    def low(self) -> float:
        """The one lambda."""
        return self.value

    @property
    def high(self) -> float:
        """The one lambda."""
        return self.value

    def lam(self, rate_level: float) -> float:
        """lambda, whatever the rate level."""
        return self.value

    def mse_lam(self, rate_level: float) -> float:
        """The lambda of 255^2 MSE that gives files of about the same size."""
        return self.value

    def gains(self, start: torch.Tensor, latents: int) -> NoGains:
        """None, whatever the start (1,) would be."""
        return NoGains()


@dataclass(frozen=True)
class MsSsimRates(Rates):
    """As `Rates`, but lambda weighs 1 - MS-SSIM; the files are about as large, level by level (docs/decisions/0010)."""

    low: float = 0.5
    high: float = 220.0
    distortion: ClassVar[Distortion] = Distortion.MS_SSIM

    def mse_lam(self, rate_level: float) -> float:
        return _mse_lam(self.lam(rate_level))


@dataclass(frozen=True)
class OneMsSsimRate(OneRate):
    """As `OneRate`, but lambda weighs 1 - MS-SSIM."""

    value: float = 12.0
    distortion: ClassVar[Distortion] = Distortion.MS_SSIM

    def mse_lam(self, rate_level: float) -> float:
        return _mse_lam(self.value)


def _mse_lam(ms_ssim_lam: float) -> float:
    """A power law from the default rates of MS-SSIM to those of MSE (docs/decisions/0010)."""
    return float(0.00052 * ms_ssim_lam**1.05)


AnyRates = Rates | OneRate | MsSsimRates | OneMsSsimRate


@dataclass(frozen=True)
class ModelConfig:
    """All of a model. `build()` gives it with fresh parameters.

    `float32_prior`: in files the prior is fixed point carried in float32 (`lab.fixed_point.float32`). `post_filter`:
    files may state coefficients of an adaptive post-filter (`lab.post_filter`). Raises `UsageError` for parts that do
    not go together.
    """

    transform: AnyTransform
    hyper: AnyHyper
    context: AnyContext
    rates: AnyRates
    hyper_prior: AnyHyperPrior = OUR_HYPER_PRIOR
    thumbnail: Thumbnail | None = None
    float32_prior: bool = False
    post_filter: Filter | None = None

    def __post_init__(self) -> None:
        if getattr(self.context, "adaptation", 0) and self.hyper.stride != PER_HYPER:
            raise UsageError(f"adaptation asks for {PER_HYPER} latents to a hyper-latent, not {self.hyper.stride}")

    @property
    def features(self) -> int:
        """Channels that the hyper synthesis gives the context model."""
        return self.hyper.outputs(self.transform.latents)

    def build(self) -> Model:
        levels, latents = self.rates.count, self.transform.latents
        analysis, synthesis = self.transform.build(levels)
        hyper_analysis, hyper_synthesis = self.hyper.build(latents, levels)
        start, spreads = self.transform.start(torch.tensor([self.rates.mse_lam(i) for i in range(levels)]))
        context = self.context.build(torch.log2(start[:, None] * spreads), self.features)
        prior = Prior(
            hyper_synthesis, context, self.hyper_prior.build(self.hyper.hyper_latents, levels), self.float32_prior
        )
        gains = self.rates.gains(start, latents)
        stride = self.transform.stride
        thumbnail = None if self.thumbnail is None else self.thumbnail.build(latents, stride)
        own = None if self.post_filter is None else self.post_filter.build(levels)
        return Model(
            analysis,
            synthesis,
            hyper_analysis,
            prior,
            gains=gains,
            stride=stride,
            hyper_stride=stride * self.hyper.stride,
            thumbnail=thumbnail,
            post_filter=own,
        )


@functools.cache
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
    """The inverse of `to_json`, also of older names. Raises `BadCheckpoint` on kinds or fields this version lacks."""
    return _from_json(migrate_config(data))


def _from_json(data: Any) -> Any:
    if isinstance(data, list):
        return tuple(_from_json(item) for item in data)
    if not isinstance(data, dict):
        return data
    fields = {name: _from_json(value) for name, value in data.items() if name != "kind"}
    named = str(data.get("kind"))
    kind = _kinds(ModelConfig).get(named) or announced_kinds().get(named)
    if kind is None:
        raise BadCheckpoint(
            f"unknown part {data.get('kind')!r} in the config; a newer Lichen, or the model's package, may know it"
        )
    try:
        return kind(**fields)
    except (TypeError, UsageError) as error:
        raise BadCheckpoint(f"the config does not fit {kind.__name__}: {error}") from error
