"""Metrics against independent implementations, known values, and a published curve."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio
from torch.nn import functional as F

from lichen.errors import UsageError
from lichen.lab.evaluation.curves import find_points
from lichen.metrics import decibels, ms_ssim, psnr_db
from tests.helpers import OTHERS
from tests.small import scene

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # Wang 2003


def pair(width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    buffer = io.BytesIO()
    scene(width, height).save(buffer, "JPEG", quality=20)
    return np.asarray(scene(width, height)), np.asarray(Image.open(buffer).convert("RGB"))


def test_psnr_is_that_of_scikit_image():
    a, b = pair(70, 50)
    assert psnr_db(a, b) == pytest.approx(peak_signal_noise_ratio(a, b, data_range=255), abs=1e-9)


def test_known_values_of_psnr():
    black = np.zeros((4, 4, 3), np.uint8)
    assert psnr_db(black, black + 255) == 0
    assert psnr_db(black, black + 1) == pytest.approx(20 * math.log10(255))
    assert psnr_db(black, black) == math.inf


def ms_ssim_of_wang(a: np.ndarray, b: np.ndarray) -> float:
    """MS-SSIM from its paper, in float64 and without any library: product over scales of channel means."""
    x, y = (torch.from_numpy(p.astype(np.float64)).permute(2, 0, 1)[:, None] for p in (a, b))
    taps = torch.exp(-(torch.arange(-5, 6, dtype=torch.float64) ** 2) / (2 * 1.5**2))
    window = torch.outer(taps, taps)[None, None] / taps.sum() ** 2
    c1, c2, values = (0.01 * 255) ** 2, (0.03 * 255) ** 2, []
    for scale, weight in enumerate(WEIGHTS):
        mx, my = F.conv2d(x, window), F.conv2d(y, window)
        xx, yy, xy = F.conv2d(x * x, window) - mx**2, F.conv2d(y * y, window) - my**2, F.conv2d(x * y, window) - mx * my
        structure = (2 * xy + c2) / (xx + yy + c2)
        luminance = (2 * mx * my + c1) / (mx**2 + my**2 + c1)
        kept = structure * luminance if scale == len(WEIGHTS) - 1 else structure
        values.append(kept.mean(dim=(1, 2, 3)) ** weight)
        x, y = (
            F.avg_pool2d(x, 2, padding=[s % 2 for s in x.shape[2:]]),
            F.avg_pool2d(y, 2, padding=[s % 2 for s in y.shape[2:]]),
        )
    return float(torch.stack(values).prod(dim=0).mean())


def test_ms_ssim_is_that_of_its_paper():
    a, b = pair(200, 176)
    assert ms_ssim(a, b) == pytest.approx(ms_ssim_of_wang(a, b), abs=1e-4)
    assert ms_ssim(a, a) == pytest.approx(1, abs=1e-6)


def test_small_pictures_have_no_ms_ssim():
    a, b = pair(160, 300)
    assert math.isnan(ms_ssim(a, b))
    assert math.isnan(decibels(math.nan))


def test_ms_ssim_in_db():
    assert decibels(0.99) == pytest.approx(20)
    assert decibels(1.0) == math.inf


def test_shapes_must_agree():
    with pytest.raises(UsageError, match="different shapes"):
        psnr_db(*(np.zeros((4, n, 3), np.uint8) for n in (4, 5)))
    with pytest.raises(UsageError, match="different shapes"):
        ms_ssim(*(np.zeros((200, n, 3), np.uint8) for n in (200, 201)))


@pytest.mark.slow
def test_the_published_webp_curve_is_reproduced():
    """Bits per pixel and PSNR of Kodak to four digits: the pictures, the metric and the average are right."""
    folder = OTHERS / "kodak"
    if not folder.exists():
        pytest.skip("Kodak is absent")
    published = find_points("webp")
    pictures = [Image.open(path).convert("RGB") for path in sorted(folder.glob("*.png"))]
    for quality in (10, 50, 90):
        bpp, psnr = [], []
        for picture in pictures:
            buffer = io.BytesIO()
            picture.save(buffer, "WEBP", quality=quality)
            bpp.append(8 * buffer.tell() / (picture.width * picture.height))
            psnr.append(psnr_db(np.asarray(picture), np.asarray(Image.open(buffer).convert("RGB"))))
        nearest = min(range(len(published.bpp)), key=lambda i: abs(published.bpp[i] - np.mean(bpp)))
        assert np.mean(bpp) == pytest.approx(published.bpp[nearest], rel=5e-5)
        assert np.mean(psnr) == pytest.approx(published.psnr_db[nearest], abs=5e-4)
