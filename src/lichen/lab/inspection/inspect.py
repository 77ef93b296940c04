"""`lichen inspect`: a model's latents on some pictures, as the papers show them, in numbers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lichen.errors import BadData, UsageError
from lichen.image.picture import Picture
from lichen.lab.inspection.latent_statistics import (
    WINDOW,
    CodedLatents,
    Spread,
    neighbours_mean,
    rate_weighted,
    relative,
    saving_bits,
    spread_of,
)
from lichen.lab.inspection.references import References, ReferenceSums, reference_numbers, references_of
from lichen.lab.models.checkpoint import Checkpoint
from lichen.lab.models.model import Model
from lichen.lab.prior.entropy_parameters import EntropyParameters, LearnedEntropyParameters
from lichen.lab.prior.estimator import Estimator
from lichen.lab.prior.latents import Latents
from lichen.lab.prior.walk import merge
from lichen.lab.tensors import to_float
from lichen.runtime.level import Level

TOP_CHANNELS = 8  # of highest energy, whose magnitudes are shown (ELIC's Figure 2)
HISTOGRAM_CHANNELS = 4  # of highest entropy, whose latents' histograms are shown (Qian 2021, Figure 11)


@dataclass(frozen=True)
class Planes:
    """The channel of highest entropy on the first picture, all (h, w); `rate` sums the bits of all channels."""

    channel: int
    y_hat: Tensor
    mean: Tensor
    scale: Tensor
    normalised: Tensor
    rate: Tensor


@dataclass(frozen=True)
class Magnitudes:
    """The first picture's channels of highest energy, in falling order (ELIC supplement, eq. 1 and 2).

    `maps` (n, h, w) are f = abs(y_hat) / max(abs(y_hat)), the maximum over all channels; `energy` (n,) the mean of
    y_hat^2. The paper writes max(y_hat), which gives values above 1 where the largest latent is negative.
    """

    channels: tuple[int, ...]
    maps: Tensor
    energy: Tensor


@dataclass(frozen=True)
class Inspection:
    """A model's latents over a data set.

    * `correlation` (5, 5): C of the correlation loss (eq. 10), of all channels; `rho` (5, 5): C / C(0).
      `off_centre` and `rho_off_centre`: the means of their absolute values at the eight neighbours.
    * `channel_rho` (M, 5, 5): C / C(0) of each channel; `weighted_rho`: the mean of its absolute values at the
      eight neighbours, channels weighed by their rates.
    * `saving_bpp`: what a Gaussian that knows its four causal neighbours of the same channel would still save, by the
      estimated correlations: how much spatial dependence is left.
    * `estimated_y_bpp`, `estimated_z_bpp`: latents and hyper-latents.
    * `energy` (M,): means of y_hat^2; `channel_bpp` (M,): rates by the channels' distributions (skipped latents too);
      `channel_mean` (M,): means of y.
    * `histogram` (81,): counts of normalised latents, evenly in [-4, 4]; `latent_histograms` (M, 512): of each
      channel's y, in bins of half a step from -128 to 128.
    * `first`, `magnitudes`, `references`: of the first picture; the last of Global Reference only, with the sums
      `referred` of each picture.
    """

    name: str
    pictures: int
    correlation: Tensor
    channel_rho: Tensor
    saving_bpp: float
    estimated_y_bpp: float
    estimated_z_bpp: float
    energy: Tensor
    channel_bpp: Tensor
    channel_mean: Tensor
    histogram: Tensor
    latent_histograms: Tensor
    first: Planes
    magnitudes: Magnitudes
    references: References | None
    referred: tuple[ReferenceSums, ...]

    @property
    def estimated_bpp(self) -> float:
        """Latents and hyper-latents together."""
        return self.estimated_y_bpp + self.estimated_z_bpp

    @property
    def rho(self) -> Tensor:
        """C / C(0), (5, 5)."""
        return relative(self.correlation)

    @property
    def off_centre(self) -> float:
        """Mean of abs(C) at the eight neighbours."""
        return float(neighbours_mean(self.correlation))

    @property
    def rho_off_centre(self) -> float:
        """Mean of abs(C / C(0)) at the eight neighbours."""
        return float(neighbours_mean(self.rho))

    @property
    def weighted_rho(self) -> float:
        """Mean of abs(rho) at the eight neighbours in each channel, weighed by the channels' rates."""
        return rate_weighted(self.channel_rho, self.channel_bpp)

    @property
    def most_bits(self) -> list[int]:
        """The channels of highest entropy over all pictures, in falling order."""
        return self.channel_bpp.argsort(descending=True)[:HISTOGRAM_CHANNELS].tolist()

    def summary(self) -> str:
        """One line for a terminal."""
        return (
            f"{self.name}: {self.estimated_bpp:.4f} bpp estimated, y {self.estimated_y_bpp:.4f} and z "
            f"{self.estimated_z_bpp:.4f}; off-centre correlation C {self.off_centre:.4f}, C/C(0) "
            f"{self.rho_off_centre:.4f}, by channel and rate {self.weighted_rho:.4f}; spatial saving "
            f"{self.saving_bpp:.4f} bpp"
        )

    def numbers(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        more = {"global_reference": reference_numbers(self.references, self.referred)} if self.references else {}
        return more | {
            "model": self.name,
            "pictures": self.pictures,
            "estimated_bpp": round(self.estimated_bpp, 5),
            "estimated_y_bpp": round(self.estimated_y_bpp, 5),
            "estimated_z_bpp": round(self.estimated_z_bpp, 5),
            "mean_off_centre_correlation": round(self.off_centre, 6),
            "mean_off_centre_rho": round(self.rho_off_centre, 6),
            "rate_weighted_rho": round(self.weighted_rho, 6),
            "spatial_saving_bpp": round(self.saving_bpp, 6),
            "correlation_map": _rounded(self.correlation, 6),
            "rho_map": _rounded(self.rho, 6),
            "channel_rho_maps": _rounded(self.channel_rho[:, 1:4, 1:4], 4),
            "energy": _rounded(self.energy, 6),
            "channel_bpp": _rounded(self.channel_bpp, 7),
            "channel_mean": _rounded(self.channel_mean, 5),
            "highest_entropy_channel": self.first.channel,
            "highest_entropy_channels": self.most_bits,
            "highest_energy_channels": list(self.magnitudes.channels),
        }


def _rounded(values: Tensor, places: int) -> list[Any]:
    """Nested lists of a tensor, rounded."""
    if values.dim() == 1:
        return [round(v, places) for v in values.tolist()]
    return [_rounded(inner, places) for inner in values]


def _walk(checkpoint: Checkpoint, x: Tensor, rate_level: Tensor) -> tuple[CodedLatents, EntropyParameters]:
    """One estimating pass, and the parameters that were coded, with their stages. Raises `UsageError` without scale."""
    model: Model = checkpoint.model
    y, estimator = model.analyse(x, rate_level), Estimator(None)
    walked = model.walk(estimator, y, rate_level)
    coded = walked.predicted[0][1]
    if isinstance(coded, LearnedEntropyParameters):
        raise UsageError(f"{checkpoint.name} has no scale to normalise its latents by: there is nothing to inspect")
    whole = merge(walked.predicted, y)
    bits_z, *bits_y = (float(bits) for bits in estimator.bits)
    latents = Latents(y, whole.mean, whole.scale)
    return CodedLatents(latents, walked.y_hat, coded.family, bits_y=sum(bits_y), bits_z=bits_z), coded


def planes_of(coded: CodedLatents) -> Planes:
    """The channel of highest entropy."""
    bits, latents = coded.bits(), coded.latents
    top = int(bits.sum(dim=(1, 2)).argmax())
    y_hat, mean, scale = (x[0, top].clone() for x in (coded.y_hat, latents.mean, latents.scale))
    return Planes(top, y_hat, mean, scale, normalised=coded.normalised()[top].clone(), rate=bits.sum(dim=0))


def magnitudes_of(y_hat: Tensor) -> Magnitudes:
    """The magnitude maps of y_hat (1, M, h, w)'s channels of highest energy."""
    energy = y_hat[0].double().square().mean(dim=(1, 2))
    channels = energy.argsort(descending=True)[:TOP_CHANNELS]
    largest = y_hat.abs().max().clamp(min=1e-12)
    return Magnitudes(tuple(channels.tolist()), y_hat[0, channels].abs() / largest, energy[channels])


@torch.no_grad()
def inspect_model(checkpoint: Checkpoint, pictures: Iterable[Picture], quality: float = 50) -> Inspection:
    """The statistics of a model's latents on pictures, at a quality of 0 ... 100.

    Pictures of fewer than five latents a side are left out. Raises `UsageError` for a model without a scale, or another
    quality, `BadData` when no picture is large enough.
    """
    rate_level = torch.tensor([Level.of_quality(quality, checkpoint.config.rates.count).rate_level])
    spreads: list[Spread] = []
    referred: list[ReferenceSums] = []
    first: tuple[Planes, Magnitudes] | None = None
    references: References | None = None
    context, stride = checkpoint.model.prior.context, checkpoint.model.stride
    for picture in pictures:
        coded, parameters = _walk(checkpoint, to_float(picture.pixels), rate_level)
        if min(coded.y_hat.shape[2:]) < WINDOW:
            continue
        first = first or (planes_of(coded), magnitudes_of(coded.y_hat))
        found = references_of(
            context, coded.y_hat, parameters, channel=first[0].channel, pixels=picture.pixels, stride=stride
        )
        if found is not None:
            references = references or found[0]
            referred.append(found[1])
        spreads.append(spread_of(coded, picture.pixels.shape[0] * picture.pixels.shape[1]))
    if first is None:
        raise BadData(f"no picture of at least {WINDOW} x {WINDOW} latents; give larger ones")
    return _inspection(checkpoint.name, spreads, first, references=references, referred=tuple(referred))


def _inspection(
    name: str,
    spreads: list[Spread],
    first: tuple[Planes, Magnitudes],
    *,
    references: References | None,
    referred: tuple[ReferenceSums, ...],
) -> Inspection:
    whole = Spread.added(spreads)
    maps = whole.maps / whole.centres
    saving = saving_bits(whole.noisy_maps / whole.centres, whole.centres).sum()
    return Inspection(
        name=name,
        pictures=len(spreads),
        correlation=maps.mean(dim=0),
        channel_rho=relative(maps),
        saving_bpp=float(saving) * whole.positions / whole.pixels,
        estimated_y_bpp=whole.bits_y / whole.pixels,
        estimated_z_bpp=whole.bits_z / whole.pixels,
        energy=whole.energy / whole.positions,
        channel_bpp=whole.bits / whole.pixels,
        channel_mean=whole.total / whole.positions,
        histogram=whole.histogram,
        latent_histograms=whole.latent_histograms,
        first=first[0],
        magnitudes=first[1],
        references=references,
        referred=referred,
    )
