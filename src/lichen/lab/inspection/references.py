"""What Global Reference refers to (Qian 2021): matched regions, S and U, and what each stage brings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lichen.lab.prior.entropy_parameters import EntropyParameters
from lichen.lab.prior.families import gaussian_bits
from lichen.lab.prior.reference import Matches, ReferenceModel
from lichen.lab.prior.schedules import Cell
from lichen.lab.prior.walk import ContextModel

REGIONS = 8  # that are shown of a picture
_LOCAL = 2  # rows and columns that the local context reaches


@dataclass(frozen=True)
class Region:
    """A position and what it refers to, (row, column) in latents; `saved_bits` is what the reference saves there."""

    target: tuple[int, int]
    reference: tuple[int, int]
    similarity: float
    confidence: float
    saved_bits: float


@dataclass(frozen=True)
class References:
    """One picture's references. `pixels` (H, W, 3) is the picture, `stride` its pixels for each latent.

    For each stage, local context first: `means` (h, w) of the channel of highest entropy and `rates` (h, w), the
    bits of all channels. `regions` are those beyond the local context that save most, apart from each other.
    """

    pixels: NDArray[np.uint8]
    stride: int
    matches: Matches
    means: tuple[Tensor, ...]
    rates: tuple[Tensor, ...]
    regions: tuple[Region, ...]


@dataclass(frozen=True)
class ReferenceSums:
    """Sums over positions of one picture: bits (n,) of n stages, S, U, references, distances.

    `beyond` counts references beyond the local context.
    """

    positions: int
    pixels: int
    bits: Tensor
    similarity: float
    confidence: float
    beyond: int
    distance: float


def references_of(
    context: ContextModel,
    y_hat: Tensor,
    last: EntropyParameters,
    *,
    channel: int,
    pixels: NDArray[np.uint8],
    stride: int,
) -> tuple[References, ReferenceSums] | None:
    """The references of a picture's y_hat (1, M, h, w); None for a model that has none.

    `last` are the coded stage's parameters (1, h w, M), with the earlier stages; the means of `channel` are kept.
    """
    if not isinstance(context, ReferenceModel):
        return None
    shape, matches, everything = y_hat.shape[2:], context.matches(y_hat), Cell(slice(None))
    known, stages = everything.of(y_hat), (*last.earlier, last)
    bits = [gaussian_bits(known - stage.mean, stage.scale).sum(dim=2).view(shape) for stage in stages]
    means = tuple(stage.mean[0, :, channel].view(shape).clone() for stage in stages)
    away = _away(matches.winner)
    regions = _regions(matches, away, bits[0] - bits[1])
    sums = ReferenceSums(
        positions=shape.numel(),
        pixels=pixels.shape[0] * pixels.shape[1],
        bits=torch.stack([stage.sum() for stage in bits]).double(),
        similarity=float(matches.similarity.sum()),
        confidence=float(matches.confidence.sum()),
        beyond=int((away > _LOCAL).sum()),
        distance=float(away.sum()),
    )
    return References(pixels, stride, matches, means=means, rates=tuple(bits), regions=regions), sums


def _away(winner: Tensor) -> Tensor:
    """Rows or columns between each position and its winner, whichever are more: (h, w) -> (h, w)."""
    height, width = winner.shape
    rows, columns = torch.arange(height)[:, None], torch.arange(width)[None]
    return torch.maximum((winner // width - rows).abs(), (winner % width - columns).abs())


def _regions(matches: Matches, away: Tensor, saved: Tensor) -> tuple[Region, ...]:
    height, width = saved.shape
    apart, found = max(height, width) // REGIONS, list[Region]()
    for place in saved.flatten().argsort(descending=True).tolist():
        row, column = divmod(place, width)
        near = any(max(abs(row - r.target[0]), abs(column - r.target[1])) < apart for r in found)
        if near or away[row, column] <= _LOCAL:
            continue
        reference = divmod(int(matches.winner[row, column]), width)
        figures = (float(values[row, column]) for values in (matches.similarity, matches.confidence, saved))
        found.append(Region((row, column), reference, *figures))
        if len(found) == REGIONS:
            break
    return tuple(found)


def reference_numbers(first: References, sums: Sequence[ReferenceSums]) -> dict[str, Any]:
    """Means over all pictures, and the first picture's regions and maps, as plain data."""
    positions, pixels = sum(s.positions for s in sums), sum(s.pixels for s in sums)
    bits = torch.stack([s.bits for s in sums]).sum(dim=0)
    return {
        "stage_bpp": [round(v, 5) for v in (bits / pixels).tolist()],
        "mean_similarity": round(sum(s.similarity for s in sums) / positions, 5),
        "mean_confidence": round(sum(s.confidence for s in sums) / positions, 5),
        "beyond_local_context_percent": round(100 * sum(s.beyond for s in sums) / positions, 2),
        "mean_distance_latents": round(sum(s.distance for s in sums) / positions, 3),
        "regions": [
            {
                "target": list(r.target),
                "reference": list(r.reference),
                "similarity": round(r.similarity, 4),
                "confidence": round(r.confidence, 4),
                "saved_bits": round(r.saved_bits, 3),
            }
            for r in first.regions
        ],
        "reference_map": _places(first.matches.winner),
        "similarity_map": _rounded(first.matches.similarity),
        "confidence_map": _rounded(first.matches.confidence),
    }


def _places(winner: Tensor) -> list[list[list[int]]]:
    """For each position the [row, column] that it refers to."""
    return [[list(divmod(place, winner.shape[1])) for place in row] for row in winner.tolist()]


def _rounded(values: Tensor) -> list[list[float]]:
    return [[round(v, 4) for v in row] for row in values.tolist()]
