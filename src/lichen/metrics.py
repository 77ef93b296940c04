"""Measures of a picture against its original, on 8-bit RGB."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from lichen.errors import UsageError

MS_SSIM_SIDE_MIN = 161  # pixels: four halvings of an 11-pixel window
_ROWS = 64  # of a picture at a time: a large one is not held in wider numbers as a whole


def psnr_db(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """10 log10(255^2 / MSE) over all samples of two (H, W, C) uint8 pictures; inf when equal.

    Raises `UsageError` for pictures of different shapes.
    """
    if a.shape != b.shape:
        raise UsageError(f"pictures of different shapes cannot be compared: {a.shape}, {b.shape}")
    total = sum(_squares(a[i : i + _ROWS], b[i : i + _ROWS]) for i in range(0, len(a), _ROWS))
    return 10 * math.log10(255**2 * a.size / total) if total else math.inf


def _squares(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> int:
    """The sum of all squared differences: whole numbers, whatever the order."""
    return int(np.square(np.subtract(a, b, dtype=np.int32)).sum(dtype=np.int64))


def ms_ssim(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """MS-SSIM of two (H, W, 3) uint8 pictures, 0 ... 1; nan when a side is below 161 pixels.

    Needs the `eval` extra (pytorch-msssim). Raises `UsageError` for pictures of different shapes.
    """
    import torch
    from pytorch_msssim import ms_ssim as reference

    if a.shape != b.shape:
        raise UsageError(f"pictures of different shapes cannot be compared: {a.shape}, {b.shape}")
    if min(a.shape[:2]) < MS_SSIM_SIDE_MIN:
        return math.nan
    x, y = (torch.from_numpy(np.array(p)).permute(2, 0, 1)[None].float() for p in (a, b))
    return float(reference(x, y, data_range=255))


def decibels(similarity: float) -> float:
    """MS-SSIM in dB: -10 log10(1 - MS-SSIM); inf at 1, nan for nan."""
    return math.inf if similarity >= 1 else -10 * math.log10(1 - similarity)
