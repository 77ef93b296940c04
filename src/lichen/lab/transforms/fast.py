"""The fast transform of the default model: a learned linear block transform beside a small network.

The linear branch maps each block of 16 x 16 pixels to M latents. It starts as given orthonormal atoms, usually a colour
transform times the DCT atoms of lowest frequency, as in a classical codec. The nonlinear branch works at 1/8 and 1/16
of the resolution (dense, depthwise and 1 x 1 convolutions); its last layer starts at zero (docs/decisions/0002).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lichen.lab.transforms.blocks import (
    DenseBlock,
    DepthwiseBlock,
    LevelTable,
    Pointwise,
    down,
    no_autocast,
    unshuffled_channels_last,
    up,
    without_autocast,
    zero_,
)

BLOCK_SIDE = 16  # pixels of a block, and for each latent

# Orthonormal rows: luma, blue-yellow, red-green.
_OPPONENT = (
    (1 / math.sqrt(3), 1 / math.sqrt(3), 1 / math.sqrt(3)),
    (-1 / math.sqrt(6), -1 / math.sqrt(6), 2 / math.sqrt(6)),
    (1 / math.sqrt(2), -1 / math.sqrt(2), 0.0),
)


def dct_atoms(latents: int) -> Tensor:
    """The start of the block transform, (M, 3, 16, 16), orthonormal: 2/3 of the atoms for luma, 1/6 for each chroma."""
    n = torch.arange(BLOCK_SIDE, dtype=torch.float64)
    basis = torch.cos(math.pi * (n[None] + 0.5) * n[:, None] / BLOCK_SIDE) * math.sqrt(2 / BLOCK_SIDE)
    basis[0] = math.sqrt(1 / BLOCK_SIDE)
    order = torch.tensor(
        sorted(range(BLOCK_SIDE**2), key=lambda i: ((i // BLOCK_SIDE) ** 2 + (i % BLOCK_SIDE) ** 2, i))
    )
    planes = basis[order // BLOCK_SIDE][:, None, :, None] * basis[order % BLOCK_SIDE][:, None, None, :]
    colours = torch.tensor(_OPPONENT, dtype=torch.float64)[:, :, None, None]
    chroma = latents // 6
    counts = (latents - 2 * chroma, chroma, chroma)
    return torch.cat([colour * planes[:count] for colour, count in zip(colours, counts, strict=True)]).float()


def atom_spreads(latents: int) -> Tensor:
    """Typical standard deviations (M,) of the latents of `dct_atoms` on photographs, for pixels in [0, 1].

    2 / (1 + i)^0.75 for the i-th luma atom, half of it for chroma: a start for training, no more.
    """
    chroma = latents // 6
    falls = [2 / (1 + torch.arange(count)) ** 0.75 for count in (latents - 2 * chroma, chroma, chroma)]
    return torch.cat([falls[0], falls[1] / 2, falls[2] / 2])


def random_atoms(latents: int) -> Tensor:
    """(M, 3, 16, 16) orthonormal atoms, uniformly at random by PyTorch's generator: the QR of a Gaussian matrix."""
    columns, triangle = torch.linalg.qr(torch.randn(3 * BLOCK_SIDE**2, latents, dtype=torch.float64))
    atoms: Tensor = (columns * triangle.diagonal().sign()).t().reshape(latents, 3, BLOCK_SIDE, BLOCK_SIDE)
    return atoms.float()


class FastAnalysis(nn.Module):
    """Analysis of the default model: x (B, 3, H, W) in [0, 1] and rate_level (B,) -> y (B, M, H/16, W/16).

    H and W are multiples of 16. The block transform starts as `atoms` (M, 3, 16, 16). `fine` and `coarse` are the
    channels at 1/8 and 1/16, `depth` the blocks: depthwise at 1/8, depthwise at 1/16, dense at 1/8. `levels` is the
    number of trained rates.
    """

    def __init__(self, atoms: Tensor, fine: int, coarse: int, depth: tuple[int, int, int], levels: int) -> None:
        super().__init__()
        latents = len(atoms)
        self.linear = nn.Conv2d(3, latents, BLOCK_SIDE, stride=BLOCK_SIDE, bias=False)
        with torch.no_grad():
            self.linear.weight.copy_(atoms)
        self.enter = Pointwise(3 * 64, fine)
        self.level = LevelTable(torch.zeros(levels, fine))
        self.dense = nn.Sequential(*(DenseBlock(fine) for _ in range(depth[2])))
        self.fine = nn.Sequential(*(DepthwiseBlock(fine, 3) for _ in range(depth[0])))
        self.down = down(fine, coarse)
        self.coarse = nn.Sequential(*(DepthwiseBlock(coarse, 5) for _ in range(depth[1])))
        self.leave = zero_(Pointwise(coarse, latents))

    def forward(self, x: Tensor, rate_level: Tensor) -> Tensor:
        straight, deep = self._entered(x - 0.5)
        deep = self.fine(self.dense(deep + self.level(rate_level)))
        y: Tensor = self.leave(self.coarse(self.down(deep).to(x.dtype))) + straight
        return y

    def _entered(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The first layer of both branches; no copy of the picture is needed afterwards."""
        return without_autocast(self.linear, x), self.enter(unshuffled_channels_last(x, 8))


class FastSynthesis(nn.Module):
    """Synthesis of the default model: y_hat (B, M, h, w) and rate_level (B,) -> x_hat (B, 3, 16 h, 16 w), unclamped.

    y_hat is in the units of the analysis, after the inverse gain. The arguments are those of `FastAnalysis`; the block
    transform starts as the transpose of the analysis's.
    """

    def __init__(self, atoms: Tensor, fine: int, coarse: int, depth: tuple[int, int, int], levels: int) -> None:
        super().__init__()
        latents = len(atoms)
        self.linear = Pointwise(latents, 3 * BLOCK_SIDE * BLOCK_SIDE, bias=False)
        with torch.no_grad():
            self.linear.weight.copy_(atoms.reshape(latents, -1).t()[:, :, None, None])
        self.enter = Pointwise(latents, coarse)
        self.level = LevelTable(torch.zeros(levels, coarse))
        self.coarse = nn.Sequential(*(DepthwiseBlock(coarse, 5) for _ in range(depth[1])))
        self.up = up(coarse, fine)
        self.dense = nn.Sequential(*(DenseBlock(fine) for _ in range(depth[2])))
        self.fine = nn.Sequential(*(DepthwiseBlock(fine, 3) for _ in range(depth[0])))
        self.leave = zero_(Pointwise(fine, 3 * 64))

    def forward(self, y_hat: Tensor, rate_level: Tensor) -> Tensor:
        deep = self.coarse(self.enter(y_hat) + self.level(rate_level))
        deep = without_autocast(self.leave, self.fine(self.dense(self.up(deep).to(y_hat.dtype))))
        return F.pixel_shuffle(self._with_blocks(deep, y_hat), 8).add_(0.5)

    def _with_blocks(self, deep: Tensor, y_hat: Tensor) -> Tensor:
        """deep (B, 3 * 64, 2h, 2w), where a position is 8 x 8 pixels, plus the four quarters of each linear block."""
        weight = self.linear.weight[:, :, 0, 0].unflatten(0, (3, 2, 8, 2, 8)).permute(1, 3, 0, 2, 4, 5).flatten(0, 4)
        with no_autocast(y_hat):
            blocks = F.linear(y_hat.permute(0, 2, 3, 1), weight)
        height, width = y_hat.shape[2:]
        cells = deep.permute(0, 2, 3, 1).reshape(len(deep), height, 2, width, 2, -1)
        quarters = blocks.unflatten(3, (2, 2, -1)).transpose(2, 3)
        total = cells + quarters if torch.is_grad_enabled() else cells.add_(quarters)
        return total.view(len(deep), 2 * height, 2 * width, -1).permute(0, 3, 1, 2)
