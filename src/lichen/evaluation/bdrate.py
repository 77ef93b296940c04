"""Bjontegaard deltas between rate-distortion curves, and curves in the field's JSON format."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import bjontegaard
import numpy as np

from lichen.errors import BadInput


@dataclass(frozen=True)
class Curve:
    """A rate-distortion curve: bits per pixel and PSNR in dB, ascending in both."""

    name: str
    bpp: tuple[float, ...]
    psnr_db: tuple[float, ...]

    @staticmethod
    def of(name: str, points: list[tuple[float, float]]) -> Curve:
        """A curve of (bpp, psnr_db) points. Raises `BadInput` when PSNR does not rise with rate."""
        ordered = sorted(points)
        rates, quality = zip(*ordered, strict=True) if ordered else ((), ())
        if len(ordered) < 4 or np.any(np.diff(rates) <= 0) or np.any(np.diff(quality) <= 0):
            raise BadInput(f"{name}: a curve needs four points or more, PSNR rising with the rate")
        return Curve(name, tuple(rates), tuple(quality))

    @staticmethod
    def load(path: Path) -> Curve:
        """Read {"name", "results": {"bpp", "psnr-rgb"}}."""
        data = json.loads(path.read_text())
        results = data["results"]
        psnr = results.get("psnr-rgb", results.get("psnr"))
        return Curve.of(data.get("name", path.stem), list(zip(results["bpp"], psnr, strict=True)))


def bd_rate_percent(anchor: Curve, test: Curve) -> tuple[float, tuple[float, float]]:
    """Mean rate difference at equal PSNR over the overlap (Akima), negative when `test` is cheaper.

    Gives the percentage and the overlap in dB. Raises `BadInput` when the curves do not overlap.
    """
    low = max(anchor.psnr_db[0], test.psnr_db[0])
    high = min(anchor.psnr_db[-1], test.psnr_db[-1])
    if high <= low:
        raise BadInput(f"{anchor.name} and {test.name} have no PSNR in common")
    value = bjontegaard.bd_rate(
        anchor.bpp,
        anchor.psnr_db,
        test.bpp,
        test.psnr_db,
        method="akima",
        require_matching_points=False,
        min_overlap=0,
    )
    return float(value), (low, high)
