"""The papers' pictures of a model's latents, drawn with matplotlib; models side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from lichen.lab.inspection.drawing import images, saved, sheet
from lichen.lab.inspection.inspect import Inspection
from lichen.lab.inspection.latent_statistics import BINS_REACH, relative
from lichen.lab.losses.correlation import off_centre

_PLANES = (
    ("y_hat", "ŷ of channel {}"),
    ("mean", "mean of channel {}"),
    ("scale", "scale of channel {}"),
    ("normalised", "(y - mean) / scale of channel {}"),
    ("rate", "bits at each position, all channels"),
)


def draw_latents(inspections: Sequence[Inspection]) -> bytes:
    """A PNG with a column for each model: maps of C and of C/C(0), planes of the first picture, histogram.

    Planes of one kind share their colours. Raises `UsageError` without the `eval` extra (matplotlib).
    """
    rows = len(_PLANES) + 3
    figure, axes = sheet(rows, len(inspections), (5.5, 3.2))
    highest = max(_without_centre(i.correlation).abs().max().item() for i in inspections)
    highest_rho = max(_without_centre(i.rho).abs().max().item() for i in inspections)
    for column, inspection in enumerate(inspections):
        _heat(axes[0, column], inspection.correlation, highest)
        axes[0, column].set_title(_heading(inspection), fontsize=8)
        _heat(axes[1, column], inspection.rho, highest_rho)
        axes[1, column].set_title(_rho_heading(inspection), fontsize=8)
        _histogram(axes[-1, column], inspection)
    for row, (name, title) in enumerate(_PLANES, start=2):
        _planes(axes[row], [(title.format(i.first.channel), getattr(i.first, name)) for i in inspections])
    return saved(figure, "png")


@dataclass(frozen=True)
class CorrelationMap:
    """A model's map C (k, k) at a lambda."""

    model: str
    lam: float
    correlation: Tensor


def draw_maps(rows: Sequence[Sequence[CorrelationMap]], ending: str) -> bytes:
    """A file of that ending (png, svg) with maps C/C(0) in rows and columns, in the same colours.

    As in the supplement's Figure 6. Titles give C(0) and the mean of abs(C) off the centre too. Raises `UsageError`
    without the `eval` extra (matplotlib).
    """
    figure, axes = sheet(len(rows), max(len(row) for row in rows), (3.1, 3.4))
    highest = max(_without_centre(relative(m.correlation)).abs().max().item() for row in rows for m in row)
    for places, row in zip(axes, rows, strict=True):
        for place, m in zip(places, row, strict=True):
            rho, middle = relative(m.correlation), m.correlation.shape[0] // 2
            _heat(place, rho, highest)
            place.set_title(
                f"{m.model}\nλ {m.lam:g}, off centre C/C(0) {off_centre(rho):.4f}\n"
                f"C {off_centre(m.correlation):.4f}, C(0) {m.correlation[middle, middle]:.3f}",
                fontsize=8,
            )
    return saved(figure, ending)


def _without_centre(correlation: Tensor) -> Tensor:
    shown = correlation.clone()
    shown[shown.shape[0] // 2, shown.shape[1] // 2] = 0
    return shown


def _heading(i: Inspection) -> str:
    head = f"{i.name}, {i.pictures} pictures, {i.estimated_bpp:.3f} bpp (estimated): "
    head += f"y {i.estimated_y_bpp:.3f}, z {i.estimated_z_bpp:.4f}"
    return f"{head}\ncorrelation map C, off centre {i.off_centre:.4f}"


def _rho_heading(i: Inspection) -> str:
    head = f"C/C(0), off centre {i.rho_off_centre:.4f}; by channel and rate {i.weighted_rho:.4f}"
    return f"{head}\nspatial saving left {i.saving_bpp:.4f} bpp"


def _heat(axes: Any, correlation: Tensor, highest: float) -> None:
    """A correlation map in colours from -highest to highest, with its values; the centre has no colour."""
    axes.imshow(_without_centre(correlation).numpy(), cmap="coolwarm", vmin=-highest, vmax=highest)
    for (row, column), value in np.ndenumerate(correlation.numpy()):
        axes.text(column, row, f"{round(float(value), 3) + 0:.3f}", ha="center", va="center", fontsize=8)
    axes.set_axis_off()


def _planes(axes: Any, shown: list[tuple[str, Tensor]]) -> None:
    low = min(plane.min().item() for _, plane in shown)
    high = max(plane.max().item() for _, plane in shown)
    images(axes, shown, "viridis", (low, high))


def _histogram(axes: Any, inspection: Inspection) -> None:
    counts = inspection.histogram.numpy()
    width = 2 * BINS_REACH / len(counts)
    places = np.linspace(-BINS_REACH, BINS_REACH, len(counts) + 1)[:-1] + width / 2
    axes.semilogy(places, counts / max(counts.sum() * width, 1), label="normalised latents")
    axes.semilogy(places, np.exp(-(places**2) / 2) / np.sqrt(2 * np.pi), "--", label="Gaussian")
    axes.set_ylim(1e-5, 20)
    axes.legend(fontsize=7)
    axes.set_title("histogram of (y - mean) / scale", fontsize=8)
