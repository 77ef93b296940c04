"""Entropy parameters: what the coder is told of latents before it codes them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from lichen.coding.scales import NO_SKIP, RAW_SCALE_BITS
from lichen.coding.trellis import FIRST, OFFSET
from lichen.lab.prior.families import OURS, Family, Gaussian


@dataclass(frozen=True)
class EntropyParameters:
    """Mean and raw scale of latents under a family of distributions, (B, ..., C) each, in quantisation steps.

    `trellis`: those of larger scales are trellis-coded (`coding.trellis`), as one block of each picture. `earlier` are
    the parameters of a model's earlier stages (Global Reference), which are priced in training only.
    """

    mean: Tensor
    raw_scale: Tensor
    family: Family = OURS
    earlier: tuple[EntropyParameters, ...] = ()
    trellis: bool = False

    @property
    def scale(self) -> Tensor:
        """sigma, bounded to what the coder has tables for."""
        return self.family.scale.scale(self.raw_scale)

    @property
    def skipped(self) -> Tensor:
        """True where the coder codes nothing and y_hat is the mean."""
        if self.family.skip == NO_SKIP:
            return torch.zeros_like(self.raw_scale, dtype=torch.bool)
        smallest = self.family.scale.thresholds()[self.family.skip]
        skipped: Tensor = torch.round(self.raw_scale.double() * 2**RAW_SCALE_BITS) < smallest
        return skipped

    @property
    def centre(self) -> Tensor:
        """What is taken from y before it is rounded, and added again: the mean, unless that is inside the density."""
        return torch.zeros_like(self.mean) if self.family.mean_in_cdf else self.mean

    def offset_scales(self, octaves: Tensor) -> EntropyParameters:
        """The same with scales `octaves` (B, ..., C) larger, for raw scales in the logarithm."""
        return replace(self, raw_scale=self.raw_scale + octaves)

    def index(self) -> Tensor:
        """The coder's scale indices, uint8, of raw scales as they are in files: on their grid."""
        raw_scale = self.raw_scale.detach().double()
        return self.family.scale.index(torch.round(raw_scale * 2**RAW_SCALE_BITS) / 2**RAW_SCALE_BITS)

    def bits(self, symbols: Tensor) -> Tensor:
        """The cost in bits of symbols, elementwise: of y_hat = centre + symbols, but for trellis-coded ones."""
        if self.trellis:
            symbols = torch.where(self.index() >= FIRST, symbols - OFFSET, symbols)
        return self.family.bits(self._residual(symbols), self.scale)

    def training_bits(self, noisy: Tensor, rounded: Tensor | None = None) -> Tensor:
        """The cost in bits of centre + noisy, elementwise, with a useful gradient at any distance.

        With `rounded` the cost of that, as in a file: the scale learns from it, mean and y from the noisy one.
        """
        price = self.family.training_bits
        if rounded is None:
            return price(self._residual(noisy), self.scale)
        scale = self.scale
        slope = price(self._residual(noisy), scale.detach())
        return price(self._residual(rounded).detach(), scale) + (slope - slope.detach())

    def _residual(self, value: Tensor) -> Tensor:
        return value.float() - self.mean.float() if self.family.mean_in_cdf else value.float()


class Density(Protocol):
    """A learned density: bits of each latent, given its distance from the density's median."""

    def bits(self, residual: Tensor) -> Tensor:
        """residual (B, n, C) -> bits (B, n, C)."""
        ...


@dataclass(frozen=True)
class LearnedEntropyParameters:
    """Latents of a density that is learned for each channel (Balle 2018), whatever the picture.

    `mean` (B, n, C) is the density's median; `frequencies` (C, 2R + 2) are the coder's integers for the symbols
    -R ... R and the escape, summing to 2^24. A learned density has no scale: 1 stands for it.
    """

    mean: Tensor
    density: Density
    frequencies: Tensor
    family: Gaussian = OURS
    earlier: tuple[EntropyParameters, ...] = ()

    @property
    def raw_scale(self) -> Tensor:
        """Zeros (B, n, C)."""
        return torch.zeros_like(self.mean)

    @property
    def centre(self) -> Tensor:
        """What is taken from y before it is rounded, and added again: the median."""
        return self.mean

    @property
    def skipped(self) -> Tensor:
        """False (B, n, C): all are coded."""
        return torch.zeros_like(self.mean, dtype=torch.bool)

    def bits(self, symbols: Tensor) -> Tensor:
        """The cost in bits of y_hat = centre + symbols, elementwise."""
        return self.density.bits(symbols.float())

    def training_bits(self, noisy: Tensor, rounded: Tensor | None = None) -> Tensor:
        """The same of the noisy one; a learned density has a gradient wherever it has data."""
        return self.density.bits(noisy.float())


AnyEntropyParameters = EntropyParameters | LearnedEntropyParameters
