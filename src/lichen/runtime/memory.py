"""Memory: how much a picture needs, and errors of ours when there is less."""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lichen.errors import OutOfMemory
from lichen.runtime.tiles import TRANSFORM_SIDE

PROGRAM_BYTES = 290_000_000  # Python and PyTorch
_COPIES = 4  # of the weights: as read, as floats, in fixed point, and what was freed between
_MAPS = 5  # of the largest size that a transform holds at once, or leaves in pieces too small for the next
_TILE_BYTES = 1_000_000_000  # of a transform's maps in one tile, without its halo
_SIDE_MIN = 16
_REFINED_MIN = 4
_MAPS_KEPT = 5  # how much smaller the sides of tiles are when every map is kept
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # parameters of mallopt(3)
_KEPT_BYTES = (2**27, 2**25)  # larger pieces go back to the system when freed; the first that glibc agrees to
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
        held = 3 + 8 + 2 * 4 * self.latents + 2 * self.latents  # pixels, Pillow's copy and the file, y, y_hat, features
        maps, walk = _MAPS * 4 * self.widest, 8 * 10 * self.latents  # maps that pass, for each pixel worked on
        passing = max(maps * transformed + walk * walked, _MAPS_KEPT**2 * maps * refined)
        return round(PROGRAM_BYTES + _COPIES * self.weights_bytes + held * pixels + passing)

    def transform_side(self, stride: int) -> int:
        """The side of the transforms' tiles, in hyper-latents: smaller for wide models, whatever the machine."""
        fitting = math.isqrt(int(_TILE_BYTES / (3 * 4 * self.widest * stride**2))) // 4 * 4
        return max(_SIDE_MIN, min(fitting, TRANSFORM_SIDE))

    def refinement_side(self, stride: int) -> int:
        """The side of the tiles in which latents are refined, which keep all maps for the gradient."""
        return max(_REFINED_MIN, self.transform_side(stride) // _MAPS_KEPT)


def keep_freed_memory() -> None:
    """Let glibc's allocator keep freed memory for this process's next use of it, where there is glibc.

    Each map of a wide transform otherwise comes fresh from the system and is zeroed page by page, which costs it a
    quarter of its time, and a training step a fifth (docs/decisions/0011). What is freed counts to
    the process until it ends. All threads share one arena: others give large pieces back whatever is asked.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is None:
        return
    for kept in _KEPT_BYTES:
        if mallopt(_M_MMAP_THRESHOLD, kept):  # else too much for an old glibc; asking for more would unset its own
            mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
            mallopt(_M_ARENA_MAX, 1)
            return


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


class MemoryBudget:
    """Memory that pictures share which are worked on at once: each waits until it fits, or until it is alone.

    `size_bytes` is that of the whole process. Whoever waits is the next: a large picture is not passed by for ever.
    """

    def __init__(self, size_bytes: int) -> None:
        self.size_bytes = max(size_bytes - PROGRAM_BYTES, 0)
        self._taken, self._pictures = 0, 0
        self._door, self._freed = threading.Lock(), threading.Condition()

    @staticmethod
    def of(max_memory_bytes: int | None) -> MemoryBudget:
        """All that is allowed, or half of what there is; none where nothing is known."""
        return MemoryBudget((machine_bytes() or 0) // 2 if max_memory_bytes is None else max_memory_bytes)

    @contextlib.contextmanager
    def reserve(self, need_bytes: int) -> Iterator[None]:
        """Hold so much of it, which does not count the program."""
        with self._door, self._freed:
            self._freed.wait_for(lambda: not self._pictures or self._taken + need_bytes <= self.size_bytes)
            self._taken, self._pictures = self._taken + need_bytes, self._pictures + 1
        try:
            yield
        finally:
            with self._freed:
                self._taken, self._pictures = self._taken - need_bytes, self._pictures - 1
                self._freed.notify_all()


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
