"""Configs of priors: frozen dataclasses with `build()`, one for each kind of context model and of z's density.

A context's `build(base_raw_scale, features)` gives the context model; `base_raw_scale` (levels, M) is where log2 of
the scales may start, `features` how many channels the hyper synthesis gives. A hyper prior's
`build(channels, levels)` gives the density of z.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from lichen.coding.scales import FLOOR, NO_SKIP
from lichen.errors import UsageError
from lichen.lab.prior.adaptation import Adaptation
from lichen.lab.prior.centroids import Centroids
from lichen.lab.prior.context import HyperAndLocal, HyperOnly, ParallelModel, Source
from lichen.lab.prior.factorized import FactorizedModel, LearnedDensity, LevelGaussian
from lichen.lab.prior.families import OURS, Gaussian, LinearScale, Logistic, LogScale
from lichen.lab.prior.masked import MaskedConv, causal, checkerboard
from lichen.lab.prior.reference import ReferenceModel
from lichen.lab.prior.schedules import (
    AllAtOnce,
    ChannelSlices,
    Checkerboard,
    DualCheckerboard,
    Quadtree,
    SpaceChannel,
    ranges,
)
from lichen.lab.prior.serial import SerialModel
from lichen.lab.prior.sources import Direct, Neighbourhood, Slice, convolutions, stack
from lichen.lab.prior.staged import StagedModel
from lichen.lab.transforms.cheng import PAPERS_SLOPE

PAPERS = Gaussian(LinearScale(), NO_SKIP)  # sigma is predicted itself; everything is coded
SERIAL = Gaussian(LinearScale(), NO_SKIP, mean_in_cdf=True)
REFERENCE = Gaussian(LogScale(), NO_SKIP, mean_in_cdf=True)  # its stages combine deviations in the logarithm


@dataclass(frozen=True)
class LevelHyperPrior:
    """z is a Gaussian for each channel and level: our own models."""

    def build(self, channels: int, levels: int) -> LevelGaussian:
        return LevelGaussian(channels, levels)


OUR_HYPER_PRIOR = LevelHyperPrior()


@dataclass(frozen=True)
class LearnedHyperPrior:
    """z has a learned density for each channel (Balle 2018); the coder's tables hold -radius ... radius."""

    radius: int = 63
    floor: float = FLOOR

    def build(self, channels: int, levels: int) -> LearnedDensity:
        return LearnedDensity(channels, self.radius, self.floor)


@dataclass(frozen=True)
class Context:
    """Our own models: a schedule, and the width of the sources of its second and later steps.

    With an `adaptation` decoded steps move the scales of later ones, by a network of that width. Raises `UsageError`
    for what adaptation does not go with.
    """

    schedule: AllAtOnce | Checkerboard | DualCheckerboard | Quadtree
    local: int = 128
    hidden: int = 192
    family: Gaussian | Logistic = OURS
    centroids: bool = False
    adaptation: int = 0

    def __post_init__(self) -> None:
        plain = isinstance(self.family.scale, LogScale) and not self.family.mean_in_cdf and self.schedule.count > 1
        if self.adaptation < 0 or (self.adaptation and not plain):
            raise UsageError("adaptation asks for several steps, logarithmic scales, and symbols about a mean")

    def build(self, base_raw_scale: Tensor, features: int) -> ParallelModel:
        latents = base_raw_scale.shape[1]
        later = self.schedule.count - 1
        sources: list[Source] = [HyperOnly(features, latents)]
        sources += [HyperAndLocal(features, latents, self.local, self.hidden) for _ in range(later)]
        centroids = Centroids() if self.centroids else None
        steps, width = self.schedule.count, self.adaptation
        adaptation = Adaptation(latents, steps, width, self.family) if width else None
        return ParallelModel(
            self.schedule,
            sources,
            latents,
            base_raw_scale,
            family=self.family,
            centroids=centroids,
            adaptation=adaptation,
        )


@dataclass(frozen=True)
class FactorizedContext:
    """No side information: a learned density for each channel of y (Balle 2017). Goes with no hyper transform."""

    radius: int = 255
    floor: float = FLOOR

    def build(self, base_raw_scale: Tensor, features: int) -> FactorizedModel:
        return FactorizedModel(LearnedDensity(base_raw_scale.shape[1], self.radius, self.floor))


@dataclass(frozen=True)
class DirectContext:
    """The hyper synthesis gives the parameters (Minnen 2018); with `zero_mean` the scales alone (Balle 2018)."""

    zero_mean: bool = False
    family: Gaussian = PAPERS

    def build(self, base_raw_scale: Tensor, features: int) -> ParallelModel:
        latents = base_raw_scale.shape[1]
        _expect(features, latents if self.zero_mean else 2 * latents)
        return ParallelModel(AllAtOnce(), [Direct(self.zero_mean)], latents, None, family=self.family)


@dataclass(frozen=True)
class CheckerboardContext:
    """Two passes with one masked 5 x 5 (He 2021; correlation-loss paper eq. 8)."""

    family: Gaussian = PAPERS

    def build(self, base_raw_scale: Tensor, features: int) -> ParallelModel:
        latents = base_raw_scale.shape[1]
        return ParallelModel(Checkerboard(), [_local(latents, features, 2)], latents, None, family=self.family)


@dataclass(frozen=True)
class CausalContext:
    """Serial, with one causal 5 x 5 (Minnen 2018); y_hat = round(y)."""

    family: Gaussian = SERIAL

    def build(self, base_raw_scale: Tensor, features: int) -> SerialModel:
        latents = base_raw_scale.shape[1]
        return SerialModel(_local(latents, features, 1), latents, self.family)


@dataclass(frozen=True)
class SliceContext:
    """ChARM (Minnen 2020): slices of channels with latent residual prediction; M = 192 takes 8 slices of 24.

    Features are M for means and M for scales. Each network sees at most `support` earlier slices. `build` raises
    `UsageError` for latents that are not as many slices.
    """

    slices: int = 8
    support: int = 5
    widths: tuple[int, ...] = (224, 128)
    kernels: tuple[int, ...] = (5, 5, 3)
    family: Gaussian = PAPERS

    def build(self, base_raw_scale: Tensor, features: int) -> ParallelModel:
        latents = base_raw_scale.shape[1]
        _expect(features, 2 * latents)
        if latents % self.slices:
            raise UsageError(f"{latents} latents cannot be cut into {self.slices} equal slices")
        schedule = ChannelSlices(self.slices, latents)
        sources = [Slice(latents, own, self.support, self.widths, kernels=self.kernels) for own in schedule.ranges()]
        return ParallelModel(schedule, sources, latents, None, family=self.family)


@dataclass(frozen=True)
class GroupContext:
    """ELIC: uneven groups of channels, each in two parities.

    g_ch is a 5 x 5 stack of `widths` over all earlier groups. The aggregation reduces linearly, in three
    layers, to 2 M of the group, no layer but the last below `least` (the reference library's variant).
    """

    groups: tuple[int, ...] = (16, 16, 32, 64, 192)
    widths: tuple[int, ...] = (224, 128)
    least: int = 0
    family: Gaussian = PAPERS

    def build(self, base_raw_scale: Tensor, features: int) -> ParallelModel:
        _expect(base_raw_scale.shape[1], sum(self.groups))
        sources = [self._source(group, features) for group in ranges(self.groups)]
        return ParallelModel(SpaceChannel(self.groups), sources, base_raw_scale.shape[1], None, family=self.family)

    def _source(self, group: slice, features: int) -> Neighbourhood:
        own = group.stop - group.start
        gather = MaskedConv(own, 2 * own, checkerboard(5))
        kernels = (5,) * (len(self.widths) + 1)
        channels = convolutions([group.start, *self.widths, 2 * own], kernels, 0.0) if group.start else None
        ways = 2 * own + (2 * own if group.start else 0) + features
        return Neighbourhood(gather, stack(ramp(ways, 2 * own, self.least), 0.0), 2, group.start, channels=channels)


@dataclass(frozen=True)
class ReferenceContext:
    """Global Reference (Qian 2021, Table 1): causal 5 x 5 and masked 3 x 3 of M channels, three stages.

    Their 1 x 1 layers see M, 2 M and 2 M + features channels; the hyper synthesis gives 2 M features, and
    without a hyper transform there are two stages. Without `confidence` the similarity alone weighs references.
    """

    hidden: int = 1152
    family: Gaussian = REFERENCE
    confidence: bool = True

    def build(self, base_raw_scale: Tensor, features: int) -> ReferenceModel:
        return ReferenceModel(
            base_raw_scale.shape[1], features, self.hidden, PAPERS_SLOPE, family=self.family, confident=self.confidence
        )


@dataclass(frozen=True)
class StagedContext:
    """Global Reference without its reference (Qian 2021, Figure 13): causal 5 x 5, then the hyper-latent's features."""

    hidden: int = 1152
    family: Gaussian = REFERENCE

    def build(self, base_raw_scale: Tensor, features: int) -> StagedModel:
        return StagedModel(base_raw_scale.shape[1], features, self.hidden, PAPERS_SLOPE, family=self.family)


AnyContext = (
    Context
    | FactorizedContext
    | DirectContext
    | CheckerboardContext
    | CausalContext
    | SliceContext
    | GroupContext
    | ReferenceContext
    | StagedContext
)
AnyHyperPrior = LevelHyperPrior | LearnedHyperPrior


def ramp(first: int, last: int, least: int = 0) -> list[int]:
    """Widths of three layers that fall evenly from `first` to `last`, the inner ones at least `least`."""
    inner = [max(int(first + (last - first) * i / 3), least) for i in (1, 2)]
    return [first, *inner, last]


def _local(latents: int, features: int, passes: int) -> Neighbourhood:
    """One masked 5 x 5 to 2M, then 1 x 1 layers falling evenly to 2M (Minnen 2018: 640, 512 at M = 192)."""
    mask = causal(5) if passes == 1 else checkerboard(5)
    gather = MaskedConv(latents, 2 * latents, mask)
    inner = [latents * 10 // 3, latents * 8 // 3]
    return Neighbourhood(gather, stack([2 * latents + features, *inner, 2 * latents], PAPERS_SLOPE), passes)


def _expect(found: int, wanted: int) -> None:
    if found != wanted:
        raise UsageError(f"this context model needs {wanted} channels, not {found}: change the config")
