"""Memory: how much a picture needs, and errors of ours when there is less."""

from __future__ import annotations

import contextlib
import math
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lichen.errors import OutOfMemory
from lichen.runtime.tiles import TRANSFORM_SIDE

_ONNX_BYTES, _TORCH_BYTES = 100_000_000, 290_000_000  # of the program: Python, and what runs models
_COPIES = 4  # of the weights: as read, as floats, in fixed point, and what was freed between
_MAPS = 5  # of the largest size that a transform holds at once, or leaves in pieces too small for the next
_TILE_BYTES = 1_000_000_000  # of a transform's maps in one tile, without its halo
_SIDE_MIN = 16
_REFINED_MIN = 4
_MAPS_KEPT = 5  # how much smaller the sides of tiles are when every map is kept
_TORCH_ERROR, _TORCH_MESSAGE = "OutOfMemoryError", "allocate memory"  # of a graphics card, of the machine
_CONTAINER_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


@dataclass(frozen=True)
class MemoryEstimate:
    """What a built model needs of memory.

    `widest` and `latents` are numbers for each pixel: of the largest map in the transforms, and of y; `weights_bytes`
    is the size of its weights. An estimate above what was measured (docs/decisions/0011-allocator-and-convolutions.md),
    and no promise. Freed memory is kept, so phases add up.
    """

    widest: float
    latents: float
    weights_bytes: int

    def bytes(self, pixels: int, transformed: int, walked: int, refined: int = 0) -> int:
        """For a picture of which so many pixels are transformed, walked and refined at once."""
        held = 3 + 8 + 4 * 4 * self.latents + 3 * self.latents  # pixels, copies; y, corrected, y_hat; features
        maps, walk = _MAPS * 4 * self.widest, 8 * 10 * self.latents  # maps that pass, for each pixel worked on
        passing = max(maps * transformed + walk * walked, _MAPS_KEPT**2 * maps * refined)
        return round(program_bytes() + _COPIES * self.weights_bytes + held * pixels + passing)

    def transform_side(self, stride: int) -> int:
        """The side of the transforms' tiles, in hyper-latents: smaller for wide models, whatever the machine."""
        fitting = math.isqrt(int(_TILE_BYTES / (3 * 4 * self.widest * stride**2))) // 4 * 4
        return max(_SIDE_MIN, min(fitting, TRANSFORM_SIDE))

    def refinement_side(self, stride: int) -> int:
        """The side of the tiles in which latents are refined, which keep all maps for the gradient."""
        return max(_REFINED_MIN, self.transform_side(stride) // _MAPS_KEPT)


def program_bytes() -> int:
    """What the process takes before it works on a picture: more with PyTorch loaded, by whatever."""
    return _TORCH_BYTES if "torch" in sys.modules else _ONNX_BYTES


def machine_bytes() -> int | None:
    """The memory of this machine, or what its container may have of it; None where the system does not say."""
    try:
        found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    except (AttributeError, ValueError, OSError):  # Windows has none of it
        return None
    for limit in _CONTAINER_LIMITS:
        with contextlib.suppress(OSError, ValueError):  # absent, or "max"
            found.append(int(Path(limit).read_text()))
    return min(found)


@contextlib.contextmanager
def typed_memory_errors() -> Iterator[None]:
    """An allocation that fails, in Python or in PyTorch, becomes `OutOfMemory`."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        ours = isinstance(error, MemoryError) or type(error).__name__ == _TORCH_ERROR or _TORCH_MESSAGE in str(error)
        if not ours:
            raise
        raise OutOfMemory("the machine has too little memory for this picture; free some, or split it") from error
