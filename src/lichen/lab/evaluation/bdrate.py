"""Bjontegaard deltas between rate-distortion curves."""

from __future__ import annotations

from dataclasses import dataclass

import bjontegaard
import numpy as np

from lichen.errors import BadInput
from lichen.lab.evaluation.curves import Curve

METHOD = "akima"


@dataclass(frozen=True)
class Delta:
    """Bjontegaard deltas of a test curve over an anchor.

    `rate_percent`: mean rate difference at equal quality over `overlap_db`, negative when the test is
    cheaper. `quality_db`: mean quality difference at equal rate, over the rates that both have.
    """

    anchor: str
    test: str
    rate_percent: float
    quality_db: float
    overlap_db: tuple[float, float]


def delta(anchor: Curve, test: Curve) -> Delta:
    """Bjontegaard deltas by Akima interpolation of log rate.

    Raises `BadInput` for curves of different pictures, or without an overlap.
    """
    if anchor.data_set.differs(test.data_set):
        raise BadInput(
            f"{anchor.name} is of {anchor.data_set}, {test.name} of other ones, {test.data_set}; "
            "compare curves of the same pictures"
        )
    low = max(anchor.quality_db[0], test.quality_db[0])
    high = min(anchor.quality_db[-1], test.quality_db[-1])
    if high <= low:
        raise BadInput(
            f"{anchor.name} ({anchor.quality_db[0]:.2f} to {anchor.quality_db[-1]:.2f} dB) and {test.name} "
            f"({test.quality_db[0]:.2f} to {test.quality_db[-1]:.2f} dB) have no quality in common; measure more points"
        )
    if min(anchor.bpp[-1], test.bpp[-1]) <= max(anchor.bpp[0], test.bpp[0]):
        raise BadInput(f"{anchor.name} and {test.name} have no rate in common; measure more points")
    values = anchor.bpp, anchor.quality_db, test.bpp, test.quality_db
    rate = bjontegaard.bd_rate(*values, method=METHOD, require_matching_points=False, min_overlap=0)
    quality = bjontegaard.bd_psnr(*values, method=METHOD, require_matching_points=False, min_overlap=0)
    if not np.isfinite([rate, quality]).all():
        raise BadInput(f"{anchor.name} and {test.name}: the delta is not finite; look at their points")
    return Delta(anchor.name, test.name, rate_percent=float(rate), quality_db=float(quality), overlap_db=(low, high))
