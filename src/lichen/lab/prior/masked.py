"""Convolutions that look at a part of their window only, evaluated at the positions that are asked for."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lichen.lab.fixed_point.grid import clamp_to_grid
from lichen.lab.fixed_point.layers import FixedPointConv

GATHERED_AT_ONCE = 4096  # positions that are gathered at a time


def causal(side: int, centre: bool = False) -> Tensor:
    """(side, side) bool: true before the centre in raster order, and at it where `centre`."""
    flat = torch.arange(side * side)
    return (flat < side * side // 2 + centre).view(side, side)


def checkerboard(side: int) -> Tensor:
    """(side, side) bool: true at odd distance from the centre, where a checkerboard's anchors are."""
    rows, columns = torch.arange(side)[:, None], torch.arange(side)[None]
    return (rows + columns) % 2 == 1


class MaskedConv(nn.Conv2d):
    """A convolution over known latents, through a mask: (B, Cin, h, w) -> (B, n, Cout) at `positions`.

    `mask` (k, k) says where the window is open (Minnen 2018; correlation-loss paper eq. 7); weights under it
    have no effect. `positions` (n,) are row * w + column, None for all.
    """

    mask: Tensor

    def __init__(self, channels_in: int, channels_out: int, mask: Tensor) -> None:
        super().__init__(channels_in, channels_out, len(mask), padding=len(mask) // 2)
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, known: Tensor, positions: Tensor | None = None) -> Tensor:
        full = F.conv2d(known, self.weight * self.mask, self.bias, padding=self.padding)
        flat = full.permute(0, 2, 3, 1).flatten(1, 2)
        return flat if positions is None else flat.index_select(1, positions)

    def gathered(self, flat: Tensor, index: Tensor) -> Tensor:
        """flat (B, h w + 1, Cin), its last position zero; index (n, taps) into it -> (B, n, Cout)."""
        windows = flat.index_select(1, index.flatten()).view(len(flat), len(index), -1)
        return F.linear(windows, self.weight[:, :, self.mask].permute(0, 2, 1).flatten(1), self.bias)

    def fixed_point(self) -> FixedPointMasked:
        """The fixed-point module."""
        return FixedPointMasked(self)


class FixedPointMasked(nn.Module):
    """The fixed-point module of a masked convolution: one product over gathered windows, closed taps left out.

    (B, Cin, h, w) -> (B, n, Cout) float64 on the grid at `positions` (n,), or at all.
    """

    weight: Tensor
    offset: Tensor
    mask: Tensor

    def __init__(self, conv: MaskedConv) -> None:
        super().__init__()
        open_only = nn.Conv2d(conv.in_channels * int(conv.mask.sum()), conv.out_channels, 1)
        with torch.no_grad():
            taps = conv.weight[:, :, conv.mask].permute(0, 2, 1).flatten(1)  # Cout, taps * Cin
            open_only.weight.copy_(taps[:, :, None, None])
            if conv.bias is not None and open_only.bias is not None:
                open_only.bias.copy_(conv.bias)
        self.product = FixedPointConv(open_only)
        self.register_buffer("mask", conv.mask)

    def forward(self, known: Tensor, positions: Tensor | None = None) -> Tensor:
        height, width = known.shape[-2:]
        index = neighbours(self.mask, height, width)
        flat = clamp_to_grid(known).permute(0, 2, 3, 1).flatten(1, 2)
        flat = torch.cat([flat, flat.new_zeros(len(flat), 1, flat.shape[2])], dim=1)
        index = index if positions is None else index[positions]
        return torch.cat([self.gathered(flat, block) for block in index.split(GATHERED_AT_ONCE)], dim=1)

    def gathered(self, flat: Tensor, index: Tensor) -> Tensor:
        """flat (B, h w + 1, Cin), its last position zero; index (n, taps) into it -> (B, n, Cout)."""
        windows = flat.index_select(1, index.flatten()).view(len(flat), len(index), -1)
        out: Tensor = self.product(windows.permute(0, 2, 1)[..., None])
        return out[..., 0].permute(0, 2, 1)


def neighbours(mask: Tensor, height: int, width: int) -> Tensor:
    """For each position the flat positions under the mask's open taps, (h w, taps); h w where outside."""
    reach = len(mask) // 2
    inside = torch.arange(height * width, device=mask.device).view(1, 1, height, width).double()
    padded = F.pad(inside, (reach,) * 4, value=height * width)
    windows = F.unfold(padded, len(mask))[0].long()  # taps, positions
    return windows[mask.flatten()].t()
