"""The training objective: rate and distortion over one or many values of lambda."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lichen.latents import Coded
from lichen.models.config import AnyRates


def mse(x_hat: Tensor, x: Tensor) -> Tensor:
    """Mean squared error of each picture in units of 1/255: (B, C, H, W) in [0, 1] -> (B,)."""
    return ((x_hat - x) ** 2).mean(dim=(1, 2, 3)) * 255**2


@dataclass(frozen=True)
class Objective:
    """w(lambda) (R + lambda D), averaged over the batch (paper eq. 9, for many lambdas at once).

    R is in bits per pixel, D is 255^2 MSE. w = (lambda / lambda_mid)^-balance: at balance 0.5 each
    rate weighs about equally in relative terms, as a BD-rate does.
    """

    rates: AnyRates
    balance: float

    def __call__(self, coded: Coded, x: Tensor, level: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The scalar loss, and per-picture figures (B,): estimated_bpp and mse."""
        share = level / max(self.rates.count - 1, 1)
        lam = self.rates.low * (self.rates.high / self.rates.low) ** share
        middle = (self.rates.low * self.rates.high) ** 0.5
        bpp = coded.bits / (x.shape[2] * x.shape[3])
        distortion = mse(coded.x_hat, x)
        loss = ((lam / middle) ** -self.balance * (bpp + lam * distortion)).mean()
        return loss, {"estimated_bpp": bpp.detach(), "mse": distortion.detach()}


def psnr_db(mse_255: Tensor) -> Tensor:
    """Peak signal-to-noise ratio for an error in units of 1/255."""
    return 10 * torch.log10(255**2 / mse_255)
