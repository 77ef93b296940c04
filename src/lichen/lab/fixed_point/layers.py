"""Fixed-point modules of convolutions, transposed convolutions, rectifiers and level tables, in float64."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lichen.errors import BadCheckpoint
from lichen.lab.fixed_point.grid import (
    ACTIVATION_BITS,
    ACTIVATION_MAX,
    ROUNDER,
    clamp_to_grid,
    conv_by_taps,
    fill_of,
    round_to_grid,
    round_to_grid_,
    step_bits,
)
from lichen.lab.fixed_point.registry import register
from lichen.lab.transforms.blocks import LevelTable


class FixedPointConv(nn.Module):
    """The fixed-point module of a Conv2d: (B, Cin, h, w) -> (B, Cout, h', w') float64 on the grid.

    Raises `BadCheckpoint` for layers that are not supported, or whose sums could leave 2^53.
    """

    weight: Tensor
    taps: Tensor  # a matrix (Cin, Cout) for each, (k, k, Cin, Cout); of a depthwise kernel (k, k, C)
    offset: Tensor  # the bias, plus what rounds to the grid when added

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.fill = fill_of(conv)
        weight = conv.weight.detach().double()
        bits = step_bits(weight)
        bias = torch.zeros(conv.out_channels) if conv.bias is None else conv.bias.detach()
        self.register_buffer("weight", torch.round(weight * 2.0**bits) / 2.0**bits)
        self.register_buffer("offset", round_to_grid(bias) + ROUNDER)
        self.stride, self.groups = conv.stride, conv.groups
        self.padding: tuple[int, ...] = tuple(int(side) for side in conv.padding)
        self.depthwise = conv.groups == conv.in_channels == conv.out_channels and conv.stride == (1, 1)
        taps = self.weight[:, 0].permute(1, 2, 0) if self.depthwise else self.weight.permute(2, 3, 1, 0)
        self.register_buffer("taps", taps.contiguous())
        self.plain = conv.groups == 1 and conv.stride == (1, 1) and not self.depthwise
        if self.plain and conv.kernel_size != (1, 1):
            self.weight = self.taps.permute(3, 2, 0, 1)  # the same numbers are not held twice
        if not self.depthwise and self.fill != "constant":
            raise BadCheckpoint("only depthwise convolutions of the prior may repeat their edge")
        units = self.weight.abs().sum(dim=(1, 2, 3)) * ACTIVATION_MAX + round_to_grid(bias).abs()
        if float(units.max()) * 2.0 ** (bits + ACTIVATION_BITS) >= 2.0**53:
            raise BadCheckpoint("a layer of the prior is too large for exact arithmetic; retrain it")

    def forward(self, x: Tensor) -> Tensor:
        x = clamp_to_grid(x)
        if self.depthwise:
            product = self._shifted(x)
        elif self.plain:
            product = conv_by_taps(self._padded(x), self.taps)
        else:
            product = F.conv2d(x, self.weight, None, self.stride, self.padding, groups=self.groups).permute(0, 2, 3, 1)
        return round_to_grid_(product, self.offset).permute(0, 3, 1, 2)

    def prepared(self, x: Tensor) -> Tensor:
        """x (B, Cin, h, w) as `rows` takes its points."""
        return clamp_to_grid(x)

    def rows(self, x: Tensor, rows: Tensor) -> Tensor:
        """Only these outputs of a 1 x 1 convolution: x (..., Cin), prepared, and rows (r,) int64 -> (..., r)."""
        return round_to_grid_(F.linear(x, self.weight[:, :, 0, 0].index_select(0, rows)), self.offset[rows])

    def _padded(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, h + 2 rows, w + 2 columns, C), with zeros or with its edge around."""
        rows, columns = self.padding
        if not rows and not columns:
            return x.permute(0, 2, 3, 1)
        if self.fill == "constant":
            return F.pad(x.permute(0, 2, 3, 1), (0, 0, columns, columns, rows, rows))
        return F.pad(x, (columns, columns, rows, rows), self.fill).permute(0, 2, 3, 1).contiguous()

    def _shifted(self, x: Tensor) -> Tensor:
        """A depthwise convolution as a sum over taps, (B, h, w, C); float64 has no fast grouped kernel."""
        height, width = x.shape[-2:]
        total = torch.empty(0)
        padded = self._padded(x)
        for row, taps in enumerate(self.taps):
            for column, tap in enumerate(taps):
                shifted = padded[:, row : row + height, column : column + width]
                total = total.addcmul_(shifted, tap) if row or column else shifted * tap
        return total


class FixedPointLeakyReLU(nn.Module):
    """max(x, slope x) on the grid; the slope has 16 fractional bits and is at most 1."""

    def __init__(self, act: nn.LeakyReLU) -> None:
        super().__init__()
        self.slope = round(act.negative_slope * 2**16) / 2**16

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(clamp_to_grid(x), self.slope).add_(ROUNDER).sub_(ROUNDER)  # not beyond x: nothing to clamp


class FixedPointLevelTable(LevelTable):
    """The fixed-point module of a level table: entries and interpolated values on the activation grid.

    rate_level (B,) -> (B, C, 1, 1) of the given dtype; float32 holds the values too.
    """

    def __init__(self, table: LevelTable, dtype: torch.dtype = torch.float64) -> None:
        super().__init__(round_to_grid(table.table.detach()))
        self.dtype = dtype

    def forward(self, rate_level: Tensor) -> Tensor:
        last = len(self.table) - 1
        below = rate_level.floor().clamp(0, max(last - 1, 0)).long()
        low = self.table.index_select(0, below)
        high = self.table.index_select(0, (below + 1).clamp(max=last))
        share = (rate_level.double() - below)[:, None]
        return round_to_grid_(low + (high - low) * share)[:, :, None, None].to(self.dtype)


class FixedPointDeconv(nn.Module):
    """The fixed-point module of a ConvTranspose2d: (B, Cin, h, w) -> (B, Cout, h', w') float64 on the grid.

    The outputs of each phase of the stride are a plain convolution with every stride-th tap, backwards. Raises
    `BadCheckpoint` for layers that are not supported, or whose sums could leave 2^53.
    """

    taps: Tensor  # (k, l, Cin, Cout)
    offset: Tensor

    def __init__(self, conv: nn.ConvTranspose2d) -> None:
        super().__init__()
        if conv.groups != 1 or conv.dilation != (1, 1) or not isinstance(conv.padding, tuple):
            raise BadCheckpoint("a transposed convolution of the prior has groups or dilation; it is not supported")
        if max(conv.stride[0] - conv.kernel_size[0], conv.stride[1] - conv.kernel_size[1]) > 0:
            raise BadCheckpoint("a transposed convolution of the prior has a kernel below its stride; not supported")
        weight = conv.weight.detach().double()
        bits = step_bits(weight)
        bias = round_to_grid(torch.zeros(conv.out_channels) if conv.bias is None else conv.bias.detach())
        taps = torch.round(weight * 2.0**bits) / 2.0**bits
        self.register_buffer("taps", taps.permute(2, 3, 0, 1).contiguous())
        self.register_buffer("offset", bias + ROUNDER)
        self.stride, self.padding, self.more = conv.stride, conv.padding, conv.output_padding
        units = taps.abs().sum(dim=(0, 2, 3)) * ACTIVATION_MAX + bias.abs()
        if float(units.max()) * 2.0 ** (bits + ACTIVATION_BITS) >= 2.0**53:
            raise BadCheckpoint("a layer of the prior is too large for exact arithmetic; retrain it")

    def forward(self, x: Tensor) -> Tensor:
        pixels = clamp_to_grid(x).permute(0, 2, 3, 1)
        height, width = (
            (side - 1) * stride - 2 * padding + taps + more
            for side, stride, padding, taps, more in zip(
                x.shape[2:], self.stride, self.padding, self.taps.shape, self.more, strict=False
            )
        )
        out = pixels.new_empty(x.shape[0], height, width, self.taps.shape[3])
        for row, column in itertools.product(range(self.stride[0]), range(self.stride[1])):
            target = out[:, row :: self.stride[0], column :: self.stride[1]]
            above, rows = self._phase(0, row, x.shape[2], target.shape[1])
            beside, columns = self._phase(1, column, x.shape[3], target.shape[2])
            target.copy_(conv_by_taps(F.pad(pixels, (0, 0, *beside, *above)), self.taps[rows][:, columns]))
        return round_to_grid_(out, self.offset).permute(0, 3, 1, 2)

    def _phase(self, axis: int, phase: int, inputs: int, outputs: int) -> tuple[tuple[int, int], list[int]]:
        """Of one axis: what to pad before and after its inputs, and which taps make the outputs of one phase."""
        stride, shifted = self.stride[axis], phase + self.padding[axis]
        taps = range(shifted % stride, self.taps.shape[axis], stride)
        first, last = ((shifted - tap) // stride for tap in (taps[-1], taps[0]))  # inputs seen by output 0
        return (-first, outputs + last - inputs), list(reversed(taps))


register(nn.Conv2d, FixedPointConv)
register(nn.ConvTranspose2d, FixedPointDeconv)
register(nn.LeakyReLU, FixedPointLeakyReLU)
register(LevelTable, FixedPointLevelTable)
