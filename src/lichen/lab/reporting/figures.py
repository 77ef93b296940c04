"""The report's charts as PNG and SVG for papers, drawn with matplotlib."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lichen.image.files import write_atomically
from lichen.lab.evaluation.curves import Curve
from lichen.lab.evaluation.leaderboard import CodecCurves, Leaderboard, Origin, log_rates
from lichen.lab.reporting.palette import Style, Styles

_RC: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e6df",
    "axes.edgecolor": "#8a8f8b",
    "svg.hashsalt": "lichen",
}
_MARKS = {"circle": "o", "square": "s", "diamond": "D", "triangle": "^"}
BPP_MAX = 1.6
_LABELS = {"rd-psnr": "PSNR, dB", "rd-ms-ssim": "MS-SSIM, dB"}


def draw_figures(leaderboard: Leaderboard, styles: Styles, anchor: CodecCurves, folder: Path) -> None:
    """Write rd-psnr, rd-ms-ssim, saving and speed, as .png and .svg, where there is something to draw."""
    ran = [c for c in leaderboard.codecs if c.run]
    drawings: dict[str, Callable[[Axes], object]] = {}
    if any(c.psnr for c in ran):
        drawings["rd-psnr"] = lambda axes: _rd(axes, leaderboard, styles, lambda c: c.psnr)
        drawings["saving"] = lambda axes: _saving(axes, leaderboard, styles, anchor)
    if any(leaderboard.delta(anchor, c) for c in ran):
        drawings["speed"] = lambda axes: _speed(axes, leaderboard, styles, anchor)
    if any(c.ms_ssim for c in ran):
        drawings["rd-ms-ssim"] = lambda axes: _rd(axes, leaderboard, styles, lambda c: c.ms_ssim)
    for name, draw in drawings.items():
        _write(draw, folder / name, label=_LABELS.get(name))


def draw_gains(gains: Sequence[dict[str, Any]], folder: Path) -> None:
    """Write gains.png and .svg: the correlation paper's Figure 13; nothing where there are none."""
    if gains:
        _write(lambda axes: _gains(axes, gains), folder / "gains")


def _write(draw: Callable[[Axes], object], path: Path, label: str | None = None) -> None:
    """One figure as PATH.png and PATH.svg, without dates or versions inside."""
    with rc_context(_RC):
        figure = Figure(figsize=(6.4, 4.6), layout="constrained")
        axes = figure.add_subplot()
        draw(axes)
        if label:
            axes.set_ylabel(label)
        for ending in ("png", "svg"):
            buffer = io.BytesIO()
            stamp = {"Software": None} if ending == "png" else {"Date": None}
            figure.savefig(buffer, format=ending, dpi=200, metadata=stamp)
            write_atomically(path.with_name(f"{path.name}.{ending}"), buffer.getvalue(), overwrite=True)


def _line(axes: Axes, c: CodecCurves, style: Style, points: tuple[Any, Any], marked: bool = True) -> None:
    ours, published = c.origin is Origin.OURS, c.origin is Origin.PUBLISHED
    axes.plot(
        *points,
        color=style.light,
        linewidth=2.4 if ours else 1.2,
        linestyle="--" if published else "-",
        marker=_MARKS[style.marker] if marked and not published else None,
        markersize=4 if ours else 3,
        zorder=3 if ours else 2,
        label=c.points.name,
    )


def _rd(axes: Axes, leaderboard: Leaderboard, styles: Styles, of: Callable[[CodecCurves], Curve | None]) -> None:
    top: list[float] = []
    for c in leaderboard.codecs:
        curve = of(c)
        if curve is not None:
            _line(axes, c, styles[c.key], (curve.bpp, curve.quality_db))
            if c.run:
                top += [q for b, q in zip(curve.bpp, curve.quality_db, strict=True) if b <= BPP_MAX]
    axes.set(xlim=(0, BPP_MAX), xlabel="bits per pixel")
    if top:  # else all of it lies beyond the rates that are shown
        axes.set_ylim(min(top) - 0.5, max(top) + 0.5)
    if axes.lines:
        axes.legend(fontsize=7, frameon=False, ncols=2)


def _saving(axes: Axes, leaderboard: Leaderboard, styles: Styles, anchor: CodecCurves) -> None:
    if anchor.psnr is None:
        return
    grid = np.linspace(anchor.psnr.quality_db[0], anchor.psnr.quality_db[-1], 200)
    base = np.array(log_rates(anchor.psnr, grid), dtype=float)
    for c in leaderboard.codecs:
        if c.psnr is not None:
            saved = 100 * (1 - 10 ** (np.array(log_rates(c.psnr, grid), dtype=float) - base))
            _line(axes, c, styles[c.key], (grid, saved), marked=False)
    axes.set(ylim=(-150, 40), xlabel="PSNR, dB", ylabel=f"bytes saved over {anchor.points.name}, %")
    axes.legend(fontsize=7, frameon=False, ncols=2)


def _speed(axes: Axes, leaderboard: Leaderboard, styles: Styles, anchor: CodecCurves) -> None:
    for c in leaderboard.codecs:
        found = leaderboard.delta(anchor, c)
        if c.run is None or found is None:
            continue
        x, style = float(np.mean(c.run.decode_s)), styles[c.key]
        axes.scatter(x, found.rate_percent, color=style.light, marker=_MARKS[style.marker], s=36, zorder=3)
        axes.annotate(c.points.name, (x, found.rate_percent), (6, 3), textcoords="offset points", color=style.light)
    axes.set(xscale="log", xlabel="seconds a picture to decode", ylabel=f"BD-rate over {anchor.points.name}, %")


def _gains(axes: Axes, gains: Sequence[dict[str, Any]]) -> None:
    for gain in gains:
        points = gain["points"]
        axes.plot([p["correlation"] for p in points], [p["gain_db"] for p in points], marker="o", label=gain["name"])
        for p in points:
            axes.annotate(
                f"{p['bpp']:.2f} bpp", (p["correlation"], p["gain_db"]), (4, 4), textcoords="offset points", fontsize=6
            )
    axes.set(xlabel="correlation of the plain model", ylabel="PSNR gain of the correlation loss, dB")
    axes.legend(fontsize=7, frameon=False)
