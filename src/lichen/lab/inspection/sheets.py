"""All sheets that `lichen inspect` draws."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lichen.lab.inspection.channel_figures import draw_channels
from lichen.lab.inspection.inspect import Inspection
from lichen.lab.inspection.latent_figures import draw_latents
from lichen.lab.inspection.reference_figures import draw_references

Draw = Callable[[Sequence[Inspection]], bytes]  # gives a PNG


def sheets(inspections: Sequence[Inspection]) -> dict[str, Draw]:
    """The sheets for these models: what is added to the file's name, and what draws it."""
    found: dict[str, Draw] = {"": draw_latents, "-channels": draw_channels}
    return found | ({"-references": draw_references} if any(i.references for i in inspections) else {})
