"""The coder's 64 scales, from which a latent's frequency table follows: constants of the file format."""

from __future__ import annotations

import math

SCALE_MIN = 0.11  # the coder's smallest scale; the correlation loss bounds its scale by the same
SCALE_MAX = 256.0
SCALES = 64
FLOOR = 2.0**-24  # the coder's smallest probability
RAW_SCALE_BITS = 12  # fractional bits of a raw scale at coding time
SKIP = 3  # of our own models: at scale indices up to this one nothing is coded and y_hat is the mean
NO_SKIP = -1  # everything is coded

LOG_STEP = math.log2(SCALE_MAX / SCALE_MIN) / (SCALES - 1)
# Thresholds between neighbouring scales, in units of 2^-12 of raw. Frozen: these 63 integers are
# part of the file format (docs/format.md); a test pins them.
THRESHOLDS = tuple(round((math.log2(SCALE_MIN) + (i + 0.5) * LOG_STEP) * 2**RAW_SCALE_BITS) for i in range(SCALES - 1))
# The same for a raw that is the scale itself; frozen likewise.
LINEAR_THRESHOLDS = tuple(round(SCALE_MIN * 2 ** ((i + 0.5) * LOG_STEP) * 2**RAW_SCALE_BITS) for i in range(SCALES - 1))
