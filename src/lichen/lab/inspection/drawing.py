"""Figures of many axes, drawn with matplotlib and saved as bytes."""

from __future__ import annotations

import io
from typing import Any

from torch import Tensor

from lichen.errors import UsageError
from lichen.extras import missing


def sheet(rows: int, columns: int, size: tuple[float, float]) -> tuple[Any, Any]:
    """A figure and its (rows, columns) axes, each of `size` inches. Raises `UsageError` without matplotlib."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UsageError(f"figures: {missing('matplotlib')}") from error
    figure = Figure(figsize=(size[0] * columns, size[1] * rows), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False)


def saved(figure: Any, ending: str) -> bytes:
    """A figure as a file of that ending."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format=ending, dpi=100)
    return buffer.getvalue()


def images(axes: Any, shown: list[tuple[str, Tensor]], colours: str, span: tuple[float, float]) -> None:
    """Titled planes (h, w), one on each of `axes`, in the same colours over the span of values."""
    for place, (title, plane) in zip(axes, shown, strict=True):
        image = place.imshow(plane.numpy(), cmap=colours, vmin=span[0], vmax=span[1])
        place.figure.colorbar(image, ax=place, shrink=0.8)
        place.set_title(title, fontsize=8)
        place.set_axis_off()
