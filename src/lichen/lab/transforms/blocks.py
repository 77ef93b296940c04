"""Layers and blocks that the transforms share: 1 x 1 convolutions, residual blocks, tables by rate, resampling."""

from __future__ import annotations

import contextlib
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lichen.lab.transforms.convolutions import Conv3x3, Deconv, channels_last, chunks, coding, coding_in_bfloat16

SLOPE = 0.125  # of the LeakyReLUs: a power of two, so that the fixed-point module is exact and cheap
HIDDEN_CHUNK = 2**20  # values of a hidden map at a time when coding: 4 MB
HIDDEN_VALUES_MAX = 2**23  # values of a hidden map above which chunks are taken in bfloat16 too: 16 MB


def no_autocast(x: Tensor) -> contextlib.AbstractContextManager[object]:
    """A context without autocast on the device of x (any shape).

    An empty one where PyTorch has no autocast (the meta device).
    """
    kind = x.device.type
    return torch.autocast(kind, enabled=False) if torch.amp.is_autocast_available(kind) else contextlib.nullcontext()


def without_autocast(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """layer(x) in the layer's own precision: (B, Cin, h, w) -> (B, Cout, h, w).

    For layers where the 8 bits of bfloat16 would show in latents or pixels, or gain no time.
    """
    with no_autocast(x):
        out: Tensor = layer(x.to(layer.weight.dtype))
        return out


class Pointwise(nn.Conv2d):
    """A 1 x 1 convolution as one matrix product over channels-last pixels: (B, Cin, h, w) -> (B, Cout, h, w).

    The parameters are those of `nn.Conv2d(Cin, Cout, 1)`. It avoids the unfolding that PyTorch chooses for 1 x 1
    convolutions with one thread. The result is a view: changing it in place makes autograd copy it several times
    (docs/decisions/0013).
    """

    def __init__(self, channels_in: int, channels_out: int, bias: bool = True) -> None:
        super().__init__(channels_in, channels_out, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        pixels = F.linear(x.permute(0, 2, 3, 1), self.weight[:, :, 0, 0], self.bias)
        return pixels.permute(0, 3, 1, 2)

    def added_to(self, x: Tensor, hidden: Tensor) -> Tensor:
        """x + self(hidden): (B, Cout, h, w). When coding, a chunk of pixels at a time: no pass for the sum."""
        if self.bias is None or not coding(x):
            change: Tensor = self(hidden)
            return x + change
        out, matrix = channels_last(x), self.weight[:, :, 0, 0].t()
        for before, near, made in chunks(max(HIDDEN_CHUNK // x.shape[1], 1), x, hidden, out):
            torch.addmm(before, near, matrix, out=made).add_(self.bias)
        return out

    def prepared(self, x: Tensor) -> Tensor:
        """x (B, Cin, h, w) in the form from which `rows` takes positions; here x itself."""
        return x

    def rows(self, x: Tensor, rows: Tensor) -> Tensor:
        """Some output channels only: prepared x (..., Cin) and channels `rows` (r,) int64 -> (..., r), no autocast."""
        bias = None if self.bias is None else self.bias[rows]
        with no_autocast(x):
            return F.linear(x.to(self.weight.dtype), self.weight[rows, :, 0, 0], bias)


class DepthwiseBlock(nn.Module):
    """Residual block of a depthwise k x k and two 1 x 1 convolutions: (B, C, h, w) -> (B, C, h, w).

    A LeakyReLU stands between the 1 x 1 convolutions. It starts as the identity: its last layer is zero.
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
        change: Tensor = self.project(self.act(self.expand(without_autocast(self.spatial, x))))
        return x + change

    def _in_chunks(self, x: Tensor) -> Tensor:
        """`forward`, a chunk of pixels at a time so that the hidden map stays in the cache; the sum is in float32."""
        out = (x + self.project.bias[:, None, None]).contiguous(memory_format=torch.channels_last)  # type: ignore[index]
        count = HIDDEN_CHUNK // self.expand.out_channels
        dtype = torch.bfloat16 if torch.is_autocast_enabled("cpu") else x.dtype
        there, back = (layer.weight[:, :, 0, 0].to(dtype) for layer in (self.expand, self.project))
        bias = None if self.expand.bias is None else self.expand.bias.to(dtype)
        for seen, changed in chunks(count, without_autocast(self.spatial, x), out):
            hidden = F.linear(seen.to(dtype), there, bias)
            F.leaky_relu(hidden, SLOPE, inplace=True)
            if dtype == out.dtype:
                changed.addmm_(hidden, back.t())
            else:
                changed.add_(F.linear(hidden, back))
        return out


class DenseBlock(nn.Module):
    """Residual block of two 3 x 3 convolutions with a LeakyReLU between: (B, C, h, w) -> (B, C, h, w).

    It has the most multiply-adds of the blocks here, and runs closest to a processor's peak. It starts as the identity.
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
    """A learned vector for each trained rate, linearly interpolated between them: rate_level (B,) -> (B, C, 1, 1).

    `rate_level` is the position between trained rates, in [0, rates - 1]. When coding it is a multiple of 1/512 and
    the table lies on a power-of-two grid (`lab.fixed_point`), so the interpolation is without error on every machine.
    """

    def __init__(self, values: Tensor) -> None:
        super().__init__()
        self.table = nn.Parameter(values.clone())

    def forward(self, rate_level: Tensor) -> Tensor:
        last = self.table.shape[0] - 1
        below = rate_level.detach().floor().clamp(0, max(last - 1, 0)).long()
        above = (below + 1).clamp(max=last)
        weight = (rate_level - below).to(self.table.dtype)[:, None]
        low, high = self.table[below], self.table[above]
        return (low + (high - low) * weight)[:, :, None, None]


def unshuffled_channels_last(x: Tensor, factor: int) -> Tensor:
    """`F.pixel_unshuffle` with a channels-last result: (B, C, H, W) -> (B, C f^2, H/f, W/f)."""
    batch, channels, height, width = x.shape
    cells = x.reshape(batch, channels, height // factor, factor, width // factor, factor)
    cells = cells.permute(0, 2, 4, 1, 3, 5).reshape(batch, height // factor, width // factor, -1)
    return cells.permute(0, 3, 1, 2)


def asinh(x: Tensor) -> Tensor:
    """The inverse hyperbolic sine, to 1e-6, of any shape: `torch.asinh` is not vectorised and takes a layer's time."""
    magnitude = x.abs()
    return torch.log(magnitude + torch.sqrt(magnitude * magnitude + 1)) * torch.sign(x)


class RateIndependent(nn.Module):
    """A transform that is the same at every rate: body's result for (B, C, h, w); rate_level (B,) is not used."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor, rate_level: Tensor) -> Tensor:
        out: Tensor = self.body(x)
        return out


def conv(channels_in: int, channels_out: int, kernel: int = 5, stride: int = 2) -> nn.Conv2d:
    """A convolution padded to keep the size, or to divide it by its stride: (B, Cin, h, w) -> (B, Cout, h/s, w/s)."""
    if (kernel, stride) == (1, 1):
        return Pointwise(channels_in, channels_out)
    if (kernel, stride) == (3, 1):
        return Conv3x3(channels_in, channels_out)
    return nn.Conv2d(channels_in, channels_out, kernel, stride, padding=kernel // 2)


def deconv(channels_in: int, channels_out: int, kernel: int = 5) -> nn.ConvTranspose2d:
    """A transposed convolution of stride 2: (B, Cin, h, w) -> (B, Cout, 2h, 2w)."""
    return Deconv(channels_in, channels_out, kernel)


class Bottleneck(nn.Module):
    """Residual bottleneck of 1 x 1, 3 x 3 and 1 x 1 convolutions (He 2016): (B, C, h, w) -> (B, C, h, w).

    ReLUs stand between; the 3 x 3 has half the channels.
    """

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
    """Set a layer's weights and bias to zero in place, so that a residual branch starts with no effect."""
    with torch.no_grad():
        layer.weight.zero_()
        if layer.bias is not None:
            layer.bias.zero_()
    return layer


def down(channels_in: int, channels_out: int) -> nn.Sequential:
    """Half the resolution, space to depth then a 1 x 1 convolution: (B, Cin, h, w) -> (B, Cout, h/2, w/2)."""
    return nn.Sequential(nn.PixelUnshuffle(2), Pointwise(4 * channels_in, channels_out))


def up(channels_in: int, channels_out: int) -> nn.Sequential:
    """Twice the resolution, a 1 x 1 convolution then depth to space: (B, Cin, h, w) -> (B, Cout, 2h, 2w)."""
    return nn.Sequential(Pointwise(channels_in, 4 * channels_out), nn.PixelShuffle(2))
