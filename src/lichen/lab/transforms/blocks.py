"""Building blocks shared by the transforms. Nothing here knows of entropy or bits."""

from __future__ import annotations

import contextlib
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lichen.lab.transforms.convolutions import Conv3x3, Deconv, channels_last, chunks, coding, coding_in_bfloat16

SLOPE = 0.125  # LeakyReLU's slope: a power of two, so that the fixed-point twin is exact and cheap


HIDDEN_CHUNK = 2**20  # values at a time where a block codes: 4 MB
HIDDEN_VALUES_MAX = 2**23  # values of a hidden map from which it is made in chunks in bfloat16 too: 16 MB


def no_autocast(x: Tensor) -> contextlib.AbstractContextManager[object]:
    """A context without autocast on x's device; nothing where there is none (shapes on the meta device)."""
    kind = x.device.type
    return torch.autocast(kind, enabled=False) if torch.amp.is_autocast_available(kind) else contextlib.nullcontext()


def in_full(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """layer(x) without autocast: where bfloat16's 8 bits would show in latents or pixels, or gain nothing."""
    with no_autocast(x):
        out: Tensor = layer(x.to(layer.weight.dtype))
        return out


class Pointwise(nn.Conv2d):
    """A 1 x 1 convolution, run as one matrix product over channels-last pixels.

    The same parameters as `nn.Conv2d(cin, cout, 1)`; it avoids the unfolding that
    PyTorch chooses for 1 x 1 convolutions with one thread. Its result is a view: what changes it in place makes
    autograd copy it several times (docs/decisions/0013).
    """

    def __init__(self, channels_in: int, channels_out: int, bias: bool = True) -> None:
        super().__init__(channels_in, channels_out, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        pixels = F.linear(x.permute(0, 2, 3, 1), self.weight[:, :, 0, 0], self.bias)
        return pixels.permute(0, 3, 1, 2)

    def added_to(self, x: Tensor, hidden: Tensor) -> Tensor:
        """x + self(hidden); when coding some pixels at a time, so that the sum costs no passes of its own."""
        if self.bias is None or not coding(x):
            change: Tensor = self(hidden)
            return x + change
        out, matrix = channels_last(x), self.weight[:, :, 0, 0].t()
        for before, near, made in chunks(max(HIDDEN_CHUNK // x.shape[1], 1), x, hidden, out):
            torch.addmm(before, near, matrix, out=made).add_(self.bias)
        return out

    def prepared(self, x: Tensor) -> Tensor:
        """x (B, Cin, h, w) as `rows` takes its points: here as it is."""
        return x

    def rows(self, x: Tensor, rows: Tensor) -> Tensor:
        """Only these outputs: x (..., Cin), prepared, and rows (r,) int64 -> (..., r), without autocast."""
        bias = None if self.bias is None else self.bias[rows]
        with no_autocast(x):
            return F.linear(x.to(self.weight.dtype), self.weight[rows, :, 0, 0], bias)


class DepthwiseBlock(nn.Module):
    """Residual block: depthwise k x k, then two 1 x 1 convolutions with a LeakyReLU between.

    (B, C, h, w) -> (B, C, h, w). Starts as the identity: its last layer is zero.
    """

    def __init__(self, channels: int, kernel: int, expansion: int = 2) -> None:
        super().__init__()
        hidden = expansion * channels
        self.spatial = nn.Conv2d(channels, channels, kernel, padding=kernel // 2, groups=channels)
        self.expand = Pointwise(channels, hidden)
        self.act = nn.LeakyReLU(SLOPE)
        self.project = zero_(Pointwise(hidden, channels))

    def forward(self, x: Tensor) -> Tensor:
        large = x[0, 0].numel() * self.expand.out_channels > HIDDEN_VALUES_MAX
        if coding(x) or (large and coding_in_bfloat16(x)):
            return self._in_chunks(x)
        change: Tensor = self.project(self.act(self.expand(in_full(self.spatial, x))))
        return x + change

    def _in_chunks(self, x: Tensor) -> Tensor:
        """The same: some pixels at a time, so that the hidden layer stays in the cache; the sum is in float32."""
        out = (x + self.project.bias[:, None, None]).contiguous(memory_format=torch.channels_last)  # type: ignore[index]
        count = HIDDEN_CHUNK // self.expand.out_channels
        dtype = torch.bfloat16 if torch.is_autocast_enabled("cpu") else x.dtype
        there, back = (layer.weight[:, :, 0, 0].to(dtype) for layer in (self.expand, self.project))
        bias = None if self.expand.bias is None else self.expand.bias.to(dtype)
        for seen, changed in chunks(count, in_full(self.spatial, x), out):
            hidden = F.linear(seen.to(dtype), there, bias)
            F.leaky_relu(hidden, SLOPE, inplace=True)
            if dtype == out.dtype:
                changed.addmm_(hidden, back.t())
            else:
                changed.add_(F.linear(hidden, back))
        return out


class DenseBlock(nn.Module):
    """Residual block of two 3 x 3 convolutions with a LeakyReLU between: (B, C, h, w) -> (B, C, h, w).

    The dearest block by multiply-adds, and the one that comes closest to a processor's peak. Starts as the identity.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.act = nn.LeakyReLU(SLOPE, inplace=True)
        self.second = zero_(nn.Conv2d(channels, channels, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        change: Tensor = self.second(self.act(self.first(x)))
        return change.add_(x) if change.dtype == x.dtype else x + change


class LevelTable(nn.Module):
    """A vector per trained quality level, linearly interpolated between levels.

    `forward(level)` takes (B,) floats in [0, levels - 1] and gives (B, C, 1, 1). At coding time
    `level` is a multiple of 1/512 and the table lies on a power-of-two grid (`prior.exact`), so the
    interpolation is exact on every machine.
    """

    def __init__(self, values: Tensor) -> None:
        super().__init__()
        self.table = nn.Parameter(values.clone())

    def forward(self, level: Tensor) -> Tensor:
        last = self.table.shape[0] - 1
        below = level.detach().floor().clamp(0, max(last - 1, 0)).long()
        above = (below + 1).clamp(max=last)
        weight = (level - below).to(self.table.dtype)[:, None]
        low, high = self.table[below], self.table[above]
        return (low + (high - low) * weight)[:, :, None, None]


def unshuffled(x: Tensor, factor: int) -> Tensor:
    """`F.pixel_unshuffle`, whose result lies channels-last in memory: (B, C, H, W) -> (B, C f^2, H/f, W/f)."""
    batch, channels, height, width = x.shape
    cells = x.reshape(batch, channels, height // factor, factor, width // factor, factor)
    cells = cells.permute(0, 2, 4, 1, 3, 5).reshape(batch, height // factor, width // factor, -1)
    return cells.permute(0, 3, 1, 2)


def asinh(x: Tensor) -> Tensor:
    """The inverse hyperbolic sine, to 1e-6: `torch.asinh` is not vectorised and takes as long as a whole layer."""
    magnitude = x.abs()
    return torch.log(magnitude + torch.sqrt(magnitude * magnitude + 1)).copysign(x)


class RateIndependent(nn.Module):
    """A network that is the same at every quality level, as a transform that is given one."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        out: Tensor = self.body(x)
        return out


def conv(channels_in: int, channels_out: int, kernel: int = 5, stride: int = 2) -> nn.Conv2d:
    """A convolution that keeps the size, or divides it by its stride: (B, Cin, h, w) -> (B, Cout, h/s, w/s)."""
    if (kernel, stride) == (1, 1):
        return Pointwise(channels_in, channels_out)
    if (kernel, stride) == (3, 1):
        return Conv3x3(channels_in, channels_out)
    return nn.Conv2d(channels_in, channels_out, kernel, stride, padding=kernel // 2)


def deconv(channels_in: int, channels_out: int, kernel: int = 5) -> nn.ConvTranspose2d:
    """A transposed convolution of stride 2: (B, Cin, h, w) -> (B, Cout, 2h, 2w)."""
    return Deconv(channels_in, channels_out, kernel)


class Bottleneck(nn.Module):
    """The identity beside 1 x 1, 3 x 3, 1 x 1 at half the channels with ReLU between: (B, C, h, w) -> (B, C, h, w)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.body = nn.Sequential(
            Pointwise(channels, half),
            nn.ReLU(),
            conv(half, half, 3, 1),
            nn.ReLU(inplace=True),
            Pointwise(half, channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        last = self.body[-1]
        assert isinstance(last, Pointwise)
        return last.added_to(x, self.body[:-1](x))


C = TypeVar("C", bound=nn.Conv2d)


def zero_(layer: C) -> C:
    """Set a layer's weights and bias to zero in place, so that a branch starts silent."""
    with torch.no_grad():
        layer.weight.zero_()
        if layer.bias is not None:
            layer.bias.zero_()
    return layer


def down(channels_in: int, channels_out: int) -> nn.Sequential:
    """Half the resolution: (B, Cin, h, w) -> (B, Cout, h/2, w/2), one 1 x 1 over 2 x 2 cells."""
    return nn.Sequential(nn.PixelUnshuffle(2), Pointwise(4 * channels_in, channels_out))


def up(channels_in: int, channels_out: int) -> nn.Sequential:
    """Twice the resolution: (B, Cin, h, w) -> (B, Cout, 2h, 2w), the inverse layout of `down`."""
    return nn.Sequential(Pointwise(channels_in, 4 * channels_out), nn.PixelShuffle(2))
