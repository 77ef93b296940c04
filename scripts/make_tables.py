"""Make src/lichen/coding/gaussian_tables.npz: integer frequencies of the 64 Gaussians.

Run once; the output is frozen with format version 1 and a test pins its sha256. Kept to show where
the integers come from. Each table covers -R ... R and an escape; frequencies are at least 1 and sum
to 2^24; R is the smallest radius with less than 2^-18 of the mass beyond it.
"""

import math
from pathlib import Path

import numpy as np

from lichen.coding.rangecoder import PRECISION
from lichen.prior.density import SCALE_MAX, SCALE_MIN, SCALES


def table(scale: float) -> np.ndarray:
    """Frequencies of symbols -R ... R, then of the escape."""
    upper = lambda x: 0.5 * math.erfc(x / scale / math.sqrt(2))  # noqa: E731  P(X > x)
    radius = next(r for r in range(1, 1 << 14) if 2 * upper(r + 0.5) < 2**-18)
    mass = [upper(abs(s) - 0.5) - upper(abs(s) + 0.5) for s in range(-radius, radius + 1)]
    mass.append(2 * upper(radius + 0.5))
    total = 2**PRECISION
    frequencies = np.maximum(np.round(np.array(mass) * total), 1).astype(np.int64)
    frequencies[radius] += total - frequencies.sum()  # the centre takes the rounding
    return frequencies.astype(np.uint32)


def main() -> None:
    ratio = (SCALE_MAX / SCALE_MIN) ** (1 / (SCALES - 1))
    tables = [table(SCALE_MIN * ratio**i) for i in range(SCALES)]
    out = Path(__file__).parents[1] / "src/lichen/coding/gaussian_tables.npz"
    np.savez_compressed(out, frequencies=np.concatenate(tables), sizes=[len(t) for t in tables])
    print(f"{out}: {out.stat().st_size} bytes, {sum(map(len, tables))} entries")


if __name__ == "__main__":
    main()
