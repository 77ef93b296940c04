"""Swin transformer transforms (Zhu 2022): attention in windows at each resolution, patches merged and split between.

All maps are (B, C, h, w). A map of any size works: windows are padded at the right and the bottom with positions that
no real position attends to. Linear layers are 1 x 1 convolutions. `Attend`, `ChannelNorm` and `nn.GELU` are layers of
their own, so that each has its fixed-point module (`lab.fixed_point`).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lichen.lab.transforms.blocks import Pointwise

HEAD = 32  # channels of an attention head


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of each position (Ba 2016): (B, C, h, w) -> (B, C, h, w)."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Attend(nn.Module):
    """Softmax attention within windows, with a learned bias for each relative position (Liu 2021, eq. 4).

    q, k, v (windows, heads, n, d) and `apart` (windows, 1, n, n) bool -> (windows, heads, n, d), where n = window^2.
    `apart` is true where two positions must not attend to each other.
    """

    index: Tensor

    def __init__(self, heads: int, window: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(heads, (2 * window - 1) ** 2))
        nn.init.trunc_normal_(self.bias, std=0.02)
        place = torch.arange(window)
        shift = place[:, None] - place[None] + window - 1
        index = shift[:, None, :, None] * (2 * window - 1) + shift[None, :, None, :]
        self.register_buffer("index", index.reshape(window**2, window**2), persistent=False)

    def forward(self, q: Tensor, k: Tensor, v: Tensor, apart: Tensor) -> Tensor:
        bias = self.bias[:, self.index].to(q.dtype)
        return F.scaled_dot_product_attention(q, k, v, bias.masked_fill(apart, float("-inf")))


def _regions(height: int, width: int, size: tuple[int, int], window: int, shift: tuple[int, int]) -> Tensor:
    """(windows, 1, n, n) bool: which positions of a rolled window must not attend to each other.

    `size` is the padded size. Padding and map are apart, and so are parts of a window that the roll brought together
    from opposite sides.
    """
    labels = []
    for real, full, step in ((height, size[0], shift[0]), (width, size[1], shift[1])):
        place = (torch.arange(full) + step) % full
        wrapped = (torch.arange(full) >= full - step).long()
        labels.append(2 * (place >= real).long() + wrapped)
    label = 4 * labels[0][:, None] + labels[1][None]
    label = label.reshape(size[0] // window, window, size[1] // window, window).permute(0, 2, 1, 3)
    label = label.reshape(-1, window * window)
    return (label[:, :, None] != label[:, None, :])[:, None]


class WindowAttention(nn.Module):
    """Multi-head attention within windows, shifted by half a window if asked (Liu 2021): (B, C, h, w) -> same."""

    def __init__(self, channels: int, window: int, shifted: bool) -> None:
        super().__init__()
        self.window, self.heads = window, max(channels // HEAD, 1)
        self.shift = window // 2 if shifted else 0
        self.qkv = Pointwise(channels, 3 * channels)
        self.attend = Attend(self.heads, window)
        self.project = Pointwise(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        down, right = -height % self.window, -width % self.window
        full = (height + down, width + right)
        shift = tuple(self.shift if side > self.window else 0 for side in full)
        qkv = F.pad(self.qkv(x), (0, right, 0, down)).roll((-shift[0], -shift[1]), dims=(2, 3))
        q, k, v = self._windows(qkv)
        apart = _regions(height, width, full, self.window, shift=(shift[0], shift[1])).to(x.device)
        out = self._join(self.attend(q, k, v, apart.repeat(len(x), 1, 1, 1)), full)
        out = out.roll(shift, dims=(2, 3))[..., :height, :width]
        projected: Tensor = self.project(out)
        return projected

    def _windows(self, qkv: Tensor) -> Tensor:
        """(B, 3C, h, w) -> (3, B windows, heads, n, d)."""
        batch, channels, height, width = qkv.shape
        w = self.window
        cells = qkv.reshape(batch, 3, self.heads, channels // (3 * self.heads), height // w, w, width // w, w)
        cells = cells.permute(1, 0, 4, 6, 2, 5, 7, 3)
        return cells.reshape(3, -1, self.heads, w * w, channels // (3 * self.heads))

    def _join(self, out: Tensor, full: tuple[int, int]) -> Tensor:
        """(B windows, heads, n, d) -> (B, C, h, w)."""
        w, rows, columns = self.window, full[0] // self.window, full[1] // self.window
        cells = out.reshape(-1, rows, columns, self.heads, w, w, out.shape[-1])
        return cells.permute(0, 3, 6, 1, 4, 2, 5).reshape(len(cells), -1, *full)


class SwinBlock(nn.Module):
    """Swin block: window attention, then a two-layer network of four times the width, each behind a norm.

    (B, C, h, w) -> (B, C, h, w) (Liu 2021).
    """

    def __init__(self, channels: int, window: int, shifted: bool) -> None:
        super().__init__()
        self.attention = nn.Sequential(ChannelNorm(channels), WindowAttention(channels, window, shifted))
        self.network = nn.Sequential(
            ChannelNorm(channels),
            Pointwise(channels, 4 * channels),
            nn.GELU(),
            Pointwise(4 * channels, channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(x)
        out: Tensor = x + self.network(x)
        return out


def swin_blocks(channels: int, depth: int, window: int) -> list[nn.Module]:
    """`depth` Swin blocks, (B, C, h, w) -> (B, C, h, w) each; the second, fourth ... are shifted."""
    return [SwinBlock(channels, window, shifted=i % 2 == 1) for i in range(depth)]


def merge(channels_in: int, channels_out: int, norm: bool = True) -> nn.Sequential:
    """Patch merging, 2 x 2 positions to one: (B, Cin, h, w) -> (B, Cout, h/2, w/2)."""
    inner = [ChannelNorm(4 * channels_in)] if norm else []
    return nn.Sequential(nn.PixelUnshuffle(2), *inner, Pointwise(4 * channels_in, channels_out))


def split(channels_in: int, channels_out: int, norm: bool = True) -> nn.Sequential:
    """Patch splitting, each position to 2 x 2: (B, Cin, h, w) -> (B, Cout, 2h, 2w) (Zhu 2022)."""
    inner = [ChannelNorm(4 * channels_out)] if norm else []
    return nn.Sequential(Pointwise(channels_in, 4 * channels_out), *inner, nn.PixelShuffle(2))


def swin_analysis(widths: tuple[int, ...], depths: tuple[int, ...], window: int, channels_in: int = 3) -> nn.Sequential:
    """Analysis (Zhu 2022): (B, Cin, H, W) -> (B, widths[-1], H/2^n, W/2^n) in n stages of merging and blocks.

    Pixels are not normalised before the first merging: that would lose their brightness.
    """
    layers: list[nn.Module] = []
    for stage, (width, depth) in enumerate(zip(widths, depths, strict=True)):
        before = widths[stage - 1] if stage else channels_in
        layers += [merge(before, width, norm=stage > 0), *swin_blocks(width, depth, window)]
    return nn.Sequential(*layers)


def swin_synthesis(
    widths: tuple[int, ...], depths: tuple[int, ...], window: int, channels_out: int = 3
) -> nn.Sequential:
    """Synthesis (Zhu 2022), the mirror of `swin_analysis`: (B, widths[-1], h, w) -> (B, Cout, 2^n h, 2^n w).

    The last splitting is not normalised.
    """
    layers: list[nn.Module] = []
    for stage in reversed(range(len(widths))):
        after = widths[stage - 1] if stage else channels_out
        layers += [*swin_blocks(widths[stage], depths[stage], window), split(widths[stage], after, norm=stage > 0)]
    return nn.Sequential(*layers)
