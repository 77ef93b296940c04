"""What is estimated from latents: correlations, energies, rates, histograms; sums over pictures that can be added."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lichen.lab.losses.correlation import Correlation, channel_maps, normalised
from lichen.lab.prior.families import Family
from lichen.lab.prior.latents import Latents

WINDOW = 5  # of the correlation maps; neighbours within 3 x 3 then have all their correlations known
BINS, BINS_REACH = 81, 4.0  # of the histogram of normalised latents, from -4 to 4
LATENT_STEP, LATENT_REACH = 0.5, 128  # of the latents' histograms, in quantisation steps; the end bins hold the rest
_CAUSAL = ((-1, -1), (-1, 0), (-1, 1), (0, -1))  # rows and columns of the neighbours coded before a latent
_ROUNDING = 1 / 12  # variance of rounding, in quantisation steps


def saving_bits(maps: Tensor, count: int) -> Tensor:
    """Bits a latent would cost less if predicted from its four causal neighbours: maps (C, 5, 5) -> (C,).

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


def relative(maps: Tensor) -> Tensor:
    """Maps C (..., k, k) over their centres: rho = C / C(0), in [-1, 1]; 0 where the centre is 0."""
    side = maps.shape[-1] // 2
    centre = maps[..., side, side][..., None, None]
    return torch.where(centre > 1e-12, maps / centre.clamp(min=1e-12), 0.0)


def neighbours_mean(maps: Tensor) -> Tensor:
    """Mean of the absolute values at the eight neighbours of the centre: (..., 5, 5) -> (...)."""
    inner = maps[..., 1:4, 1:4].abs()
    return (inner.sum(dim=(-2, -1)) - inner[..., 1, 1]) / 8


def rate_weighted(rho: Tensor, rates: Tensor) -> float:
    """Mean of abs(rho) over the eight neighbours, channels weighed by their rates: (M, 5, 5), (M,) -> scalar.

    Unlike the map of all channels, in which correlations of opposite signs cancel, it says how much the latents that
    cost bits resemble their neighbours. 0 where nothing costs any.
    """
    total = float(rates.sum())
    return float((neighbours_mean(rho) * rates).sum()) / total if total else 0.0


def latent_histograms(y: Tensor) -> Tensor:
    """Counts of each channel's latents in bins of half a quantisation step: y (1, M, h, w) -> (M, 512).

    Bin i begins at -128 + i / 2; what lies beyond is counted in the end bins.
    """
    bins = int(2 * LATENT_REACH / LATENT_STEP)
    channels = y[0].flatten(1)
    place = ((channels + LATENT_REACH) / LATENT_STEP).floor().clamp(0, bins - 1).long()
    return torch.zeros(len(channels), bins).scatter_add_(1, place, torch.ones_like(place, dtype=torch.float32)).double()


@dataclass(frozen=True)
class Spread:
    """Sums over the positions of one or more pictures, which `added` adds.

    `maps` (M, 5, 5) are C (eq. 10) of each channel times centres; `noisy_maps` the same of latents with the noise of
    rounding. `energy`, `bits` and `total` (M,) sum y_hat^2, bits and y. `histogram` (81,) counts normalised latents,
    `latent_histograms` (M, 512) latents.
    """

    centres: int
    pixels: int
    positions: int
    maps: Tensor
    noisy_maps: Tensor
    energy: Tensor
    bits: Tensor
    total: Tensor
    bits_y: float
    bits_z: float
    histogram: Tensor
    latent_histograms: Tensor

    @staticmethod
    def added(parts: Sequence[Spread]) -> Spread:
        """The sums of several pictures."""
        first, *others = parts
        for part in others:
            first = Spread(*(getattr(first, name) + getattr(part, name) for name in Spread.__dataclass_fields__))
        return first


@dataclass(frozen=True)
class CodedLatents:
    """A picture's latents as a file has them, all (1, M, h, w), with bits of y and z and the prior's family."""

    latents: Latents
    y_hat: Tensor
    family: Family
    bits_y: float
    bits_z: float

    def bits(self) -> Tensor:
        """Bits of each latent by its distribution, skipped ones too: (M, h, w)."""
        away = self.y_hat - self.latents.mean
        return self.family.bits(away if self.family.mean_in_cdf else torch.round(away), self.latents.scale)[0]

    def normalised(self) -> Tensor:
        """u = (y - mean) / scale, (M, h, w)."""
        return normalised(self.latents, Correlation(WINDOW))[0]


def spread_of(coded: CodedLatents, pixels: int) -> Spread:
    """The sums over one picture of so many pixels."""
    latents, u = coded.latents, coded.normalised()
    deviation = torch.sqrt(latents.scale.square() + _ROUNDING)
    noisy = channel_maps((latents.y - latents.mean) / deviation, WINDOW)
    noisy[:, WINDOW // 2, WINDOW // 2] += (_ROUNDING / deviation.square()).mean(dim=(0, 2, 3))
    height, width = u.shape[1:]
    centres = (height - WINDOW + 1) * (width - WINDOW + 1)
    return Spread(
        centres=centres,
        pixels=pixels,
        positions=height * width,
        maps=channel_maps(u[None], WINDOW).double() * centres,
        noisy_maps=noisy.double() * centres,
        energy=coded.y_hat.square().sum(dim=(0, 2, 3)).double(),
        bits=coded.bits().sum(dim=(1, 2)).double(),
        total=latents.y.sum(dim=(0, 2, 3)).double(),
        bits_y=coded.bits_y,
        bits_z=coded.bits_z,
        histogram=torch.histc(u.float(), BINS, -BINS_REACH, BINS_REACH),
        latent_histograms=latent_histograms(latents.y),
    )
