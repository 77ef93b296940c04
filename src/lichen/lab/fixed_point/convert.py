"""Fixed point: the twin of a network that gives the same numbers on every machine.

Activations are multiples of 2^-12 within +-2048 (24 bits), weights have 16 bits and a power-of-two
step. Both are carried in float64, where every partial sum of a convolution is an integer (in units
of the product of the steps) below 2^53, hence exact in whatever order a library adds. After each
layer the result is rounded to the activation grid (half to even) and clamped. See docs/format.md.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lichen.errors import BadCheckpoint
from lichen.lab.transforms.blocks import LevelTable

ACTIVATION_BITS = 12  # fractional bits
ACTIVATION_MAX = 2048.0 - 2.0**-ACTIVATION_BITS
ROUNDER = 1.5 * 2.0 ** (52 - ACTIVATION_BITS)
WEIGHT_BITS = 14  # fractional bits of a weight at most; fewer when a layer has weights beyond 2
_PADDING = {"zeros": "constant", "replicate": "replicate"}  # names of nn.Conv2d and of F.pad
WEIGHT_LEVELS = 2**15  # |weight| in steps is below this: signed 16 bits


def snap(x: Tensor) -> Tensor:
    """Round to the activation grid, half to even, and clamp; float64 in and out."""
    return snap_((x + 0.0).double())


def snap_(x: Tensor, offset: Tensor | float = ROUNDER) -> Tensor:
    """`snap` in place, for |x| < 2^39: adding a number whose last place is the grid's rounds to it, half to even.

    `offset` is that number, or a tensor of it plus a bias on the grid, which is then added too.
    """
    return x.add_(offset).sub_(ROUNDER).clamp_(-ACTIVATION_MAX, ACTIVATION_MAX)


def within(x: Tensor) -> Tensor:
    """x clamped to the activations' range; as it is where nothing is beyond, which is nearly always."""
    low, high = torch.aminmax(x.permute(0, 2, 3, 1) if x.dim() == 4 else x)  # contiguous, or it copies
    return x.clamp(-ACTIVATION_MAX, ACTIVATION_MAX) if max(-float(low), float(high)) > ACTIVATION_MAX else x


def step_bits(weight: Tensor) -> int:
    """Fractional bits with which a layer's largest weight still fits 16 bits."""
    largest = float(weight.abs().max()) if weight.numel() else 0.0
    if not math.isfinite(largest):
        raise BadCheckpoint("a weight of the prior is not finite: the weights file is damaged")
    bits = WEIGHT_BITS
    while round(largest * 2**bits) >= WEIGHT_LEVELS:
        bits -= 1
    return bits


def summed(padded: Tensor, taps: Tensor) -> Tensor:
    """The convolution of padded (B, H, W, Cin) with taps (k, l, Cin, Cout): (B, H - k + 1, W - l + 1, Cout).

    A matrix product for each tap, over the pixels as they lie in memory: nothing is unfolded. What it computes where
    a row ends and the next begins is dropped.
    """
    (batch, down, across), (side, breadth) = padded.shape[:3], taps.shape[:2]
    height, width = down - side + 1, across - breadth + 1
    count = (height - 1) * across + width
    totals = padded.new_empty(batch, height * across, taps.shape[3])
    for pixels, total in zip(padded.reshape(batch, down * across, -1), totals[:, :count], strict=True):
        for row, column in itertools.product(range(side), range(breadth)):
            first = row * across + column
            part = pixels[first : first + count]
            if first:
                total.addmm_(part, taps[row, column])
            else:
                torch.mm(part, taps[row, column], out=total)
    rows = totals.view(batch, height, across, -1)
    return rows[:, :, :width].contiguous()


def fill_of(conv: nn.Conv2d) -> str:
    """What lies beyond the map for a convolution, as `F.pad` names it. Raises `BadCheckpoint`."""
    if isinstance(conv.padding, str) or conv.padding_mode not in _PADDING or conv.dilation != (1, 1):
        raise BadCheckpoint("a convolution of the prior has padding or dilation that is not supported")
    return _PADDING[conv.padding_mode]


class ExactConv(nn.Module):
    """The fixed-point twin of a Conv2d: (B, Cin, h, w) -> (B, Cout, h', w') float64 on the grid."""

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
        self.register_buffer("offset", snap(bias) + ROUNDER)
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
        units = self.weight.abs().sum(dim=(1, 2, 3)) * ACTIVATION_MAX + snap(bias).abs()
        if float(units.max()) * 2.0 ** (bits + ACTIVATION_BITS) >= 2.0**53:
            raise BadCheckpoint("a layer of the prior is too large for exact arithmetic; retrain it")

    def forward(self, x: Tensor) -> Tensor:
        x = within(x)
        if self.depthwise:
            product = self._shifted(x)
        elif self.plain:
            product = summed(self._padded(x), self.taps)
        else:
            product = F.conv2d(x, self.weight, None, self.stride, self.padding, groups=self.groups).permute(0, 2, 3, 1)
        return snap_(product, self.offset).permute(0, 3, 1, 2)

    def prepared(self, x: Tensor) -> Tensor:
        """x (B, Cin, h, w) as `rows` takes its points."""
        return within(x)

    def rows(self, x: Tensor, rows: Tensor) -> Tensor:
        """Only these outputs of a 1 x 1 convolution: x (..., Cin), prepared, and rows (r,) int64 -> (..., r)."""
        return snap_(F.linear(x, self.weight[:, :, 0, 0].index_select(0, rows)), self.offset[rows])

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


class ExactLeakyReLU(nn.Module):
    """max(x, slope x) on the grid; the slope has 16 fractional bits and is at most 1."""

    def __init__(self, act: nn.LeakyReLU) -> None:
        super().__init__()
        self.slope = round(act.negative_slope * 2**16) / 2**16

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(within(x), self.slope).add_(ROUNDER).sub_(ROUNDER)  # not beyond x: nothing to clamp


class ExactLevelTable(LevelTable):
    """The fixed-point twin of a level table: entries and interpolated values on the activation grid."""

    def __init__(self, table: LevelTable) -> None:
        super().__init__(snap(table.table.detach()))

    def forward(self, level: Tensor) -> Tensor:
        return torch.stack([self._at(position) for position in level.tolist()])[:, :, None, None]

    def _at(self, position: float) -> Tensor:
        """(C,) at one level: as `LevelTable`, in a third of the steps."""
        last = len(self.table) - 1
        below = min(int(position), max(last - 1, 0))
        low, high = self.table[below], self.table[min(below + 1, last)]
        return snap_(low + (high - low) * (position - below))


@runtime_checkable
class HasTwin(Protocol):
    """A module that makes its fixed-point twin itself."""

    def exact(self) -> nn.Module: ...


@runtime_checkable
class Guarded(Protocol):
    """A module whose walks run within a context of its choice."""

    guard: Callable[[], AbstractContextManager[None]]


M = TypeVar("M", bound=nn.Module)

_TWINS: dict[type[nn.Module], Callable[[Any], nn.Module]] = {
    nn.Conv2d: ExactConv,
    nn.LeakyReLU: ExactLeakyReLU,
    LevelTable: ExactLevelTable,
}
_AS_IS = (nn.PixelShuffle, nn.PixelUnshuffle, nn.Identity, nn.ReLU)  # exact on any grid


def _twin(module: nn.Module, single: bool) -> nn.Module | None:
    """The fixed-point twin of a leaf layer, or None when the module is made of other modules."""
    if isinstance(module, HasTwin):
        return module.exact()
    for kind, twin in _twins(single).items():
        if isinstance(module, kind):
            return twin(module)
    if isinstance(module, _AS_IS):
        return module
    if next(module.children(), None) is None:
        where = "lichen.lab.fixed_point.float32" if single else "lichen.lab.fixed_point.convert"
        raise BadCheckpoint(f"{type(module).__name__} has no fixed-point twin ({where})")
    return None


def _twins(single: bool) -> dict[type[nn.Module], Callable[[Any], nn.Module]]:
    from lichen.lab.fixed_point import functions, swin
    from lichen.lab.fixed_point.float32 import TWINS

    return TWINS if single else _TWINS | functions.TWINS | swin.TWINS


def _replace(module: nn.Module, single: bool) -> None:
    for name, child in list(module.named_children()):
        own = bool(getattr(child, "single", single))
        twin = _twin(child, own)
        if twin is None:
            _replace(child, own)
        else:
            setattr(module, name, twin)


def freeze(module: M) -> M:
    """A copy of `module` whose leaf layers are fixed point, in float64; the original is untouched.

    What is in a module whose `single` is true is in float32 (`prior.single`), but for parts whose own is false.

    Composite modules keep their own `forward`, which may add, slice, mask, concatenate and reshape
    (all exact on the grid) but not multiply. Raises `BadCheckpoint` for a layer without a twin, a
    weight that is not finite, or sums that could leave 2^53.
    """
    from lichen.lab.fixed_point.float32 import careful_sums

    twin = copy.deepcopy(module).requires_grad_(False).eval()
    single = bool(getattr(twin, "single", False))
    _replace(twin, single)
    if single and isinstance(twin, Guarded):
        twin.guard = careful_sums
    return twin
