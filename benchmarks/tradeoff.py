"""What weights trade at each of their levels: -d(bpp)/d(MSE) and -d(bpp)/d(1 - MS-SSIM), beside their lambda.

    python -m benchmarks.tradeoff PICTURES [--weights FILE] [--every 4]

From this come the lambdas of recipes/lichen-ms-ssim.toml (docs/decisions/0010). Derivatives are differences between a
quarter level below and above, of means over the pictures, by estimated bits. A model's own curve is steeper than its
lambda; `ms-ssim lam` has MS-SSIM's slope divided by as much as MSE's is over the nominal lambda.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lichen.errors import UsageError
from lichen.image.picture import open_picture
from lichen.lab.losses.distortion import mse, one_minus_ms_ssim
from lichen.lab.models.checkpoint import load_checkpoint
from lichen.lab.models.config import Distortion
from lichen.lab.models.model import Model
from lichen.lab.tensors import to_float
from lichen.lab.training.data import list_pictures
from lichen.runtime.weights import find_by_name

STEP = 0.25  # levels


@torch.inference_mode()
def point(model: Model, x: Tensor, rate_level: float) -> list[float]:
    """Estimated bpp, 255^2 MSE and 1 - MS-SSIM of a picture (1, 3, H, W) at a level."""
    coded = model(x, torch.tensor([rate_level]))
    x_hat = coded.x_hat.clamp(0, 1)
    return [float(coded.bits) / x[0, 0].numel(), float(mse(x_hat, x)), float(one_minus_ms_ssim(x_hat, x))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--weights", type=Path, default=None)
    parser.add_argument("--every", type=int, default=4, help="takes every so many-th picture")
    args = parser.parse_args()
    checkpoint = load_checkpoint(args.weights or find_by_name("lichen"))
    model, rates = checkpoint.model, checkpoint.config.rates
    if rates.count < 2:
        raise UsageError("weights of one rate have no neighbouring rates to compare; give some of several")
    pictures = [to_float(open_picture(path).pixels) for path in list_pictures(args.data)[:: args.every]]
    print(f"weights {checkpoint.hash.hex()}, {len(pictures)} pictures, lambda weighs {rates.distortion.value}")
    print("level    lambda      bpp     MSE   1-MS-SSIM  -dbpp/dMSE  -dbpp/dMS-SSIM  ms-ssim lam")
    for i in range(rates.count):
        ends = (max(i - STEP, 0), min(i + STEP, rates.count - 1))
        low, high = (np.mean([point(model, x, rate_level) for x in pictures], axis=0) for rate_level in ends)
        (bpp, error, difference), (by_mse, by_ms_ssim) = (low + high) / 2, (low[0] - high[0]) / (high - low)[1:]
        steeper = (by_mse if rates.distortion is Distortion.MSE else by_ms_ssim) / rates.lam(i)
        figures = f"{rates.lam(i):9.5f} {bpp:8.3f} {error:7.2f} {difference:11.5f} {by_mse:11.5f} {by_ms_ssim:15.3f}"
        print(f"{i:5d} {figures} {by_ms_ssim / steeper:12.3f}", flush=True)


if __name__ == "__main__":
    main()
