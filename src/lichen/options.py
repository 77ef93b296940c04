"""What the weights to encode with were trained for, as a person chooses it. Light: the command line imports it."""

from __future__ import annotations

import enum


class Tune(enum.Enum):
    """What files are to be good at, for their size."""

    PSNR = "psnr"
    MS_SSIM = "ms-ssim"  # structure, rather than every pixel's value

    def weights(self, model: str) -> str:
        """The name of a model's weights that are trained for it, `.safetensors` left out."""
        return model if self is Tune.PSNR else f"{model}-{self.value}"
