"""A linear filter of the picture's own, over what the synthesis gave.

A small synthesis makes the picture that is best on average; how much of each colour helps its neighbours and the
others, and how much noise there is to smooth, differs from picture to picture. An encoder sees both pictures, and
states the filter that brings one nearest to the other (Wiener's; video codecs have them as adaptive loop filters, Tsai
et al. 2013) as whole numbers: how much of each of the model's principal filters, found on training pictures, is in it.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from lichen.coding.scales import RAW_SCALE_BITS, SCALE_MIN
from lichen.lab.prior.entropy_parameters import EntropyParameters
from lichen.lab.prior.families import Logistic
from lichen.lab.prior.walk import Coder
from lichen.lab.transforms.blocks import no_autocast

USUAL = 7  # binary digits of 64 ... 127 hyper-latents, of 64 x 64 pixels each: the size that tables are for


class PostFilter(nn.Module):
    """x_hat + the sum over k of c_k (filters_k * x_hat + offsets_k), c_k = s_k 2^(steps - e / 2), s_k whole numbers.

    `filters` (3 K, 3, n, n), the k-th being 3 k ... 3 k + 2, `offsets` (K, 3), and for each trained level `steps`
    (levels,), log2 of what c_k is counted in, and `raw_scales` (levels, K), log2 of s_k's deviation. A picture of 2^e
    times the usual hyper-latents has finer steps: it earns more by them. Pixels beyond the map are those of its edge.
    It begins as nothing.
    """

    filters: Tensor
    offsets: Tensor
    steps: Tensor
    raw_scales: Tensor

    def __init__(self, count: int, side: int, levels: int) -> None:
        super().__init__()
        self.register_buffer("filters", torch.zeros(3 * count, 3, side, side))
        self.register_buffer("offsets", torch.zeros(count, 3))
        self.register_buffer("steps", torch.zeros(levels))
        self.register_buffer("raw_scales", torch.full((levels, count), math.log2(SCALE_MIN)))

    @property
    def learned(self) -> bool:
        """Whether there is anything to choose from."""
        return bool(self.filters.any())

    @property
    def sane(self) -> bool:
        """Whether its numbers are such that no file's can take a picture beyond float32."""
        tables = torch.cat([self.steps, self.raw_scales.flatten()])
        taps = torch.cat([self.filters.flatten(), self.offsets.flatten()])
        return float(tables.abs().max()) <= 64 and float(taps.abs().max()) <= 2**16

    @property
    def side(self) -> int:
        """Of the square of pixels that it sees."""
        return self.filters.shape[-1]

    def code(
        self,
        coder: Coder,
        rate_level: float,
        hyper_latents: int,
        numbers: NDArray[np.int64] | None = None,
        group: int = 0,
    ) -> Tensor:
        """Code s (K,), or read it when it is None, behind the latents; gives the coefficients c (K,), float64.

        `group` is the last channel group, in whose stream they are.
        """
        wanted = None if numbers is None else torch.from_numpy(numbers).double()[None, None]
        symbols = coder.code(self.entropy_parameters(rate_level, hyper_latents), wanted, group)[0, 0]
        return symbols * self.step(rate_level, hyper_latents)

    def entropy_parameters(self, rate_level: float, hyper_latents: int) -> EntropyParameters:
        """Those of s, (1, 1, K), in a file of this rate level (0 ... levels - 1) and size."""
        row = self.raw_scales[_nearest(rate_level)].double().cpu()
        raw_scale = torch.round(row * 2**RAW_SCALE_BITS) / 2**RAW_SCALE_BITS + octaves(hyper_latents)
        return EntropyParameters(torch.zeros_like(raw_scale)[None, None], raw_scale[None, None], Logistic())

    def step(self, rate_level: float, hyper_latents: int) -> float:
        """What c_k is counted in."""
        return float(2.0 ** (float(self.steps[_nearest(rate_level)]) - octaves(hyper_latents)))

    def taps(self) -> Tensor:
        """The principal filters as (3 n n + 1, 3, K): what of each input, then of 1, goes into each colour."""
        by_filter = self.filters.unflatten(0, (-1, 3)).flatten(2)
        return torch.cat([by_filter, self.offsets[:, :, None]], dim=2).permute(2, 1, 0)

    def forward(self, x_hat: Tensor, coefficients: Tensor) -> Tensor:
        """x_hat (B, 3, H, W) and c (K,) -> the filtered picture, of the same shape, float32."""
        coefficients, middle = coefficients.to(self.filters), self.side // 2
        with no_autocast(x_hat):
            kernel = torch.tensordot(coefficients, self.filters.unflatten(0, (-1, 3)), dims=1)
            kernel[:, :, middle, middle] += torch.eye(3, device=kernel.device)
            return F.conv2d(F.pad(x_hat.float(), (middle,) * 4, mode="replicate"), kernel, coefficients @ self.offsets)


def _nearest(rate_level: float) -> int:
    """The trained level whose tables serve."""
    return math.floor(rate_level + 0.5)


def octaves(hyper_latents: int) -> float:
    """e / 2: how many times the usual side this picture's is, as a power of two; whole and half ones."""
    return (hyper_latents.bit_length() - USUAL) / 2
