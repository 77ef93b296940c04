"""Corrections while a picture is encoded: latents that are left make up for the errors of those that are coded.

Between coding steps the picture is synthesised from what is decoded so far and what is wanted of the rest; its error is
taken back to the latents by the transpose of the synthesis' linear branch, and the rest moves against it. Nothing of
it is in the format: a decoder knows nothing of corrections. numpy only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lichen.runtime.tiles import Tile, Tiling

STRENGTH = 0.0154  # of a move, for lambda x 255^2 x the gradient of half the squared error
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class LinearBranch:
    """The linear branch of a synthesis: `weight` (3 s^2, M) takes latents to blocks of s x s pixels.

    Before it latents are multiplied by the exponential of `log_gain` (rates, M): docs/format.md, section 5.
    """

    weight: Floats
    log_gain: Floats

    def gradient(self, error: Floats, rate_level: float) -> Floats:
        """An error (3, H, W) of whole blocks -> its gradient (M, h, w) in quantisation steps."""
        side = int((len(self.weight) // 3) ** 0.5)
        rows, columns = error.shape[1] // side, error.shape[2] // side
        blocks = error.reshape(3, rows, side, columns, side).transpose(1, 3, 0, 2, 4).reshape(rows * columns, -1)
        below = min(int(rate_level), max(len(self.log_gain) - 2, 0))
        low, high = self.log_gain[below], self.log_gain[min(below + 1, len(self.log_gain) - 1)]
        gain = np.exp(low + (high - low) * np.float32(rate_level - below))
        found: Floats = (self.product(blocks) * gain).T.reshape(-1, rows, columns)
        return found

    def product(self, blocks: Floats) -> Floats:
        """(n, 3 s^2) times the weight: (n, M)."""
        return blocks @ self.weight


@dataclass(kw_only=True)
class Corrector:
    """Corrects the latents of one picture before every `every`-th coding step, from the second on.

    `synthesise` is of y_hat (1, M, h, w), `original` gives a tile's pixels (1, 3, H, W) in [0, 1]; `unit` is how many
    rows of latents a hyper-latent has, `lam` weighs 255^2 MSE against bits per pixel. Where the picture is one tile,
    `samples` are what was synthesised last beside the original, (3, H, W) each: about what is decoded in the end.
    """

    branch: LinearBranch
    tiling: Tiling
    unit: int
    rate_level: float
    lam: float
    every: int
    synthesise: Callable[[Floats], Floats]
    original: Callable[[Tile], Floats]
    samples: list[tuple[Floats, Floats]] = field(default_factory=list)

    def due(self, number: int) -> bool:
        """Whether latents are corrected before the coding step of this number, from 0."""
        return number > 0 and (number - 1) % self.every == 0

    def __call__(self, y_hat: NDArray[np.floating], y: NDArray[np.floating], left: NDArray[np.bool_]) -> Floats:
        """y (1, M, h, w) with the latents that are `left` corrected; y_hat holds what is decoded of the others."""
        transforms, alone = self.tiling.transforms, len(self.tiling.transforms.tiles) == 1
        moved, step = np.array(y, np.float32), np.float32(STRENGTH * self.lam * 255**2)
        for tile in transforms.tiles:
            outer = tile.grown(transforms.halos.synthesis, transforms.whole)
            now = np.where(*(outer.of(x, self.unit) for x in (left, moved, y_hat))).astype(np.float32)
            seen = tile.seen_from(outer).of(self.synthesise(now), self.tiling.stride)[0]
            wanted = self.original(tile)[0]
            height, width = self.tiling.seen(tile)
            self.samples = [(seen[:, :height, :width], wanted[:, :height, :width])] if alone else []
            error = seen - wanted
            error[:, height:] = 0
            error[:, :, width:] = 0
            gradient = self.branch.gradient(error, self.rate_level)
            tile.of(moved, self.unit)[0] -= step * gradient * tile.of(left, self.unit)[0]
        return moved
