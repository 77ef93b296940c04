"""The pictures of Global Reference's paper (Figures 8 to 10): what is referred to, S and U, what stages bring."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lichen.lab.inspection.drawing import images, saved, sheet
from lichen.lab.inspection.inspect import Inspection
from lichen.lab.inspection.references import References, Region

_COLUMNS = 4
_TARGET, _REFERENCE = ("#a020f0", "white"), ("#ffd60a", "black")  # purple and yellow, and the ink on them


def draw_references(inspections: Sequence[Inspection]) -> bytes:
    """A PNG with two rows for each of the models that have references. Raises `UsageError` without matplotlib."""
    there = [i for i in inspections if i.references]
    figure, axes = sheet(2 * len(there), _COLUMNS, (4.2, 3.9))
    for number, inspection in enumerate(there):
        _model(axes[2 * number : 2 * number + 2], inspection)
    return saved(figure, "png")


def _model(axes: Any, inspection: Inspection) -> None:
    references, channel = inspection.references, inspection.first.channel
    assert references is not None
    _matched(axes[0, 0], inspection.name, references)
    similarity, confidence = references.matches.similarity, references.matches.confidence
    _plane(axes[0, 1], "S: similarity of the best earlier patch", similarity)
    _plane(axes[0, 2], "U: how probable that patch was", confidence)
    _plane(axes[0, 3], f"ŷ of channel {channel}", inspection.first.y_hat)
    local, second = references.means[:2]
    both = torch.stack([local, second])
    shown = [(f"mean of channel {channel}, local context", local), ("the same with the reference", second)]
    images(axes[1, :2], shown, "viridis", (float(both.min()), float(both.max())))
    rates = references.rates
    _saving(axes[1, 2], "bits saved by the reference, all channels", rates[0] - rates[1])
    _saving(axes[1, 3], "bits saved by the last stage, all channels", rates[-2] - rates[-1])


def _plane(axes: Any, title: str, plane: Tensor) -> None:
    """Colours from the lowest value but for 2 %: the first positions have nothing to refer to."""
    lowest = float(plane.flatten().quantile(0.02))
    images([axes], [(title, plane)], "viridis", (lowest, float(plane.max())))


def _saving(axes: Any, title: str, plane: Tensor) -> None:
    """Around zero: red is better, blue is worse, as in the paper's Figure 9."""
    most = float(plane.abs().max())
    images([axes], [(title, plane)], "coolwarm", (-most, most))


def _matched(axes: Any, name: str, references: References) -> None:
    axes.imshow(references.pixels)
    for number, region in enumerate(references.regions, 1):
        _pair(axes, number, region, references.stride)
    axes.set_title(f"{name}: positions (purple)\nand what they refer to (yellow)", fontsize=8)
    axes.set_axis_off()


def _pair(axes: Any, number: int, region: Region, stride: int) -> None:
    """Two numbered boxes, three latents wide, and a line between them."""
    from matplotlib.patches import Rectangle

    places = [((row + 0.5) * stride, (column + 0.5) * stride) for row, column in (region.target, region.reference)]
    (y, x), (down, across) = places
    axes.plot([x, across], [y, down], color="white", linewidth=0.6, alpha=0.8)
    half = 1.5 * stride
    for (row, column), (colour, ink) in zip(places, (_TARGET, _REFERENCE), strict=True):
        corner = (column - half, row - half)
        axes.add_patch(Rectangle(corner, 2 * half, 2 * half, fill=False, edgecolor=colour, linewidth=1.5))
        label = {"facecolor": colour, "edgecolor": "none", "pad": 0.8}
        axes.text(*corner, str(number), color=ink, fontsize=6, ha="right", va="bottom", bbox=label)
