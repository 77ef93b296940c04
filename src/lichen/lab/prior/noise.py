"""The noise that stands in for rounding in training."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class Noise:
    """Uniform noise in [-1/2, 1/2), from a stream of its own for each picture of a batch.

    `noise(x)` for x (B, ...) gives the next numbers of the B streams, float32. A picture's noise depends on
    its seed only, so a batch trains alike however it is split over processes. `in_synthesis`: the noise also
    reaches the synthesis (Balle 2017), in place of straight-through rounding (Minnen & Singh 2020). `rounded_scales`:
    the scales learn from rounded latents.
    """

    def __init__(
        self, seeds: Sequence[int], device: torch.device, in_synthesis: bool = False, rounded_scales: bool = False
    ) -> None:
        self._streams = [torch.Generator(device).manual_seed(seed) for seed in seeds]
        self.in_synthesis, self.rounded_scales = in_synthesis, rounded_scales

    def __call__(self, x: Tensor) -> Tensor:
        noise = torch.empty(x.shape, dtype=torch.float32, device=x.device)
        for picture, stream in zip(noise, self._streams, strict=True):
            picture.uniform_(-0.5, 0.5, generator=stream)
        return noise
