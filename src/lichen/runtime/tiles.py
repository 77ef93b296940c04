"""Large pictures in tiles: rectangles of the map of hyper-latents, and how far each network sees beyond one.

Everything is counted in hyper-latents (64 x 64 pixels, 4 x 4 latents), the coarsest map of a model. The
tiles follow from the picture's size alone, never from memory, so that a picture has one result.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, TypeVar

CODING_SIDE = 48  # of a tile of the walk: 3072 pixels; part of the file format, as symbols lie tile by tile
TRANSFORM_SIDE = 64  # of a tile of the transforms, at most: 4096 pixels
SAMPLE_SIDE, SAMPLED_AREA = 16, 4096  # of tiles that a filter is fitted from, and how many hyper-latents suffice
ALIGNMENT = 4  # tiles of transforms begin at multiples of it, as networks on a grid of their own ask
Map = TypeVar("Map", bound=Any)  # a tensor or an array


@dataclass(frozen=True)
class Tile:
    """Rows top ... bottom and columns left ... right of the map of hyper-latents, ends not included."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in hyper-latents."""
        return self.bottom - self.top, self.right - self.left

    @property
    def area(self) -> int:
        """Height x width in hyper-latents."""
        return math.prod(self.shape)

    def of(self, x: Map, unit: int) -> Map:
        """The part of (B, C, h, w) under this tile, `unit` rows to a hyper-latent; a view."""
        part: Map = x[..., self.top * unit : self.bottom * unit, self.left * unit : self.right * unit]
        return part

    def grown(self, halo: int, whole: Tile) -> Tile:
        """With `halo` more on each side, within the whole map."""
        return Tile(
            max(self.top - halo, whole.top),
            max(self.left - halo, whole.left),
            min(self.bottom + halo, whole.bottom),
            min(self.right + halo, whole.right),
        )

    def seen_from(self, outer: Tile) -> Tile:
        """This tile in the coordinates of a larger one."""
        return Tile(self.top - outer.top, self.left - outer.left, self.bottom - outer.top, self.right - outer.left)

    def meets(self, other: Tile) -> bool:
        """Whether it has a hyper-latent in common with another."""
        rows = self.top < other.bottom and other.top < self.bottom
        return rows and self.left < other.right and other.left < self.right


def split(height: int, width: int, down: int, across: int) -> list[Tile]:
    """A map of height x width hyper-latents in tiles of down x across, row by row; the last ones are smaller."""
    return [
        Tile(top, left, min(top + down, height), min(left + across, width))
        for top in range(0, height, down)
        for left in range(0, width, across)
    ]


def evenly(height: int, width: int, most: int) -> list[Tile]:
    """The same in as few tiles as sides of at most `most` allow, the largest of them as small as can be.

    They begin at multiples of four, as networks on a grid of their own ask; so does `most`.
    """
    fewest = (-(-length // -(-length // most)) for length in (height, width))
    down, across = (-(-side // ALIGNMENT) * ALIGNMENT for side in fewest)
    return split(height, width, down, across)


def coding_tiles(height: int, width: int) -> list[Tile]:
    """The tiles by which symbols are ordered: part of the file format."""
    return split(height, width, CODING_SIDE, CODING_SIDE)


def sample_tiles(whole: Tile) -> list[Tile]:
    """The tiles of a map from which its picture's filter is fitted: all of them, or of a large map some."""
    side = SAMPLE_SIDE
    apart, across = -(-whole.area // SAMPLED_AREA), -(-whole.shape[1] // side)
    while math.gcd(apart, across) > 1:  # else always in the same columns
        apart += 1
    return split(*whole.shape, side, side)[::apart]


@dataclass(frozen=True)
class TransformHalos:
    """How far the transforms of a model look, in hyper-latents."""

    analysis: int
    hyper_analysis: int
    synthesis: int


@dataclass(frozen=True)
class PriorHalos:
    """How far a model's prior looks, in hyper-latents."""

    synthesis: int
    context: int


@dataclass(frozen=True)
class TransformTiling:
    """The tiles in which transforms work on a map; a single one needs no halo."""

    whole: Tile
    tiles: tuple[Tile, ...]
    halos: TransformHalos


@dataclass(frozen=True)
class PriorTiling:
    """The tiles in which a map is walked."""

    whole: Tile
    tiles: tuple[Tile, ...]
    halos: PriorHalos


@dataclass(frozen=True)
class Tiling:
    """How a picture of height x width pixels is worked on; `prior` is None where it is walked as a whole."""

    height: int
    width: int
    transforms: TransformTiling
    prior: PriorTiling | None

    @property
    def whole(self) -> Tile:
        """The map of hyper-latents."""
        return self.transforms.whole
