"""Fixed point in single precision: sums of 24 bits, for priors of 1 x 1 and depthwise convolutions.

As `fixed_point.convert`, with half the memory to move and the fast kernels of float32. A weight has 9 bits and a sign,
in a power-of-two step of its output's. Inputs are rounded to power-of-two steps, of a 1 x 1 layer each pixel's to one
of its own, as fine as its largest value allows: every partial sum is an integer of at most 2^24, in units of the
product of the steps, hence exact in whatever order a library adds (products and sums: no Winograd, no FFT). Results
are multiples of 2^-12 within +-1024. See docs/format.md, section 3.
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from lichen.errors import BadCheckpoint
from lichen.lab.fixed_point.grid import ACTIVATION_BITS, fill_of
from lichen.lab.fixed_point.layers import FixedPointLevelTable
from lichen.lab.fixed_point.registry import register
from lichen.lab.transforms.blocks import LevelTable
from lichen.runtime.fixed_point import (
    FLOAT32_MAX,
    FLOAT32_ROUNDER,
    REACH_BITS,
    coarseness,
    depthwise_rounder,
    minus_offset,
    stepped,
)

MAX, ROUNDER = FLOAT32_MAX, FLOAT32_ROUNDER
_in_double: ContextVar[bool] = ContextVar("in_double", default=False)


def round_to_float32_grid(x: Tensor, minus_offset: Tensor) -> Tensor:
    """float32 x of any shape plus a bias put on the grid, half to even, and clamped; x is changed.

    `minus_offset` is minus the bias and what rounds to the grid when added. It is subtracted, not added: optimisers of
    graphs make a product and a sum one operation that begins at the offset, where sums are not exact.
    """
    return x.sub_(minus_offset).sub_(ROUNDER).clamp_(-MAX, MAX)


def coarse(pixels: Tensor, by: Tensor) -> Tensor:
    """float32 (..., C) -> the same, rounded half to even to each pixel's own step.

    With 2^e above the largest magnitude of the C values, and not above its double, the step is 2^(e + sum_bits - 24);
    `by` () is 1.5 * 2^sum_bits. The power of two is found by arithmetic alone (Rump 2008, algorithm 3.6), which
    is the same in every engine.
    """
    # Not aminmax, which takes ten times as long.
    largest = pixels.abs().amax(dim=-1, keepdim=True).clamp(min=2.0**-ACTIVATION_BITS)
    scaled = largest * (2.0**23 + 1)
    power = (scaled - (scaled - scaled * 2.0**-24)).abs()  # 2^(e - 1); (1 - 2^-24) would be taken for 1
    rounder = power * by
    return (pixels + rounder).sub_(rounder)


def _bias(conv: nn.Conv2d) -> NDArray[Any]:
    bias = torch.zeros(conv.out_channels) if conv.bias is None else conv.bias.detach()
    found: NDArray[Any] = bias.cpu().numpy()
    return found


def _sums(x: Tensor, weight: Tensor, padding: tuple[int, ...] = (0, 0), groups: int = 1) -> Tensor:
    if _in_double.get() or torch.is_autocast_enabled("cpu"):
        return F.conv2d(x.double(), weight.double(), None, 1, padding, groups=groups).float()
    return F.conv2d(x, weight, None, 1, padding, groups=groups)


@functools.cache
def _probes() -> list[tuple[Tensor, Tensor, int, Tensor]]:
    """Inputs, weights, groups and exact sums for each kernel that libraries choose among: by size, by kind.

    Weights have all their nine bits and are odd, inputs as many as let their sums come near 2^24.
    """
    found = []
    for channels, outputs, side, kernel in ((64, 24, 5, 1), (320, 24, 9, 1), (64, 64, 9, 3), (64, 64, 9, 5)):
        inputs = kernel**2 if kernel > 1 else channels
        most = 2**24 // (176 * inputs)
        x = torch.arange(channels * side**2) * 7919 % (2 * most) - most
        x = x.view(1, side, side, channels).permute(0, 3, 1, 2).float()
        place = torch.arange(outputs * inputs)
        weight = torch.where(place % 4 == 0, place * 7907 % 511 * 2 - 511, 1)  # a quarter large: inputs may be too
        weight = weight.view(outputs, -1, kernel, kernel)
        groups = 1 if kernel == 1 else channels
        found.append((x, weight.float(), groups, F.conv2d(x.double(), weight.double(), groups=groups)))
    return found


@contextlib.contextmanager
def careful_sums() -> Iterator[None]:
    """Sums of float32 as they are, or in float64 where they would not be exact: the same numbers.

    Libraries can be told to multiply in bfloat16 (torch.backends.mkldnn.conv.fp32_precision, DNNL_DEFAULT_FPMATH_MODE,
    autocast); sums whose results are known find out.
    """
    with torch.autocast("cpu", enabled=False):
        good = all(torch.equal(F.conv2d(x, w, groups=groups).double(), y) for x, w, groups, y in _probes())
        token = _in_double.set(not good)
        try:
            yield
        finally:
            _in_double.reset(token)


class Float32Pointwise(nn.Module):
    """The fixed-point module of a 1 x 1 convolution: (B, Cin, h, w) -> (B, Cout, h, w) float32 on the grid."""

    weight: Tensor
    minus_offset: Tensor
    coarseness: Tensor  # of its input: 1.5 * 2^sum_bits, ()

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        weight, bits = stepped(conv.weight.detach().cpu().numpy())
        self.register_buffer("coarseness", torch.from_numpy(coarseness(bits)))
        exact = torch.from_numpy(weight).float().contiguous(memory_format=torch.channels_last)
        self.register_buffer("weight", exact)
        self.register_buffer("minus_offset", torch.from_numpy(minus_offset(_bias(conv))))

    def forward(self, x: Tensor) -> Tensor:
        sums = _sums(self.prepared(x), self.weight)
        return round_to_float32_grid(sums.permute(0, 2, 3, 1), self.minus_offset).permute(0, 3, 1, 2)

    def prepared(self, x: Tensor) -> Tensor:
        """x (B, Cin, h, w) rounded, as sums take it: for `rows` once for all points."""
        return coarse(x.permute(0, 2, 3, 1).float(), self.coarseness).permute(0, 3, 1, 2)

    def rows(self, x: Tensor, rows: Tensor) -> Tensor:
        """Only these outputs: x (..., Cin), prepared, and rows (r,) int64 -> (..., r)."""
        points = x.reshape(1, 1, -1, x.shape[-1]).permute(0, 3, 1, 2)  # one row: ONNX Runtime is slow on one column
        sums = _sums(points, self.weight.index_select(0, rows)).permute(0, 2, 3, 1)
        return round_to_float32_grid(sums, self.minus_offset[rows]).view(*x.shape[:-1], -1)


class Float32Depthwise(nn.Module):
    """The fixed-point module of a depthwise convolution of stride 1, (B, C, h, w) -> (B, C, h, w) float32."""

    weight: Tensor
    rounder: Tensor  # rounds to each channel's step when added
    minus_offset: Tensor

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.fill = fill_of(conv)
        self.padding: tuple[int, ...] = tuple(int(side) for side in conv.padding)
        weight, bits = stepped(conv.weight.detach().cpu().numpy())
        self.register_buffer("weight", torch.from_numpy(weight).float())
        self.register_buffer("rounder", torch.from_numpy(depthwise_rounder(bits))[:, None, None])
        self.register_buffer("minus_offset", torch.from_numpy(minus_offset(_bias(conv)))[:, None, None])

    def forward(self, x: Tensor) -> Tensor:
        reach, (rows, columns) = 2.0**REACH_BITS, self.padding
        seen = x.float().clamp(-reach, reach).add_(self.rounder).sub_(self.rounder)
        if self.weight.shape[2:] == (1, 1):
            return round_to_float32_grid(seen.mul_(self.weight[:, 0]), self.minus_offset)
        if self.fill != "constant":
            seen, rows, columns = F.pad(seen, (columns, columns, rows, rows), self.fill), 0, 0
        # Planes may go to Winograd on ARM, whose sums are not of integers.
        seen = seen.contiguous(memory_format=torch.channels_last)
        return round_to_float32_grid(_sums(seen, self.weight, (rows, columns), seen.shape[1]), self.minus_offset)


class Float32LeakyReLU(nn.Module):
    """max(x, slope x) on the grid, elementwise, for a slope that is a power of two.

    Raises `BadCheckpoint` for another.
    """

    def __init__(self, act: nn.LeakyReLU) -> None:
        super().__init__()
        self.slope = float(act.negative_slope)
        if math.frexp(self.slope)[0] != 0.5 or self.slope >= 1:
            raise BadCheckpoint(
                "a rectifier of the prior has a slope that is no power of two below 1; it needs double precision"
            )

    def forward(self, x: Tensor) -> Tensor:
        return torch.maximum((x * self.slope).add_(ROUNDER).sub_(ROUNDER), x)


def _convolution(conv: nn.Conv2d) -> nn.Module:
    if conv.kernel_size == (1, 1) and conv.groups == 1 and conv.stride == (1, 1) and conv.padding == (0, 0):
        return Float32Pointwise(conv)
    if conv.groups == conv.in_channels == conv.out_channels and conv.stride == (1, 1):
        return Float32Depthwise(conv)
    raise BadCheckpoint("a convolution of the prior is neither 1 x 1 nor depthwise; it needs double precision")


register(nn.Conv2d, _convolution, float32=True)
register(nn.LeakyReLU, Float32LeakyReLU, float32=True)
register(LevelTable, functools.partial(FixedPointLevelTable, dtype=torch.float32), float32=True)
