"""The papers' pictures of a model's latents, drawn with matplotlib; models side by side."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from lichen.errors import UsageError
from lichen.evaluation.inspect import RANGE, Inspection
from lichen.evaluation.lookups import Lookup
from lichen.losses.correlation import off_centre

_PLANES = (
    ("y_hat", "ŷ of channel {}"),
    ("mean", "mean of channel {}"),
    ("scale", "scale of channel {}"),
    ("normalised", "(y - mean) / scale of channel {}"),
    ("rate", "bits at each position, all channels"),
)

_LOOKUP_ROWS = 7  # regions, S, U, two means, two savings
_OF_ALL = " at each position, all channels"


def draw(inspections: Sequence[Inspection]) -> bytes:
    """A PNG with a column for each model: correlation map, planes of the first picture, histogram, energies.

    Between them, of Global Reference, the first picture's references: matched regions, S, U and what stages bring.
    Planes of one kind share their colours. Raises `UsageError` without the `eval` extra (matplotlib).
    """
    referring = [i.lookup for i in inspections if i.lookup]
    rows = len(_PLANES) + 3 + (_LOOKUP_ROWS if referring else 0)
    figure, axes = _sheet(rows, len(inspections), (5.5, 3.2))
    highest = max(_without_centre(i.correlation).abs().max().item() for i in inspections)
    for column, inspection in enumerate(inspections):
        _correlation(axes[0, column], inspection, highest)
        _histogram(axes[-2, column], inspection)
        _energy(axes[-1, column], inspection)
    for row, (name, title) in enumerate(_PLANES, start=1):
        _planes(axes[row], [(title.format(i.first.channel), getattr(i.first, name)) for i in inspections])
    if referring:
        _lookups(axes[len(_PLANES) + 1 : -2], inspections)
    return _saved(figure, "png")


@dataclass(frozen=True)
class Map:
    """A model's correlation map (k, k) at a lambda."""

    model: str
    lam: float
    correlation: Tensor


def draw_maps(rows: Sequence[Sequence[Map]], ending: str) -> bytes:
    """A file of that ending (png, svg) with maps in rows and columns, in the same colours (supplement, Figure 6).

    Raises `UsageError` without the `eval` extra (matplotlib).
    """
    figure, axes = _sheet(len(rows), max(len(row) for row in rows), (3.1, 3.2))
    highest = max(_without_centre(m.correlation).abs().max().item() for row in rows for m in row)
    for places, row in zip(axes, rows, strict=True):
        for place, m in zip(places, row, strict=True):
            _heat(place, m.correlation, highest)
            place.set_title(f"{m.model}\nλ {m.lam:g}, off centre {off_centre(m.correlation):.4f}", fontsize=8)
    return _saved(figure, ending)


def _sheet(rows: int, columns: int, size: tuple[float, float]) -> tuple[Any, Any]:
    """A figure and its (rows, columns) axes, each of `size` inches."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UsageError("figures need matplotlib: pip install 'lichen[eval]'") from error
    figure = Figure(figsize=(size[0] * columns, size[1] * rows), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False)


def _saved(figure: Any, ending: str) -> bytes:
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
    _images(axes, shown, "viridis", low, high)


def _savings(axes: Any, shown: list[tuple[str, Tensor]]) -> None:
    """Planes around zero: red is better, blue is worse (Qian 2021, Figure 9)."""
    most = max(plane.abs().max().item() for _, plane in shown)
    _images(axes, shown, "coolwarm", -most, most)


def _images(axes: Any, shown: list[tuple[str, Tensor]], colours: str, low: float, high: float) -> None:
    for place, (title, plane) in zip(axes, shown, strict=True):
        image = place.imshow(plane.numpy(), cmap=colours, vmin=low, vmax=high)
        place.figure.colorbar(image, ax=place, shrink=0.8)
        place.set_title(title, fontsize=8)
        place.set_axis_off()


def _lookups(axes: Any, inspections: Sequence[Inspection]) -> None:
    """Rows of axes about references; the columns of other models stay empty."""
    for column, inspection in enumerate(inspections):
        if inspection.lookup is None:
            for place in axes[:, column]:
                place.set_axis_off()
            axes[0, column].set_title(f"{inspection.name} has no references", fontsize=8)
    there = [(column, i.lookup, i.first.channel) for column, i in enumerate(inspections) if i.lookup]
    columns = [column for column, _, _ in there]
    for column, lookup, _ in there:
        _matched(axes[0, column], lookup)
    rates = [lookup.rates for _, lookup, _ in there]
    shown = [
        [("similarity S of the best earlier patch", lookup.matches.similarity) for _, lookup, _ in there],
        [("confidence U: how probable that patch was", lookup.matches.confidence) for _, lookup, _ in there],
        [(f"mean of channel {top} by local context alone", lookup.means[0]) for _, lookup, top in there],
        [(f"mean of channel {top} with the reference", lookup.means[1]) for _, lookup, top in there],
    ]
    for row, planes in zip(axes[1:], shown, strict=False):
        _planes(row[columns], planes)
    _savings(axes[-2][columns], [(f"bits saved by the reference{_OF_ALL}", rate[0] - rate[1]) for rate in rates])
    _savings(axes[-1][columns], [(f"bits saved by the last stage{_OF_ALL}", rate[-2] - rate[-1]) for rate in rates])


def _matched(axes: Any, lookup: Lookup) -> None:
    """The picture with numbered pairs of boxes, drawn larger than a latent (paper, Figure 8)."""
    from matplotlib.patches import Rectangle

    axes.imshow(lookup.pixels)
    half = 1.5 * lookup.stride
    for number, region in enumerate(lookup.regions, 1):
        (y, x), (v, u) = (
            ((r + 0.5) * lookup.stride, (c + 0.5) * lookup.stride) for r, c in (region.target, region.reference)
        )
        axes.plot([x, u], [y, v], color="white", linewidth=0.6, alpha=0.7)
        for across, down, colour, ink in ((u, v, "#ffd60a", "black"), (x, y, "#a020f0", "white")):
            box = Rectangle(
                (across - half, down - half), 2 * half, 2 * half, fill=False, edgecolor=colour, linewidth=1.6
            )
            axes.add_patch(box)
            label = {"facecolor": colour, "edgecolor": "none", "pad": 1}
            axes.text(across, down, str(number), color=ink, fontsize=7, ha="center", va="center", bbox=label)
    axes.set_title(
        "purple: a position; yellow: what it refers to\n(those that save most beyond the local context)", fontsize=8
    )
    axes.set_axis_off()


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
