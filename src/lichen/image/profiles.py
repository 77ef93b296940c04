"""ICC profiles: made from primaries and a transfer curve, checked against the samples, applied.

Profiles are made after ICC.1:2010 (version 4.3): matrix and curve for RGB, one curve for grey, relative to D50.
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageCms

Chromaticities = tuple[tuple[float, float], tuple[float, float], tuple[float, float], tuple[float, float]]
"""x and y of white, red, green and blue."""

D65 = (0.3127, 0.3290)
SRGB_PRIMARIES: Chromaticities = (D65, (0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
_D50 = np.array([0.9642, 1.0, 0.8249])
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
_SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)  # ICC's parametric curve of type 3
_SPACE, _SIGNATURE = slice(16, 20), slice(36, 40)


@dataclass(frozen=True)
class Gamma:
    """A transfer curve: linear light = sample ** `exponent`, for samples of 0 ... 1."""

    exponent: float


@dataclass(frozen=True)
class SrgbCurve:
    """The transfer curve of sRGB (IEC 61966-2-1)."""


Curve = Gamma | SrgbCurve


def make_profile(primaries: Chromaticities, curve: Curve, grey: bool) -> bytes:
    """An ICC profile of about 500 bytes, always the same. Raises `ValueError` for impossible primaries."""
    matrix, adaptation = _to_d50(primaries)
    trc = _curve_tag(curve)
    tags = {
        b"desc": _text_tag("Lichen: from the file's colour description"),
        b"cprt": _text_tag("No copyright, use freely"),
        b"wtpt": _xyz_tag(_D50),
        b"chad": b"sf32" + bytes(4) + _fixed(adaptation.ravel()),
    }
    if grey:
        tags[b"kTRC"] = trc
    else:
        tags |= {name: _xyz_tag(column) for name, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), matrix.T, strict=True)}
        tags |= {b"rTRC": trc, b"gTRC": trc, b"bTRC": trc}
    return _assembled(tags, b"GRAY" if grey else b"RGB ")


def _to_d50(primaries: Chromaticities) -> tuple[np.ndarray, np.ndarray]:
    """(3, 3) linear RGB -> XYZ relative to D50, and the (3, 3) adaptation in it."""
    if min(y for _, y in primaries) <= 0:
        raise ValueError("a chromaticity with y of 0")
    white, *colours = (np.array([x / y, 1.0, (1 - x - y) / y]) for x, y in primaries)
    columns = np.stack(colours, axis=1)
    if abs(np.linalg.det(columns)) < 1e-6:
        raise ValueError("primaries on one line")
    matrix = columns * np.linalg.solve(columns, white)
    adaptation = np.linalg.inv(_BRADFORD) @ np.diag((_BRADFORD @ _D50) / (_BRADFORD @ white)) @ _BRADFORD
    return adaptation @ matrix, adaptation


def _fixed(values: np.ndarray) -> bytes:
    """As s15Fixed16 numbers. Raises `ValueError` beyond their range."""
    units = np.round(np.asarray(values) * 65536)
    if not np.isfinite(units).all() or np.abs(units).max() >= 2**31:
        raise ValueError("a number beyond the range of ICC profiles")
    return units.astype(">i4").tobytes()


def _xyz_tag(xyz: np.ndarray) -> bytes:
    return b"XYZ " + bytes(4) + _fixed(xyz)


def _curve_tag(curve: Curve) -> bytes:
    if isinstance(curve, Gamma):
        return b"para" + bytes(4) + struct.pack(">HH", 0, 0) + _fixed(np.array([curve.exponent]))
    return b"para" + bytes(4) + struct.pack(">HH", 3, 0) + _fixed(np.array(_SRGB_CURVE))


def _text_tag(text: str) -> bytes:
    encoded = text.encode("utf-16-be")
    return b"mluc" + bytes(4) + struct.pack(">II2s2sII", 1, 12, b"en", b"US", len(encoded), 28) + encoded


def _assembled(tags: dict[bytes, bytes], space: bytes) -> bytes:
    """Header, table of tags, and their data, each distinct one once and aligned to 4 bytes."""
    start = 128 + 4 + 12 * len(tags)
    places: dict[bytes, int] = {}
    body = b""
    for data in tags.values():
        if data not in places:
            places[data] = start + len(body)
            body += data + bytes(-len(data) % 4)
    table = struct.pack(">I", len(tags))
    table += b"".join(struct.pack(">4sII", name, places[data], len(data)) for name, data in tags.items())
    header = struct.pack(">I4sI4s4s4s", start + len(body), bytes(4), 0x04300000, b"mntr", space, b"XYZ ")
    header += struct.pack(">6H4s", 2026, 1, 1, 0, 0, 0, b"acsp") + bytes(28) + _fixed(_D50)
    return header.ljust(128, b"\0") + table + body


def space_of(icc: bytes) -> str:
    """The colour space that a profile is for, as ICC writes it: "RGB", "GRAY", "CMYK"; empty for no profile."""
    return icc[_SPACE].decode("ascii", "replace").strip() if icc[_SIGNATURE] == b"acsp" else ""


def fits(icc: bytes, grey: bool) -> bool:
    """Whether a profile is for such samples. Grey ones may have that of RGB; what is no profile is not judged."""
    return space_of(icc) in ({"", "GRAY", "RGB"} if grey else {"", "RGB"})


def to_srgb(image: Image.Image, icc: bytes) -> Image.Image | None:
    """An image of mode L, LA, RGB or RGBA by its profile -> sRGB, in RGB or RGBA; None where that cannot be done."""
    alpha = image.getchannel("A") if image.mode in {"LA", "RGBA"} else None
    colours = image.convert("L" if space_of(icc) == "GRAY" else "RGB")
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        converted = ImageCms.profileToProfile(colours, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError):
        return None
    if converted is not None and alpha is not None:
        converted.putalpha(alpha)
    return converted
