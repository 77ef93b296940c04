"""Make src/lichen/coding/scores.npz: what a symbol says of its scale (`lichen.lab.prior.adaptation`).

Run once; the output is frozen with format version 1 and a test pins its sha256. Kept to show where the integers come
from. For each density, scale index and |s| up to 255, which stands for all beyond: the score, d ln P(s) / d log2(sigma)
less its mean, within +-16, and the information, its mean square; both in units of 1 / 256.
"""

import math
from pathlib import Path

import numpy as np
import torch

from lichen.coding.scales import SCALE_MAX, SCALE_MIN, SCALES
from lichen.lab.prior.adaptation import SIZES, UNITS
from lichen.lab.prior.families import Gaussian, Logistic

HIGHEST = 16.0


def table(shape: Gaussian | Logistic) -> np.ndarray:
    """(SCALES, SIZES, 2) int16."""
    sizes = torch.arange(8 * SIZES, dtype=torch.float64)
    scales = SCALE_MIN * (SCALE_MAX / SCALE_MIN) ** (torch.arange(SCALES, dtype=torch.float64) / (SCALES - 1))
    bits, wider, narrower = (shape.training_bits(sizes, scales[:, None] * 2**octaves) for octaves in (0, 0.05, -0.05))
    mass = torch.exp2(-bits) * (1 + (sizes > 0))
    moment = mass * (narrower - wider) * (math.log(2) / 0.1)
    for sums in (mass, moment):
        sums[:, SIZES - 1] = sums[:, SIZES - 1 :].sum(dim=1)
    mass, moment = mass[:, :SIZES], moment[:, :SIZES]
    mean = moment.sum(dim=1, keepdim=True) / mass.sum(dim=1, keepdim=True)
    score = (moment / mass - mean).clamp(-HIGHEST, HIGHEST)
    information = (mass * score.square()).sum(dim=1, keepdim=True).expand_as(score)
    return torch.round(torch.stack([score, information], dim=2) * UNITS).numpy().astype(np.int16)


def main() -> None:
    out = Path(__file__).parents[1] / "src/lichen/coding/scores.npz"
    np.savez_compressed(out, family=table(Gaussian()), logistic=table(Logistic()))
    print(f"{out}: {out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
