"""Large pictures in tiles: rectangles of the map of hyper-latents, and how far each network sees beyond one.

Everything is counted in hyper-latents (64 x 64 pixels, 4 x 4 latents), the coarsest map of a model. The
tiles follow from the picture's size alone, never from memory, so that a picture has one result.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, TypeVar

from lichen.options import Crop

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
        return Tile(self.top - halo, self.left - halo, self.bottom + halo, self.right + halo).within(whole)

    def within(self, other: Tile) -> Tile:
        """The part of it that lies in another."""
        return Tile(
            max(self.top, other.top),
            max(self.left, other.left),
            min(self.bottom, other.bottom),
            min(self.right, other.right),
        )

    def seen_from(self, outer: Tile) -> Tile:
        """This tile in the coordinates of a larger one."""
        return Tile(self.top - outer.top, self.left - outer.left, self.bottom - outer.top, self.right - outer.left)


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
    """The tiles in which transforms work on a map. What looks at the whole map has a halo as large."""

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
class Placed:
    """A tile with its halo, rows and columns of the pixels that it decodes to, and where in the output these go."""

    outer: Tile
    inner: tuple[slice, slice]
    place: tuple[slice, slice]


@dataclass(frozen=True)
class Tiling:
    """How a picture of height x width pixels is worked on, `stride` pixels to a hyper-latent."""

    height: int
    width: int
    stride: int
    transforms: TransformTiling
    prior: PriorTiling

    @staticmethod
    def of(
        size: tuple[int, int], stride: int, side: int, transforms: TransformHalos | None, prior: PriorHalos | None
    ) -> Tiling:
        """The tiling of a picture of size (height, width), with tiles of transforms of at most `side` hyper-latents.

        A network without halos, as it looks at the whole map, works on the whole.
        """
        whole = Tile(0, 0, *(-(-length // stride) for length in size))
        tiles, coded = tuple(evenly(*whole.shape, side)), tuple(coding_tiles(*whole.shape))
        if transforms is None:
            everywhere = max(whole.shape)
            tiles, transforms = (whole,), TransformHalos(everywhere, everywhere, everywhere)
        if prior is None or len(coded) == 1:
            coded, prior = (whole,), PriorHalos(0, 0)
        return Tiling(*size, stride, TransformTiling(whole, tiles, transforms), PriorTiling(whole, coded, prior))

    @property
    def whole(self) -> Tile:
        """The map of hyper-latents."""
        return self.transforms.whole

    @property
    def transformed_pixels(self) -> int:
        """How many pixels are in the largest tile of the transforms with its halo."""
        halo = max(self.transforms.halos.analysis, self.transforms.halos.synthesis)
        return max(tile.grown(halo, self.whole).area for tile in self.transforms.tiles) * self.stride**2

    @property
    def walked_pixels(self) -> int:
        """How many pixels are in the largest tile of the walk."""
        return self.prior.tiles[0].area * self.stride**2

    def placed(self, crop: Crop) -> list[Placed]:
        """What of the tiles the pixels of a crop (x, y, width, height) need, in order: no more, but for the halo."""
        x, y, across, down = crop
        found, stride = [], self.stride
        for tile in self.transforms.tiles:
            top, left = max(tile.top * stride, y), max(tile.left * stride, x)
            bottom = min(tile.bottom * stride, y + down)
            right = min(tile.right * stride, x + across)
            if top < bottom and left < right:
                needed = _around(Tile(top, left, bottom, right), stride).within(tile)
                outer, rows, columns = (
                    needed.grown(self.transforms.halos.synthesis, self.whole),
                    slice(top, bottom),
                    slice(left, right),
                )
                inner = _from(outer.top * stride, rows), _from(outer.left * stride, columns)
                found.append(Placed(outer, inner, (_from(y, rows), _from(x, columns))))
        return found

    def seen(self, tile: Tile) -> tuple[int, int]:
        """Height and width in pixels of the part of the picture that is in a tile."""
        height, width = min(tile.bottom * self.stride, self.height), min(tile.right * self.stride, self.width)
        return height - tile.top * self.stride, width - tile.left * self.stride


def _around(pixels: Tile, stride: int) -> Tile:
    """The hyper-latents that these pixels lie in, `stride` pixels to one, from and to multiples of `ALIGNMENT`."""
    unit = stride * ALIGNMENT
    first, last = (pixels.top // unit, pixels.left // unit), (-(-pixels.bottom // unit), -(-pixels.right // unit))
    return Tile(*(ALIGNMENT * at for at in (*first, *last)))


def _from(origin: int, part: slice) -> slice:
    return slice(part.start - origin, part.stop - origin)
