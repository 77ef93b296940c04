"""Colour descriptions other than ICC profiles: gAMA, cHRM and cICP of PNG, nclx of AVIF and HEIF.

Viewers that heed them heed ICC profiles too, so they become one; the samples stay as they are. What no profile of
matrix and curve can say (PQ and HLG of HDR, for example) is left out with a notice. Code points are those of ITU-T
H.273, the order of precedence that of PNG, third edition: cICP, iCCP, sRGB, then gAMA and cHRM.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from PIL import Image

from lichen.image.peeking import head_of, png_chunk_of
from lichen.image.profiles import D65, SRGB_PRIMARIES, Chromaticities, Curve, Gamma, SrgbCurve, make_profile

_ILLUMINANT_C, _DCI_WHITE = (0.310, 0.316), (0.314, 0.351)
_PRIMARIES: dict[int, Chromaticities] = {
    1: SRGB_PRIMARIES,
    2: SRGB_PRIMARIES,  # unspecified
    4: (_ILLUMINANT_C, (0.67, 0.33), (0.21, 0.71), (0.14, 0.08)),
    5: (D65, (0.64, 0.33), (0.29, 0.60), (0.15, 0.06)),
    6: (D65, (0.630, 0.340), (0.310, 0.595), (0.155, 0.070)),
    7: (D65, (0.630, 0.340), (0.310, 0.595), (0.155, 0.070)),
    9: (D65, (0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
    11: (_DCI_WHITE, (0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
    12: (D65, (0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
}
_VIDEO = dict.fromkeys((1, 2, 6, 13, 14, 15), SrgbCurve())  # still pictures in a video's curve are shown as sRGB
_CURVES: dict[int, Curve] = {**_VIDEO, 4: Gamma(2.2), 5: Gamma(2.8), 8: Gamma(1.0)}
_HDR = {16: "PQ", 18: "HLG"}
_SRGB_GAMMA, _GAMMA_TOLERANCE = 1 / 2.2, 0.03  # of the exponent, relative: as libpng compares
_XY_TOLERANCE = 0.005


@dataclass(frozen=True)
class ColourDescription:
    """A profile to be used instead of the file's own (None: that one), and notices."""

    icc: bytes | None = None
    notices: tuple[str, ...] = ()


_NOTHING = ColourDescription()


def describe_colour(image: Image.Image) -> ColourDescription:
    """What a file says of its colours beside an ICC profile. To be called before the image is loaded."""
    grey = image.mode in {"1", "L", "LA", "La", "I", "F"} or image.mode.startswith("I;16")
    has_profile = bool(image.info.get("icc_profile"))
    if image.format == "PNG":
        code_points = _cicp_of_png(image)
        if code_points is not None:
            return _of_code_points(*code_points, grey)
        if has_profile or "srgb" in image.info:
            return _NOTHING
        return _of_gamma(image.info.get("gamma"), image.info.get("chromaticity"), grey)
    if has_profile:
        return _NOTHING
    nclx = _nclx_of_avif(image) if image.format == "AVIF" else _nclx_of_heif(image.info.get("nclx_profile"))
    return _NOTHING if nclx is None else _of_code_points(*nclx, True, grey)


def _of_code_points(primaries: int, transfer: int, full_range: bool, grey: bool) -> ColourDescription:
    """A description by H.273's numbers."""
    if transfer in _HDR:
        lost = f"its HDR transfer ({_HDR[transfer]}) was left out: colours look flat; tone-map it to SDR first"
        return ColourDescription(notices=(lost,))
    chromaticities, curve = _PRIMARIES.get(primaries), _CURVES.get(transfer)
    if chromaticities is None or curve is None or not full_range:
        lost = f"its colour description (primaries {primaries}, transfer {transfer}) was left out"
        return ColourDescription(notices=(lost,))
    if chromaticities == SRGB_PRIMARIES and curve == SrgbCurve():
        return _NOTHING
    return ColourDescription(make_profile(chromaticities, curve, grey))


def _of_gamma(gamma: float | None, chromaticity: tuple[float, ...] | None, grey: bool) -> ColourDescription:
    """A description by gAMA (the exponent of encoding) and cHRM (x and y of white, red, green, blue)."""
    primaries: Chromaticities = SRGB_PRIMARIES
    curve: Curve = SrgbCurve()
    try:
        if chromaticity is not None and not _is_near(chromaticity):
            x, y = chromaticity[0::2], chromaticity[1::2]
            primaries = (x[0], y[0]), (x[1], y[1]), (x[2], y[2]), (x[3], y[3])
        if gamma is not None and abs(gamma / _SRGB_GAMMA - 1) > _GAMMA_TOLERANCE:
            curve = Gamma(1 / gamma)
        if primaries == SRGB_PRIMARIES and curve == SrgbCurve():
            return _NOTHING
        return ColourDescription(make_profile(primaries, curve, grey))
    except (ValueError, ZeroDivisionError):
        return ColourDescription(notices=("its gAMA and cHRM chunks, of impossible values, were left out",))


def _is_near(chromaticity: tuple[float, ...]) -> bool:
    flat = [value for point in SRGB_PRIMARIES for value in point]
    return all(abs(a - b) < _XY_TOLERANCE for a, b in zip(chromaticity, flat, strict=True))


def _cicp_of_png(image: Image.Image) -> tuple[int, int, bool] | None:
    """Primaries, transfer and whether the range is full, of a PNG file's cICP chunk, which Pillow does not read."""
    body = png_chunk_of(image, b"cICP")
    return (body[0], body[1], body[3] != 0) if body is not None and len(body) == 4 else None


def _nclx_of_avif(image: Image.Image) -> tuple[int, int] | None:
    """Primaries and transfer of the first colour box in an AVIF file's head, which Pillow does not give."""
    head = head_of(image)
    at = head.find(b"colrnclx")
    if at < 0 or at + 12 > len(head):
        return None
    primaries, transfer = struct.unpack_from(">HH", head, at + 8)
    return primaries, transfer


def _nclx_of_heif(profile: object) -> tuple[int, int] | None:
    """The same of what pillow-heif says."""
    if not isinstance(profile, dict):
        return None
    primaries, transfer = profile.get("color_primaries"), profile.get("transfer_characteristics")
    return (primaries, transfer) if isinstance(primaries, int) and isinstance(transfer, int) else None
