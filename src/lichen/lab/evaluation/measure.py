"""One file measured: bytes, distortion, seconds, memory."""

from __future__ import annotations

import ctypes
import math
import os
import time
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lichen.lab.evaluation.codecs import CodecUnderTest, Entry
from lichen.lab.evaluation.results_table import Measurement
from lichen.metrics import decibels, ms_ssim, psnr_db


def digest(pixels: NDArray[np.uint8]) -> str:
    """CRC-32 of a picture's samples (H, W, 3), as a table keeps it."""
    return f"{zlib.crc32(pixels.tobytes()):08x}"


def measure(
    codec: CodecUnderTest, entry: Entry, setting: float, *, name: str, pixels: NDArray[np.uint8]
) -> Measurement:
    """The picture of that name, (H, W, 3) uint8, coded by `codec` (which `entry` opened) at one setting, and decoded.

    Raises what the codec raises.
    """
    image = Image.fromarray(pixels)
    at_rest_mb = _resident_mb()
    start = time.perf_counter()
    data = codec.encode(image, setting)
    encoded = time.perf_counter()
    back = np.asarray(codec.decode(data, setting))
    done = time.perf_counter()
    peak_mb = max(_status_mb("VmHWM") - at_rest_mb, 0.0)
    estimate = codec.estimated_rate(image, setting)
    bpp, similarity = 8 * len(data) / (image.width * image.height), ms_ssim(pixels, back)
    return Measurement(
        picture=name,
        model=entry.name,
        version=entry.versions[setting],
        setting=setting,
        pixels=digest(pixels),
        width=image.width,
        height=image.height,
        size_bytes=len(data),
        bpp=bpp,
        estimated_bpp=estimate.bpp,
        excess_bpp=bpp - estimate.bpp,
        psnr_db=psnr_db(pixels, back),
        ms_ssim=similarity,
        ms_ssim_db=decibels(similarity),
        encode_s=encoded - start,
        decode_s=done - encoded,
        peak_mb=peak_mb,
        load_average=_load_average(),
        estimated_y_bpp=estimate.y_bpp,
        estimated_z_bpp=estimate.z_bpp,
    )


def _load_average() -> float:
    """Processes that wanted the machine in the last minute; nan where the system does not say."""
    try:
        return os.getloadavg()[0]
    except (OSError, AttributeError):
        return math.nan


def _resident_mb() -> float:
    """Resident memory, after giving freed memory back and resetting the peak; nan but on Linux."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
    except (OSError, AttributeError, TypeError):  # TypeError: Windows has no library of that name, None
        return math.nan
    return _status_mb("VmRSS")


def _status_mb(field: str) -> float:
    """A size from this process's status, in MB; nan but on Linux."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return math.nan
    kilobytes = [line.split()[1] for line in status.splitlines() if line.startswith(field)]
    return int(kilobytes[0]) * 1024 / 1e6 if kilobytes else math.nan
