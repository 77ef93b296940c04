"""Sizes and costs that the papers and their followers print, to stand beside what is counted here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PrintedSize:
    """Parameters in millions and thousands of multiply-adds per pixel to decode, as printed."""

    parameters_m: float
    decode_kmac: float


# Row -> figures of shared/spec.md section 1; the same counting convention as `evaluation.counts`.
PUBLISHED = {
    "minnen-hp": PrintedSize(7.03, 42),
    "swint-hp": PrintedSize(24.65, 265),
    "elic-library": PrintedSize(32.1, 328),
}
