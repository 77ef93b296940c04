"""Better latents for one picture, by search: time for bytes when encoding, nothing when decoding.

The analysis is one quick guess at the latents. Here they are moved, by gradient, to where rate + lambda x distortion of
this very picture is least, under the hardening rounding of Yang 2020 ("Improving Inference for Neural Image
Compression"). The file format and the decoder know nothing of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from lichen.coding.annealing import Annealer
from lichen.coding.coders import Estimator
from lichen.losses.distortion import mse
from lichen.models.model import Model
from lichen.windows import Window

STEP = 0.02  # how far a latent moves at first, in quantisation steps; it falls to a tenth
_WARM, _FALL, _COLD = 0.5, 3.0, 0.08  # temperature: where it starts, in how many e-foldings it falls, and its least
HALO = 1  # hyper-latents around a window that are seen but not moved


@torch.inference_mode(False)
def refine(
    model: Model,
    y: Tensor,
    cut: Callable[[Window], Tensor],
    windows: tuple[Window, list[Window]],
    level: Tensor,
    lam: float,
    steps: int,
) -> Tensor:
    """y (1, M, h, w) -> latents of the same shape that cost less, for the same lambda (of 255^2 MSE).

    `cut(window)` gives the pixels (1, 3, H, W) in [0, 1] of a window; `windows` are the whole map and the windows to
    work on one by one, each with its neighbours as they then are. A window that did not get better stays.
    """
    whole, parts = windows
    unit = model.hyper_stride // model.stride
    better, position = y.clone(), level.clone()
    for window in parts:
        outer = window.grown(HALO, whole)
        place = _Place(model, cut(outer).clone(), outer.of(better, unit).to(level.device), position, lam)
        inner = window.seen_from(outer)
        edges = (inner.left, outer.shape[1] - inner.right, inner.top, outer.shape[0] - inner.bottom)
        moved = place.search(tuple(edge * unit for edge in edges), steps)
        window.of(better, unit).copy_(inner.of(moved, unit))
    return better


class _Place:
    """A part of a picture, x (1, 3, H, W), and its latents before the search."""

    def __init__(self, model: Model, x: Tensor, y: Tensor, level: Tensor, lam: float) -> None:
        self.model, self.x, self.y, self.level, self.lam = model, x, y, level, lam

    def search(self, margins: tuple[int, ...], steps: int) -> Tensor:
        """The best y found in so many steps; within the margins (left, right, top, bottom) it stays as it is."""
        chance = torch.Generator(self.y.device).manual_seed(0)
        left, right, top, bottom = margins
        movable = self.y[..., top : self.y.shape[2] - bottom, left : self.y.shape[3] - right]
        shift = torch.zeros_like(movable).requires_grad_()
        optimiser = torch.optim.Adam([shift], betas=(0.9, 0.99))
        for step in range(steps):
            share = step / steps
            optimiser.param_groups[0]["lr"] = STEP * (1 - 0.9 * share)
            coder = Annealer(max(_WARM * math.exp(-_FALL * share), _COLD), chance)
            with torch.enable_grad():
                loss = self._loss(self.y + F.pad(shift, margins), coder)
                shift.grad = torch.autograd.grad(loss, shift)[0]
            optimiser.step()
        with torch.no_grad():
            moved = self.y + F.pad(shift, margins)
            gained = self._loss(moved, Estimator(None)) < self._loss(self.y, Estimator(None))
            return moved if bool(gained) else self.y

    def _loss(self, y: Tensor, coder: Annealer | Estimator) -> Tensor:
        """Bits per pixel + lambda x 255^2 MSE."""
        height, width = self.x.shape[2:]
        y_hat, _ = self.model.walk(coder, y, self.level)
        x_hat = self.model.synthesise(y_hat, self.level, height, width).clamp(0, 1)
        bits = torch.stack(coder.bits).sum()
        return bits / (height * width) + self.lam * mse(x_hat, self.x).mean()
