"""Convolutions that run faster when coding: the same parameters and, up to rounding, the same results.

In inference mode on a CPU, wide 3 x 3 convolutions use Winograd's algorithm, and transposed convolutions with few
outputs become plain ones. Training, GPUs and the counts of `lichen models` use PyTorch's layers.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

import numpy as np
import torch
from numpy.polynomial import polynomial
from torch import Tensor, nn
from torch.nn import functional as F

_POINTS = (0.0, 2 / 3, -2 / 3, 3 / 2, -3 / 2)  # of interpolation: these round well
_TILE, _INPUT = 4, 6  # side of a tile of outputs, and of the inputs that it needs
_WINOGRAD_CHANNELS = 160  # from which the products saved outweigh the tiles' transforms
_WINOGRAD_POSITIONS = 4096  # likewise
_STRIP = 2**20  # values of the tiles of a strip: 4 MB
_SUBPIXEL_OUTPUTS = 4  # up to which a transposed convolution wastes most of a vector register


def coding(x: Tensor) -> bool:
    """Whether a layer may be fast on x (B, C, h, w): float32 on a CPU, in inference mode, without autocast."""
    return _coding(x) and not torch.is_autocast_enabled("cpu")


def coding_in_bfloat16(x: Tensor) -> bool:
    """Whether x (B, C, h, w) is coded under autocast to bfloat16 on a CPU (`lab.engine.precision`)."""
    return _coding(x) and torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16


def _coding(x: Tensor) -> bool:
    return x.device.type == "cpu" and x.dtype == torch.float32 and torch.is_inference_mode_enabled()


def chunks(count: int, *maps: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """The pixels of channels-last maps (B, C, h, w), `count` at a time so that they stay cached: (count, C) each."""
    return zip(*(m.permute(0, 2, 3, 1).flatten(0, 2).split(count) for m in maps), strict=True)


def channels_last(x: Tensor) -> Tensor:
    """An uninitialised map of x's shape (B, C, h, w), channels-last whatever x is."""
    return torch.empty_like(x, memory_format=torch.channels_last)


class Conv3x3(nn.Conv2d):
    """A 3 x 3 convolution of stride 1 that keeps the size: (B, Cin, h, w) -> (B, Cout, h, w)."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__(channels_in, channels_out, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        large = x.shape[2] * x.shape[3] >= _WINOGRAD_POSITIONS and min(self.weight.shape[:2]) >= _WINOGRAD_CHANNELS
        if large and coding(x):
            return winograd(x, self.weight, self.bias)
        return super().forward(x)


class Deconv(nn.ConvTranspose2d):
    """A transposed convolution of stride 2: (B, Cin, h, w) -> (B, Cout, 2h, 2w)."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int) -> None:
        super().__init__(channels_in, channels_out, kernel, 2, padding=kernel // 2, output_padding=1)

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        narrow = self.out_channels <= _SUBPIXEL_OUTPUTS and self.kernel_size == (5, 5)
        if narrow and output_size is None and coding(x):
            return self._subpixel(x)
        return super().forward(x, output_size)

    def _subpixel(self, x: Tensor) -> Tensor:
        """As a 3 x 3 convolution whose outputs are the 2 x 2 pixels of each position; missing taps are zeros."""
        taps = F.pad(self.weight, (0, 1, 0, 1)).view(*self.weight.shape[:2], 3, 2, 3, 2).flip(2, 4)
        kernel = taps.permute(1, 3, 5, 0, 2, 4).reshape(4 * self.out_channels, -1, 3, 3)
        bias = None if self.bias is None else self.bias.repeat_interleave(4)
        return F.pixel_shuffle(F.conv2d(x, kernel, bias, padding=1), 2)


@functools.cache
def _matrices() -> tuple[Tensor, Tensor, Tensor]:
    """Toom and Cook's matrices for both dimensions: of weights (36, 9), of tiles (36, 36), of outputs (16, 36)."""
    points = np.array(_POINTS)
    out, weight, tile = np.zeros((_TILE, _INPUT)), np.zeros((_INPUT, 3)), np.zeros((_INPUT, _INPUT))
    for i, point in enumerate(points):
        others = np.delete(points, i)
        out[:, i] = point ** np.arange(_TILE)
        weight[i] = point ** np.arange(3) / np.prod(point - others)
        tile[i, :-1] = polynomial.polyfromroots(others)
    out[-1, -1] = weight[-1, -1] = 1  # the point at infinity
    tile[-1] = polynomial.polyfromroots(points)
    of_weights, of_tiles, of_outputs = (torch.from_numpy(np.kron(m, m)) for m in (weight, tile, out))
    return of_weights, of_tiles.float(), of_outputs.float()


def winograd(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`F.conv2d(x, weight, bias, padding=1)` with a quarter of the products: Winograd's F(4x4, 3x3) (Lavin 2016).

    x (B, Cin, h, w) float32, weight (Cout, Cin, 3, 3), bias (Cout,) -> (B, Cout, h, w), channels-last; some rows of
    tiles at a time.
    """
    of_weights, of_tiles, of_outputs = _matrices()
    batch, channels, height, width = x.shape
    down, across, outputs = -(-height // _TILE), -(-width // _TILE), weight.shape[0]
    kernel = (of_weights @ weight.double().permute(2, 3, 1, 0).reshape(9, -1)).float().view(-1, channels, outputs)
    out = x.new_empty(batch, down * _TILE, across * _TILE, outputs)
    rows = max(_STRIP // (_INPUT**2 * across * channels), 1)
    for picture, made in zip(x.permute(0, 2, 3, 1), out, strict=True):
        for first in range(0, down, rows):
            top, bottom = first * _TILE, min(first + rows, down) * _TILE
            tiles = _tiles(picture, top - 1, bottom + 1, across)
            seen = (of_tiles @ tiles.reshape(_INPUT**2, -1)).view(_INPUT**2, -1, channels)
            product = (of_outputs @ torch.bmm(seen, kernel).view(_INPUT**2, -1)).view(_TILE, _TILE, -1, across, outputs)
            product = product if bias is None else product.add_(bias)
            made[top:bottom].view(-1, _TILE, across, _TILE, outputs).copy_(product.permute(2, 0, 3, 1, 4))
    return out[:, :height, :width].permute(0, 3, 1, 2)


def _tiles(picture: Tensor, top: int, bottom: int, across: int) -> Tensor:
    """Overlapping tiles of rows `top` to `bottom` of (h, w, C), zero outside: (6, 6, tile rows, tile columns, C)."""
    height, width = picture.shape[:2]
    inside = picture[max(top, 0) : min(bottom, height)]
    edges = (0, 0, 1, across * _TILE - width + 1, max(-top, 0), max(bottom - height, 0))
    return F.pad(inside, edges).unfold(0, _INPUT, _TILE).unfold(1, _INPUT, _TILE).permute(3, 4, 0, 1, 2)
