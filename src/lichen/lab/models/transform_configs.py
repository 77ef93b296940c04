"""Configs of the transforms and hyper transforms: frozen dataclasses with `build()`.

A transform's `build(levels)` gives (analysis, synthesis), called with (tensor, rate_level); `start(lams)`, of lambdas
(levels,), gives what training starts from: gains (levels,) and spreads (M,) of the latents. A hyper transform's
`build(latents, levels)` gives the same pair between y and z, and `outputs(latents)` says how many features its
synthesis hands to the context model. `stride` counts input positions for each output position. A `tolerant` transform
codes in bfloat16 where the processor has it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from lichen.errors import UsageError
from lichen.lab.post_filter.filters import PostFilter
from lichen.lab.transforms.blocks import RateIndependent
from lichen.lab.transforms.cheng import PAPERS_SLOPE, cheng_analysis, cheng_synthesis
from lichen.lab.transforms.conv_hyper import (
    cheng_hyper_analysis,
    cheng_hyper_synthesis,
    conv_hyper_analysis,
    conv_hyper_synthesis,
)
from lichen.lab.transforms.elic import elic_analysis, elic_synthesis
from lichen.lab.transforms.fast import BLOCK_SIDE, FastAnalysis, FastSynthesis, atom_spreads, dct_atoms, random_atoms
from lichen.lab.transforms.gdn import GDN, GSDN, IGDN, IGSDN
from lichen.lab.transforms.hyper import FastHyperAnalysis, FastHyperSynthesis
from lichen.lab.transforms.minnen import minnen_analysis, minnen_synthesis
from lichen.lab.transforms.swin import swin_analysis, swin_synthesis
from lichen.lab.transforms.thumbnail import ThumbnailSynthesis

Pair = tuple[nn.Module, nn.Module]


def _random_start(lams: Tensor, latents: int) -> tuple[Tensor, Tensor]:
    """Gains (levels,) and spreads (M,) of a transform that starts at random: 1 at the middle rate, and 1."""
    return torch.sqrt(lams / torch.sqrt(lams[0] * lams[-1])), torch.ones(latents)


@dataclass(frozen=True)
class CosineAtoms:
    """A block transform that starts as a classical codec: a colour transform times DCT atoms."""

    def atoms(self, latents: int) -> Tensor:
        """(M, 3, 16, 16), orthonormal."""
        return dct_atoms(latents)

    def spreads(self, latents: int) -> Tensor:
        """Typical deviations (M,) of their latents."""
        return atom_spreads(latents)


@dataclass(frozen=True)
class RandomAtoms:
    """A block transform that starts as random orthonormal atoms: latents of neighbouring blocks are correlated.

    `spread` is the typical deviation of latents: the root mean square of x - 0.5 on photographs. Raises `UsageError`
    where it is not positive.
    """

    spread: float = 0.3

    def __post_init__(self) -> None:
        if not 0 < self.spread < math.inf:
            raise UsageError(f"spread must be positive, not {self.spread}")

    def atoms(self, latents: int) -> Tensor:
        """(M, 3, 16, 16), orthonormal, by PyTorch's generator."""
        return random_atoms(latents)

    def spreads(self, latents: int) -> Tensor:
        """Typical deviations (M,) of their latents."""
        return torch.full((latents,), self.spread)


@dataclass(frozen=True)
class FastTransform:
    """The default model's transform: channels at 1/8 (`fine`) and 1/16 (`coarse`) of the resolution.

    A depth counts a side's depthwise blocks at 1/8 and at 1/16; `..._dense` its dense blocks at 1/8. `start_atoms` is
    what the block transform starts as, in both directions; it says nothing of a trained model.
    """

    latents: int = 320
    fine: int = 128
    coarse: int = 128
    encoder_depth: tuple[int, int] = (3, 1)
    decoder_depth: tuple[int, int] = (4, 1)
    encoder_dense: int = 0
    decoder_dense: int = 0
    start_atoms: CosineAtoms | RandomAtoms = CosineAtoms()
    stride: ClassVar[int] = BLOCK_SIDE
    tolerant: ClassVar[bool] = True  # as measured with the shipped weights: docs/decisions/0016-bfloat16.md

    def build(self, levels: int) -> Pair:
        start = (self.start_atoms.atoms(self.latents), self.fine, self.coarse)
        return (
            FastAnalysis(*start, (*self.encoder_depth, self.encoder_dense), levels),
            FastSynthesis(*start, (*self.decoder_depth, self.decoder_dense), levels),
        )

    def start(self, lams: Tensor) -> tuple[Tensor, Tensor]:
        """1 / step for each level, by high-rate theory: step^2 = 12 / (2 ln 2 * 65025 lambda); the atoms' spreads."""
        return torch.sqrt(2 * math.log(2) * 65025 * lams / 12), self.start_atoms.spreads(self.latents)


@dataclass(frozen=True)
class MinnenTransform:
    """Four 5 x 5 convolutions with GDN (Balle 2018, Minnen 2018), or with GSDN where `subtractive` (Qian 2021)."""

    latents: int = 192
    width: int = 128
    subtractive: bool = False
    stride: ClassVar[int] = 16
    tolerant: ClassVar[bool] = False

    def build(self, levels: int) -> Pair:
        norm, inverse = (GSDN, IGSDN) if self.subtractive else (GDN, IGDN)
        analysis = minnen_analysis(self.width, self.latents, norm)
        return RateIndependent(analysis), RateIndependent(minnen_synthesis(self.width, self.latents, inverse))

    def start(self, lams: Tensor) -> tuple[Tensor, Tensor]:
        return _random_start(lams, self.latents)


@dataclass(frozen=True)
class ChengTransform:
    """Cheng 2020: residual blocks and sub-pixel convolutions, as many channels inside as latents."""

    latents: int = 192
    attention: bool = True
    stride: ClassVar[int] = 16
    tolerant: ClassVar[bool] = False

    def build(self, levels: int) -> Pair:
        analysis = cheng_analysis(self.latents, self.attention)
        return RateIndependent(analysis), RateIndependent(cheng_synthesis(self.latents, self.attention))

    def start(self, lams: Tensor) -> tuple[Tensor, Tensor]:
        return _random_start(lams, self.latents)


@dataclass(frozen=True)
class ElicTransform:
    """ELIC (He 2022, supplement table 1); with one block a stage and no attention ELIC-sm (table 2)."""

    latents: int = 320
    width: int = 192
    blocks: int = 3
    attention: bool = True
    stride: ClassVar[int] = 16
    tolerant: ClassVar[bool] = False

    def build(self, levels: int) -> Pair:
        sizes = (self.width, self.latents, self.blocks, self.attention)
        return RateIndependent(elic_analysis(*sizes)), RateIndependent(elic_synthesis(*sizes))

    def start(self, lams: Tensor) -> tuple[Tensor, Tensor]:
        return _random_start(lams, self.latents)


@dataclass(frozen=True)
class SwinTransform:
    """SwinT (Zhu 2022): windows of attention at 1/2 ... 1/16; the last width is that of the latents."""

    widths: tuple[int, ...] = (128, 192, 256, 320)
    depths: tuple[int, ...] = (2, 2, 6, 2)
    window: int = 8
    tolerant: ClassVar[bool] = False

    @property
    def latents(self) -> int:
        """M, the last width."""
        return self.widths[-1]

    @property
    def stride(self) -> int:
        """Pixels for each latent."""
        return int(2 ** len(self.widths))

    def build(self, levels: int) -> Pair:
        sizes = (self.widths, self.depths, self.window)
        return RateIndependent(swin_analysis(*sizes)), RateIndependent(swin_synthesis(*sizes))

    def start(self, lams: Tensor) -> tuple[Tensor, Tensor]:
        return _random_start(lams, self.latents)


@dataclass(frozen=True)
class FastHyper:
    """The default model's hyper transform; `features` is what it gives the context model."""

    hyper_latents: int = 64
    width: int = 96
    features: int = 128
    stride: ClassVar[int] = 4

    def outputs(self, latents: int) -> int:
        return self.features

    def build(self, latents: int, levels: int) -> Pair:
        return (
            FastHyperAnalysis(latents, self.width, self.hyper_latents, levels),
            FastHyperSynthesis(self.hyper_latents, self.width, self.features, levels),
        )


@dataclass(frozen=True)
class ConvHyper:
    """Three convolutions each way (Balle 2018, Minnen 2018, ELIC, Qian 2021).

    `inner` are the synthesis's channels at half and full resolution; `features` what it gives, None for 2 M:
    a mean and a scale for each latent. `slope` 0 is ReLU. `magnitude`: the analysis sees |y|.
    """

    hyper_latents: int = 128
    inner: tuple[int, int] = (192, 288)
    features: int | None = None
    slope: float = PAPERS_SLOPE
    magnitude: bool = False
    stride: ClassVar[int] = 4

    def outputs(self, latents: int) -> int:
        return 2 * latents if self.features is None else self.features

    def build(self, latents: int, levels: int) -> Pair:
        return (
            RateIndependent(conv_hyper_analysis(latents, self.hyper_latents, self.slope, self.magnitude)),
            RateIndependent(conv_hyper_synthesis(self.hyper_latents, self.inner, self.outputs(latents), self.slope)),
        )


@dataclass(frozen=True)
class ChengHyper:
    """Five 3 x 3 convolutions each way with sub-pixel upsampling (Cheng 2020); gives 2 M features."""

    hyper_latents: int = 192
    stride: ClassVar[int] = 4

    def outputs(self, latents: int) -> int:
        return 2 * latents

    def build(self, latents: int, levels: int) -> Pair:
        return (
            RateIndependent(cheng_hyper_analysis(latents, self.hyper_latents)),
            RateIndependent(cheng_hyper_synthesis(self.hyper_latents, self.outputs(latents))),
        )


@dataclass(frozen=True)
class SwinHyper:
    """SwinT's hyper transform (Zhu 2022); gives 2 M features."""

    widths: tuple[int, ...] = (192, 192)
    depths: tuple[int, ...] = (5, 1)
    window: int = 4

    @property
    def hyper_latents(self) -> int:
        """Z, the last width."""
        return self.widths[-1]

    @property
    def stride(self) -> int:
        """Latents for each hyper-latent."""
        return int(2 ** len(self.widths))

    def outputs(self, latents: int) -> int:
        return 2 * latents

    def build(self, latents: int, levels: int) -> Pair:
        sizes = (self.widths, self.depths, self.window)
        return (
            RateIndependent(swin_analysis(*sizes, channels_in=latents)),
            RateIndependent(swin_synthesis(*sizes, channels_out=self.outputs(latents))),
        )


class Nothing(nn.Module):
    """No channels, at the size of what it is given: (B, C, h, w) -> (B, 0, h, w)."""

    def forward(self, x: Tensor, rate_level: Tensor) -> Tensor:
        return x[:, :0]

    def fixed_point(self) -> Nothing:
        """Nothing is computed: its own fixed-point module."""
        return self


@dataclass(frozen=True)
class NoHyper:
    """No hyper-latent: for the factorized prior, and for context models that see decoded latents alone."""

    hyper_latents: ClassVar[int] = 0
    stride: ClassVar[int] = 1

    def outputs(self, latents: int) -> int:
        return 0

    def build(self, latents: int, levels: int) -> Pair:
        return Nothing(), Nothing()


@dataclass(frozen=True)
class Thumbnail:
    """A synthesis of pictures `shrink` times smaller, 2, 4 or 8, from the first `channels` (of ELIC: 4 groups).

    `build(latents, stride)` raises `UsageError` for sizes that the model cannot have.
    """

    channels: int = 128
    shrink: int = 4
    width: int = 64

    def build(self, latents: int, stride: int) -> ThumbnailSynthesis:
        if self.shrink not in {2, 4, 8} or self.shrink >= stride:
            raise UsageError(f"shrink must be 2, 4 or 8 and below the stride of {stride}, not {self.shrink}")
        if not 1 <= self.channels <= latents:
            raise UsageError(f"channels must be 1 ... {latents}, not {self.channels}")
        return ThumbnailSynthesis(self.channels, self.width, (stride // self.shrink).bit_length() - 1)


@dataclass(frozen=True)
class Filter:
    """The adaptive post-filter: `count` principal filters of `side` x `side` pixels (`lab.post_filter`).

    Raises `UsageError` for sides that are even or beyond 9.
    """

    count: int = 64
    side: int = 5

    def __post_init__(self) -> None:
        if self.count < 1:
            raise UsageError(f"count must be at least 1, not {self.count}")
        if self.side % 2 == 0 or not 1 <= self.side <= 9:
            raise UsageError(f"side must be 1, 3, 5, 7 or 9, not {self.side}")

    def build(self, levels: int) -> PostFilter:
        return PostFilter(self.count, self.side, levels)


AnyTransform = FastTransform | MinnenTransform | ChengTransform | ElicTransform | SwinTransform
AnyHyper = FastHyper | ConvHyper | ChengHyper | SwinHyper | NoHyper
