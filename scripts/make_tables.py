"""Make the frozen integers of src/lichen/coding: {gaussian,logistic}_{tables,trellis}.npz and normal.npz.

Run once; the output is frozen with format version 1 and a test pins its sha256. Kept to show where
the integers come from. Each table of a scale covers -R ... R and an escape; frequencies are at least 1
and sum to 2^24; R is the smallest radius with less than 2^-18 of the mass beyond it.

The trellis tables of the scales from `FIRST` on are of symbols k at k - 1/4, each of the mass between k - 3/4 and
k + 1/4. Their points, in 2^-12, are half of the way from k - 1/4 to the mean of the distribution between these.

normal.npz holds the upper tail of the normal distribution at 1024 nodes a deviation, from which
lichen.coding.tables derives Gaussians about any 1/64 by integer arithmetic.
"""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np

from lichen.coding.scales import SCALE_MAX, SCALE_MIN, SCALES
from lichen.coding.tables import PRECISION
from lichen.coding.trellis import FIRST, OFFSET, POINT_BITS, POINTS

Tail = Callable[[float], float]  # P(X > x) of a distribution of deviation 1


def normal_tail(x: float) -> float:
    return 0.5 * math.erfc(x / math.sqrt(2))


def logistic_tail(x: float) -> float:
    return 1 / (1 + math.exp(x * math.pi / math.sqrt(3)))


def table(scale: float, tail: Tail, offset: float = 0) -> np.ndarray:
    """Frequencies of symbols -R ... R, at s - offset, then of the escape."""
    upper = lambda x: tail(x / scale)  # noqa: E731
    beyond = lambda r: upper(r + 0.5 - offset) + upper(r + 0.5 + offset)  # noqa: E731
    radius = next(r for r in range(1, 1 << 14) if beyond(r) < 2**-18)
    places = [abs(s - offset) for s in range(-radius, radius + 1)]
    mass = [upper(x - 0.5) - upper(x + 0.5) for x in places]
    mass.append(beyond(radius))
    total = 2**PRECISION
    frequencies = np.maximum(np.round(np.array(mass) * total), 1).astype(np.int64)
    frequencies[radius] += total - frequencies.sum()  # the centre takes the rounding
    return frequencies.astype(np.uint32)


def points(scale: float, tail: Tail) -> list[int]:
    """How far symbols -3 ... 3 stand for something else than k - 1/4."""
    found = []
    for k in range(-POINTS, POINTS + 1):
        edges = np.linspace(k - OFFSET - 0.5, k - OFFSET + 0.5, 1025)
        mass = np.abs(np.diff([tail(abs(x) / scale) for x in edges]))  # none of these parts goes across 0
        mean = float((mass * (edges[1:] + edges[:-1])).sum() / 2 / mass.sum())
        found.append(round((mean - (k - OFFSET)) / 2 * 2**POINT_BITS))
    return found


def normal(scales: list[float], radii: list[int]) -> dict[str, np.ndarray]:
    """The normal distribution's tail (2^-40) at 1/1024 of a deviation; nodes for 1/64 of each scale (2^-20).

    A mean's fraction is coded in steps of 1/64 at scales below 1/2, and twice as wide for each doubling
    beyond, up to whole numbers: it costs less than 0.0003 bits a symbol at any scale.
    """
    upper = [round(0.5 * math.erfc(i / 1024 / math.sqrt(2)) * 2**40) for i in range(6 * 1024 + 1)]
    nodes = [round(16 / scale * 2**20) for scale in scales]
    steps = [min(max(2 ** (math.floor(math.log2(scale)) + 2), 1), 64) for scale in scales]
    return {"upper": upper, "nodes": nodes, "radii": [r + 1 for r in radii], "steps": steps}


def main() -> None:
    ratio = (SCALE_MAX / SCALE_MIN) ** (1 / (SCALES - 1))
    scales = [SCALE_MIN * ratio**i for i in range(SCALES)]
    folder = Path(__file__).parents[1] / "src/lichen/coding"
    for name, tail in (("logistic", logistic_tail), ("gaussian", normal_tail)):
        tables = [table(scale, tail) for scale in scales]
        sizes = [len(t) for t in tables]
        np.savez_compressed(folder / f"{name}_tables.npz", frequencies=np.concatenate(tables), sizes=sizes)
        own = [table(scale, tail, OFFSET) for scale in scales[FIRST:]]
        moved = np.array([[0] * (2 * POINTS + 1)] * FIRST + [points(s, tail) for s in scales[FIRST:]], np.int16)
        packed = {"frequencies": np.concatenate(own), "sizes": [len(t) for t in own], "points": moved}
        np.savez_compressed(folder / f"{name}_trellis.npz", **packed)
    np.savez_compressed(folder / "normal.npz", **normal(scales, [(len(t) - 2) // 2 for t in tables]))
    for path in sorted(folder.glob("*.npz")):
        print(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
