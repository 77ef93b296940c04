"""What a model's latents look like on some pictures: the papers' correlation maps, energies and rates, as numbers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lichen.errors import BadData, UsageError
from lichen.image.picture import Picture
from lichen.lab.inspection import lookups
from lichen.lab.inspection.lookups import Lookup, LookupSums
from lichen.lab.losses.correlation import Correlation, channel_maps, correlation_map, normalised, off_centre
from lichen.lab.models.checkpoint import Checkpoint
from lichen.lab.models.model import Model
from lichen.lab.prior.entropy_parameters import EntropyParameters, LearnedEntropyParameters
from lichen.lab.prior.estimator import Estimator
from lichen.lab.prior.latents import Latents
from lichen.lab.prior.walk import merge
from lichen.lab.tensors import to_float
from lichen.runtime.level import Level

WINDOW = 5  # of the estimated maps; neighbours within 3 x 3 then have all their correlations known
BINS, RANGE = 81, 4.0  # of the histogram of normalised latents
_CAUSAL = ((-1, -1), (-1, 0), (-1, 1), (0, -1))  # rows and columns of the neighbours coded before a latent
_NOISE = 1 / 12  # variance of rounding


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
class Inspection:
    """A model's latents over a data set.

    `correlation` (5, 5) is C of the correlation loss (eq. 10), `off_centre` the mean of |C| of its inner 3 x 3
    without the centre. `saving_bpp` is what a Gaussian that knows its four causal neighbours of the same channel
    would still save, by the estimated correlations: how much spatial dependence is left. `energy` (M,) is the mean
    of y_hat^2, `channel_bpp` (M,) the rate of each channel by its Gaussian (skipped latents too); `histogram` (81,)
    counts normalised latents evenly in [-4, 4]. `lookup` are the first picture's references and `referred` sums of
    all pictures', where the model is Global Reference.
    """

    name: str
    pictures: int
    correlation: Tensor
    off_centre: float
    saving_bpp: float
    estimated_bpp: float
    energy: Tensor
    channel_bpp: Tensor
    histogram: Tensor
    first: Planes
    lookup: Lookup | None
    referred: tuple[LookupSums, ...]

    def numbers(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        more = {"global_reference": lookups.numbers(self.lookup, self.referred)} if self.lookup else {}
        return more | {
            "model": self.name,
            "pictures": self.pictures,
            "estimated_bpp": round(self.estimated_bpp, 5),
            "mean_off_centre_correlation": round(self.off_centre, 6),
            "spatial_saving_bpp": round(self.saving_bpp, 6),
            "correlation_map": [[round(v, 6) for v in row] for row in self.correlation.tolist()],
            "energy": [round(v, 6) for v in self.energy.tolist()],
            "channel_bpp": [round(v, 7) for v in self.channel_bpp.tolist()],
            "highest_entropy_channel": self.first.channel,
        }


@dataclass(frozen=True)
class _Seen:
    """What one picture contributes; sums over positions unless said otherwise."""

    centres: int
    pixels: int
    positions: int
    correlation: Tensor  # (5, 5), mean over centres
    noisy: Tensor  # (M, 5, 5), the same of latents with the noise of rounding, for each channel
    energy: Tensor
    bits: Tensor  # (M,)
    estimated_bits: float
    histogram: Tensor


def saving_bits(maps: Tensor, count: int) -> Tensor:
    """Bits a latent would cost less if predicted from its four causal neighbours: (C, 5, 5) maps -> (C,).

    The Gaussian's -1/2 log2(1 - R^2), R^2 = r' S^-1 r from the maps normalised by their centres, less what
    chance gives four predictors with `count` samples.
    """
    rho = (maps + maps.flip(1, 2)) / (2 * maps[:, 2, 2].clamp(min=1e-12)[:, None, None])
    between = [[(a[0] - b[0] + 2, a[1] - b[1] + 2) for b in _CAUSAL] for a in _CAUSAL]
    system = torch.stack([torch.stack([rho[:, r, c] for r, c in line], dim=1) for line in between], dim=1)
    target = torch.stack([rho[:, r + 2, c + 2] for r, c in _CAUSAL], dim=1)
    solved = torch.linalg.solve(system + 1e-6 * torch.eye(4, dtype=maps.dtype), target)
    explained = 1 - (1 - (target * solved).sum(dim=1)) * (count - 1) / max(count - 5, 1)
    return -0.5 * torch.log2(1 - explained.clamp(0, 1 - 1e-6))


@dataclass(frozen=True)
class _Walked:
    """A picture's latents as a file has them: `coded` is the belief as the walk gave it, with its stages."""

    latents: Latents
    y_hat: Tensor
    coded: EntropyParameters
    bits: float


def _walk(checkpoint: Checkpoint, x: Tensor, level: Tensor) -> _Walked:
    """One estimating pass. Raises `UsageError` for a model without a scale."""
    model: Model = checkpoint.model
    y = model.analyse(x, level)
    z = model.hyper_analyse(y, level)
    estimator = Estimator(None)
    walked = model.prior.walk(estimator, level, (z.shape[2], z.shape[3]), y, z)
    coded = walked.predicted[0][1]
    if isinstance(coded, LearnedEntropyParameters):
        raise UsageError(f"{checkpoint.name} has no scale to normalise its latents by: there is nothing to inspect")
    whole = merge(walked.predicted, y)
    return _Walked(Latents(y, whole.mean, whole.scale), walked.y_hat, coded, float(torch.stack(estimator.bits).sum()))


def _look(walked: _Walked, pixels: int) -> tuple[_Seen, Planes]:
    latents, y_hat, how = walked.latents, walked.y_hat, Correlation(WINDOW)
    residual, u = latents.y - latents.mean, normalised(latents, how)
    shape, away = walked.coded.family, y_hat - latents.mean
    bits = shape.bits(away if shape.mean_in_cdf else torch.round(away), latents.scale)[0]
    spread = torch.sqrt(latents.scale.square() + _NOISE)
    noisy = channel_maps(residual / spread, WINDOW)
    noisy[:, WINDOW // 2, WINDOW // 2] += (_NOISE / spread.square()).mean(dim=(0, 2, 3))
    height, width = u.shape[2:]
    seen = _Seen(
        centres=(height - WINDOW + 1) * (width - WINDOW + 1),
        pixels=pixels,
        positions=height * width,
        correlation=correlation_map(latents, how).double(),
        noisy=noisy.double(),
        energy=y_hat.square().sum(dim=(0, 2, 3)).double(),
        bits=bits.sum(dim=(1, 2)).double(),
        estimated_bits=walked.bits,
        histogram=torch.histc(u.float(), BINS, -RANGE, RANGE),
    )
    top = int(seen.bits.argmax())
    y_hat, mean, scale, u = (t[0, top].clone() for t in (y_hat, latents.mean, latents.scale, u))
    return seen, Planes(top, y_hat, mean, scale, u, bits.sum(dim=0))


@torch.no_grad()
def inspect_model(checkpoint: Checkpoint, pictures: Iterable[Picture], quality: float = 50) -> Inspection:
    """Look at a model's latents on pictures, at a quality of 0 ... 100.

    Raises `UsageError` for a model without a scale, `BadData` when no picture is large enough (five latents a side).
    """
    level = torch.tensor([Level.of_quality(quality, checkpoint.config.rates.count).rate_level])
    seen: list[_Seen] = []
    referred: list[LookupSums] = []
    first: Planes | None = None
    lookup: Lookup | None = None
    context, stride = checkpoint.model.prior.context, checkpoint.model.stride
    for picture in pictures:
        walked = _walk(checkpoint, to_float(picture.pixels), level)
        if min(walked.y_hat.shape[2:]) < WINDOW:
            continue
        found, planes = _look(walked, picture.pixels.shape[0] * picture.pixels.shape[1])
        back = lookups.look_back(context, walked.y_hat, walked.coded, planes.channel, picture.pixels, stride)
        if back is not None:
            lookup = lookup or back[0]
            referred.append(back[1])
        seen.append(found)
        first = first or planes
    if first is None:
        raise BadData(f"no picture of at least {WINDOW} x {WINDOW} latents; give larger ones")
    return _summed(checkpoint.name, seen, first, lookup, tuple(referred))


def _summed(
    name: str, seen: list[_Seen], first: Planes, lookup: Lookup | None, referred: tuple[LookupSums, ...]
) -> Inspection:
    centres, pixels = sum(s.centres for s in seen), sum(s.pixels for s in seen)
    positions = sum(s.positions for s in seen)
    correlation = torch.stack([s.correlation * s.centres for s in seen]).sum(dim=0) / centres
    noisy = torch.stack([s.noisy * s.centres for s in seen]).sum(dim=0) / centres
    bits = torch.stack([s.bits for s in seen]).sum(dim=0)
    return Inspection(
        name=name,
        pictures=len(seen),
        correlation=correlation,
        off_centre=float(off_centre(correlation[1:4, 1:4])),
        saving_bpp=float(saving_bits(noisy, centres).sum()) * positions / pixels,
        estimated_bpp=sum(s.estimated_bits for s in seen) / pixels,
        energy=torch.stack([s.energy for s in seen]).sum(dim=0) / positions,
        channel_bpp=bits / pixels,
        histogram=torch.stack([s.histogram for s in seen]).sum(dim=0),
        first=first,
        lookup=lookup,
        referred=referred,
    )
