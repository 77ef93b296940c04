"""Distortion of decoded pictures, differentiable: MSE or 1 - MS-SSIM of each picture."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from lichen.errors import UsageError
from lichen.extras import missing
from lichen.lab.models.config import Distortion

MS_SSIM_SIDE_MIN = 161  # pixels: the window of 11 must fit after four halvings


def mse(x_hat: Tensor, x: Tensor) -> Tensor:
    """Mean squared error of each picture in units of 1/255: (B, C, H, W) in [0, 1] -> (B,)."""
    return ((x_hat - x) ** 2).mean(dim=(1, 2, 3)) * 255**2


def shrunk(x: Tensor, like: Tensor) -> Tensor:
    """x (B, 3, H, W) averaged over s x s pixels to the size of `like` (B, 3, ceil(H / s), ceil(W / s))."""
    shrink = -(-x.shape[2] // like.shape[2])
    return F.avg_pool2d(x, shrink, ceil_mode=True, count_include_pad=False)


def psnr_db(mse_255: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB of mean squared errors in units of 1/255, of any shape."""
    return 10 * torch.log10(255**2 / mse_255)


def one_minus_ms_ssim(x_hat: Tensor, x: Tensor) -> Tensor:
    """1 - MS-SSIM of each picture (Wang 2003): two of (B, 3, H, W) in [0, 1] -> (B,).

    Raises `UsageError` for sides below 161 pixels, or without the `train` extra (pytorch-msssim).
    """
    if min(x.shape[2:]) < MS_SSIM_SIDE_MIN:
        raise UsageError(f"MS-SSIM needs sides of at least {MS_SSIM_SIDE_MIN} pixels, not {min(x.shape[2:])}")
    try:
        from pytorch_msssim import ms_ssim
    except ImportError as error:
        raise UsageError(f"MS-SSIM: {missing('pytorch_msssim')}") from error
    with torch.autocast(x.device.type, enabled=False):
        similarity: Tensor = ms_ssim(x_hat.float(), x.float(), data_range=1.0, size_average=False)
    return 1 - similarity


def distorted(kind: Distortion, x_hat: Tensor, x: Tensor) -> Tensor:
    """The distortion of each picture, MSE in units of 1/255 or 1 - MS-SSIM: two of (B, 3, H, W) in [0, 1] -> (B,)."""
    return mse(x_hat, x) if kind is Distortion.MSE else one_minus_ms_ssim(x_hat, x)
