"""Colours and marks of the codecs' lines, the same in the page and in the figures.

The colours are Okabe and Ito's, which colour-blind people can tell apart, for light and for dark paper; marks tell
lines apart without colour.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lichen.lab.evaluation.leaderboard import CodecCurves, Origin


@dataclass(frozen=True)
class Style:
    """A line's colour on light and on dark paper, and its mark."""

    light: str
    dark: str
    marker: str


_KNOWN = {
    "jpeg-420": Style("#7a7f7b", "#9aa39c", "circle"),
    "jpeg-444": Style("#7a7f7b", "#9aa39c", "square"),
    "jpeg-2000": Style("#8a6a3b", "#c9a26a", "triangle"),
    "webp": Style("#c77f00", "#f0ad33", "triangle"),
    "avif": Style("#0068a8", "#56b4e9", "square"),
    "avif-444-psnr": Style("#0068a8", "#56b4e9", "triangle"),
    "heic": Style("#a8518a", "#dd8fbf", "diamond"),
    "jpeg-xl": Style("#c44a00", "#ff8a4a", "circle"),
    "vtm": Style("#1d231f", "#e9ece8", "circle"),
    "av1": Style("#3f7fb5", "#86c5f0", "circle"),
    "bpg_444_x265_ycbcr": Style("#9c5a86", "#cf93ba", "circle"),
    "hm": Style("#7c4c9e", "#b793d6", "circle"),
}
_OURS = (
    Style("#0b7a55", "#4cc79a", "circle"),
    Style("#4f46b8", "#a29bf5", "diamond"),
    Style("#b0305c", "#f487a8", "square"),
    Style("#1f8a8a", "#63d1d1", "triangle"),
)
_OTHERS = (
    Style("#6b7280", "#a3abb8", "circle"),
    Style("#8f5f4a", "#cf9f88", "square"),
    Style("#557a2b", "#a5cc74", "diamond"),
    Style("#9a6a00", "#d8ac4c", "triangle"),
    Style("#4a7a8c", "#8fc0d2", "circle"),
    Style("#7a5c99", "#b9a0d6", "square"),
    Style("#2f6b5f", "#84c7b8", "diamond"),
    Style("#8c3b4a", "#d98f9d", "triangle"),
    Style("#5c6b2f", "#b7c77e", "circle"),
)


Styles = dict[str, Style]  # by a codec's key


def styles_of(codecs: Sequence[CodecCurves]) -> Styles:
    """A style for each codec."""
    ours = [c.key for c in codecs if c.origin is Origin.OURS]
    others = [c.key for c in codecs if c.origin is not Origin.OURS and c.key not in _KNOWN]
    found = {key: _OURS[i % len(_OURS)] for i, key in enumerate(ours)}
    found |= {key: _OTHERS[i % len(_OTHERS)] for i, key in enumerate(others)}
    return found | {c.key: _KNOWN[c.key] for c in codecs if c.origin is not Origin.OURS and c.key in _KNOWN}
