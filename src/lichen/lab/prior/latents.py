"""The shapes that travel between the packages.

Legend: B pictures, C latent channels, H x W pixels, h x w latent positions (H/16 x W/16 for the
default model). `y` is the latent that the coder quantises, `z` the hyper-latent, both float.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Latents:
    """A latent and its entropy parameters.

    All are (B, C, h, w) float. `y` is continuous, after any gain; `mean` and `scale` are the
    parameters of its Gaussian, merged over all coding steps, in units of the quantisation step.
    """

    y: Tensor
    mean: Tensor
    scale: Tensor


@dataclass(frozen=True)
class Coded:
    """What one pass of a model gives.

    `x_hat` (B, 3, H, W) is unclamped and has the input's size; `bits_y` and `bits_z` (B,) are
    estimated bits for each picture. `latents` is None where y has no Gaussian (factorized prior).

    `bits_y_stages` are the bits (B,) of y under each of the entropy parameters that a prior in stages (Global
    Reference) forms one after another; the last is `bits_y`, the one that is coded. Empty elsewhere.
    `thumbnail` (B, 3, H / s, W / s) is the small picture of a model that makes one.
    """

    x_hat: Tensor
    bits_y: Tensor
    bits_z: Tensor
    latents: Latents | None
    bits_y_stages: tuple[Tensor, ...] = ()
    thumbnail: Tensor | None = None

    @property
    def bits(self) -> Tensor:
        """Estimated bits of each picture, (B,): latents and hyper-latents together."""
        return self.bits_y + self.bits_z
