"""Better latents for one picture, by search: time for bytes when encoding, nothing when decoding.

The analysis is one quick guess at the latents. Here they are moved, by gradient, to where rate + lambda x distortion of
this very picture is least, under the hardening rounding of Yang 2020 ("Improving Inference for Neural Image
Compression"). The file format and the decoder know nothing of it.
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from lichen.lab.engine.annealing import Annealer
from lichen.lab.losses.distortion import mse
from lichen.lab.models.model import Model
from lichen.lab.prior.estimator import Estimator
from lichen.progress import tell
from lichen.runtime.tiles import Tile

STEP = 0.02  # how far a latent moves at first, in quantisation steps; it falls to a tenth
_WARM, _FALL, _COLD = 0.5, 2.0, 0.08  # temperature: where it starts, in how many e-foldings it falls, and its least
_MOMENTUM, _MEMORY = 0.8, 0.99  # of the averages of gradients and of their squares
_SHARED = 0.9  # of the square of that by which a latent's gradient is divided is the mean over all latents
Precision = Callable[[], contextlib.AbstractContextManager[object]]
HALO = 1  # hyper-latents around a tile that are seen but not moved


@torch.inference_mode(False)
def refine(
    model: Model,
    y: Tensor,
    cut: Callable[[Tile], Tensor],
    tiles: tuple[Tile, list[Tile]],
    rate_level: Tensor,
    lam: float,
    steps: int,
    precision: Precision,
) -> Tensor:
    """y (1, M, h, w) -> latents of the same shape that cost less, for the same lambda (of 255^2 MSE).

    `cut(tile)` gives the pixels (1, 3, H, W) in [0, 1] of a tile; `tiles` are the whole map and the tiles to
    work on one by one, each with its neighbours as they then are. A tile that did not get better stays. `precision`
    is what the synthesis runs in, as when the file is decoded.
    """
    whole, parts = tiles
    unit = model.hyper_stride // model.stride
    better, rate_level = y.clone(), rate_level.clone()
    for number, tile in enumerate(parts):
        outer = tile.grown(HALO, whole)
        place = _Place(
            model,
            cut(outer).clone(),
            outer.of(better, unit).to(rate_level.device),
            rate_level,
            lam=lam,
            precision=precision,
        )
        inner = tile.seen_from(outer)
        edges = (inner.left, outer.shape[1] - inner.right, inner.top, outer.shape[0] - inner.bottom)
        told = functools.partial(_tell, number * steps, len(parts) * steps)
        moved = place.search(tuple(edge * unit for edge in edges), steps, told)
        tile.of(better, unit).copy_(inner.of(moved, unit))
    return better


def _tell(before: int, total: int, step: int) -> None:
    tell("search", before + step, total)


@dataclass(frozen=True)
class _Place:
    """A part of a picture, x (1, 3, H, W), and its latents before the search."""

    model: Model
    x: Tensor
    y: Tensor
    rate_level: Tensor
    lam: float
    precision: Precision

    def search(self, margins: tuple[int, ...], steps: int, told: Callable[[int], None] = lambda step: None) -> Tensor:
        """The best y found in so many steps, each of which is told.

        Within the margins (left, right, top, bottom) it stays as it is.
        """
        chance = torch.Generator(self.y.device).manual_seed(0)
        left, right, top, bottom = margins
        movable = self.y[..., top : self.y.shape[2] - bottom, left : self.y.shape[3] - right]
        shift = torch.zeros_like(movable).requires_grad_()
        descent = _Descent(shift)
        for step in range(steps):
            share = step / steps
            coder = Annealer(max(_WARM * math.exp(-_FALL * share), _COLD), chance)
            with torch.enable_grad():
                loss = self._loss(self.y + F.pad(shift, margins), coder)
                gradient = torch.autograd.grad(loss, shift)[0]
            descent.move(gradient, STEP * (1 - 0.9 * share))
            told(step + 1)
        with torch.no_grad():
            moved = self.y + F.pad(shift, margins)
            gained = self._loss(moved, Estimator(None)) < self._loss(self.y, Estimator(None))
            return moved if bool(gained) else self.y

    def _loss(self, y: Tensor, coder: Annealer | Estimator) -> Tensor:
        """Bits per pixel + lambda x 255^2 MSE."""
        height, width = self.x.shape[2:]
        y_hat = self.model.walk(coder, y, self.rate_level).y_hat
        with self.precision():
            x_hat = self.model.synthesise(y_hat, self.rate_level, height, width).clamp(0, 1)
        bits = torch.stack(coder.bits).sum()
        return bits / (height * width) + self.lam * mse(x_hat, self.x).mean()


class _Descent:
    """Adam, but that a gradient is measured mostly against those of all latents, and little against its own past.

    In quantisation steps all latents weigh about alike. Where each gradient is measured against itself, a latent that
    hardly matters moves as far as one that does, and zeros that cost nothing are lost (docs/decisions/0009).
    """

    def __init__(self, shift: Tensor) -> None:
        self.shift, self.steps = shift, 0
        self.mean, self.square = torch.zeros_like(shift), torch.zeros_like(shift)

    @torch.no_grad()
    def move(self, gradient: Tensor, size: float) -> None:
        """Change `shift` by about `size` where its gradient is as large as the mean one, by 3.2 times that at most."""
        self.steps += 1
        self.mean.lerp_(gradient, 1 - _MOMENTUM)
        self.square.lerp_(gradient.square(), 1 - _MEMORY)
        power = (1 - _SHARED) * self.square + _SHARED * self.square.mean()
        scale = (power / (1 - _MEMORY**self.steps)).sqrt().clamp(min=torch.finfo(power.dtype).tiny)
        self.shift.sub_(self.mean / (1 - _MOMENTUM**self.steps) / scale, alpha=size)
