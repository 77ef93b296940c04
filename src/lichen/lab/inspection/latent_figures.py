"""The papers' pictures of a model's latents, drawn with matplotlib; models side by side."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from lichen.errors import UsageError
from lichen.lab.inspection.inspect import RANGE, Inspection
from lichen.lab.losses.correlation import off_centre

_PLANES = (
    ("y_hat", "ŷ of channel {}"),
    ("mean", "mean of channel {}"),
    ("scale", "scale of channel {}"),
    ("normalised", "(y - mean) / scale of channel {}"),
    ("rate", "bits at each position, all channels"),
)


def draw(inspections: Sequence[Inspection]) -> bytes:
    """A PNG with a column for each model: correlation map, planes of the first picture, histogram, energies.

    Planes of one kind share their colours. Raises `UsageError` without the `eval` extra (matplotlib).
    """
    rows = len(_PLANES) + 3
    figure, axes = sheet(rows, len(inspections), (5.5, 3.2))
    highest = max(_without_centre(i.correlation).abs().max().item() for i in inspections)
    for column, inspection in enumerate(inspections):
        _correlation(axes[0, column], inspection, highest)
        _histogram(axes[-2, column], inspection)
        _energy(axes[-1, column], inspection)
    for row, (name, title) in enumerate(_PLANES, start=1):
        _planes(axes[row], [(title.format(i.first.channel), getattr(i.first, name)) for i in inspections])
    return saved(figure, "png")


@dataclass(frozen=True)
class CorrelationMap:
    """A model's correlation map (k, k) at a lambda."""

    model: str
    lam: float
    correlation: Tensor


def draw_maps(rows: Sequence[Sequence[CorrelationMap]], ending: str) -> bytes:
    """A file of that ending (png, svg) with maps in rows and columns, in the same colours (supplement, Figure 6).

    Raises `UsageError` without the `eval` extra (matplotlib).
    """
    figure, axes = sheet(len(rows), max(len(row) for row in rows), (3.1, 3.2))
    highest = max(_without_centre(m.correlation).abs().max().item() for row in rows for m in row)
    for places, row in zip(axes, rows, strict=True):
        for place, m in zip(places, row, strict=True):
            _heat(place, m.correlation, highest)
            place.set_title(f"{m.model}\nλ {m.lam:g}, off centre {off_centre(m.correlation):.4f}", fontsize=8)
    return saved(figure, ending)


def sheet(rows: int, columns: int, size: tuple[float, float]) -> tuple[Any, Any]:
    """A figure and its (rows, columns) axes, each of `size` inches."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UsageError("figures need matplotlib: pip install 'lichen[eval]'") from error
    figure = Figure(figsize=(size[0] * columns, size[1] * rows), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False)


def saved(figure: Any, ending: str) -> bytes:
    """A figure as a file of that ending."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format=ending, dpi=100)
    return buffer.getvalue()


def _without_centre(correlation: Tensor) -> Tensor:
    shown = correlation.clone()
    shown[shown.shape[0] // 2, shown.shape[1] // 2] = 0
    return shown


def _correlation(axes: Any, inspection: Inspection, highest: float) -> None:
    _heat(axes, inspection.correlation, highest)
    head = f"{inspection.name}, {inspection.pictures} pictures, {inspection.estimated_bpp:.3f} bpp (estimated)"
    left = f"off centre {inspection.off_centre:.4f}, spatial saving left {inspection.saving_bpp:.4f} bpp"
    axes.set_title(f"{head}\ncorrelation map: {left}", fontsize=8)


def _heat(axes: Any, correlation: Tensor, highest: float) -> None:
    """A correlation map in colours from -highest to highest, with its values; the centre has no colour."""
    axes.imshow(_without_centre(correlation).numpy(), cmap="coolwarm", vmin=-highest, vmax=highest)
    for (row, column), value in np.ndenumerate(correlation.numpy()):
        axes.text(column, row, f"{value:.3f}", ha="center", va="center", fontsize=8)
    axes.set_axis_off()


def _planes(axes: Any, shown: list[tuple[str, Tensor]]) -> None:
    low = min(plane.min().item() for _, plane in shown)
    high = max(plane.max().item() for _, plane in shown)
    images(axes, shown, "viridis", low, high)


def images(axes: Any, shown: list[tuple[str, Tensor]], colours: str, low: float, high: float) -> None:
    """Titled planes (h, w), one on each of `axes`, in the same colours from `low` to `high`."""
    for place, (title, plane) in zip(axes, shown, strict=True):
        image = place.imshow(plane.numpy(), cmap=colours, vmin=low, vmax=high)
        place.figure.colorbar(image, ax=place, shrink=0.8)
        place.set_title(title, fontsize=8)
        place.set_axis_off()


def _histogram(axes: Any, inspection: Inspection) -> None:
    counts = inspection.histogram.numpy()
    width = 2 * RANGE / len(counts)
    places = np.linspace(-RANGE, RANGE, len(counts) + 1)[:-1] + width / 2
    axes.semilogy(places, counts / max(counts.sum() * width, 1), label="normalised latents")
    axes.semilogy(places, np.exp(-(places**2) / 2) / np.sqrt(2 * np.pi), "--", label="Gaussian")
    axes.set_ylim(1e-5, 20)
    axes.legend(fontsize=7)
    axes.set_title("histogram of (y - mean) / scale", fontsize=8)


def _energy(axes: Any, inspection: Inspection) -> None:
    energy = inspection.energy.sort(descending=True).values.numpy()
    axes.plot(energy, label="energy (mean ŷ²)")
    if energy.max() > 0:  # else all is zero: weights that know nothing yet
        axes.set_yscale("log")
        axes.set_ylim(bottom=max(float(energy.max()) * 1e-8, 1e-8))
    axes.set_title("log energy of channels, sorted", fontsize=8)
    rate = axes.twinx()
    rate.plot(inspection.channel_bpp[inspection.energy.argsort(descending=True)].numpy(), "C1", lw=0.8, label="bpp")
    axes.legend(loc="upper center", fontsize=7)
    rate.legend(loc="upper right", fontsize=7)
