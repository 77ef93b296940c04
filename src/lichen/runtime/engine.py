"""What the codec asks of an engine: pixels <-> latents <-> payloads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lichen.options import Crop, Effort, FirstGroups, Tune


@dataclass(frozen=True, kw_only=True)
class Writing:
    """How latents become payloads: rounded and nothing else, unless it is said.

    With `trellis` y is trellis-coded. `pixels` (H, W, 3) are the original: by them latents are corrected before every
    `corrected_every`-th coding step (`runtime.correction`; 0: never), and with `filtered` an adaptive post-filter is
    stated where one pays.
    """

    trellis: bool = False
    pixels: NDArray[np.uint8] | None = None
    corrected_every: int = 0
    filtered: bool = False


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What of payloads is read, and what their file says of them.

    `first`: the first channel groups only. `trellis`: y is trellis-coded; `filtered`: the payload states the
    coefficients of an adaptive post-filter.
    """

    first: FirstGroups | None = None
    trellis: bool = False
    filtered: bool = False


Latents = Any  # maps (1, C, h, w) float32 as the engine keeps them: numpy arrays, or tensors


class Engine(Protocol):
    """A model ready to code. Every engine gives the same latents and, from the same y and z, the same bytes."""

    @property
    def name(self) -> str:
        """The row of the zoo that its weights are of."""
        ...

    @property
    def hash(self) -> bytes:
        """What names its weights in files."""
        ...

    @property
    def path(self) -> Path:
        """Its weights file."""
        ...

    @property
    def tune(self) -> Tune:
        """What its weights are trained for."""
        ...

    @property
    def refines(self) -> bool:
        """Whether it can search for better latents."""
        ...

    @property
    def levels(self) -> int:
        """How many rates are trained."""
        ...

    @property
    def channel_groups(self) -> int:
        """How many streams the latents come in, one after the other."""
        ...

    def memory_bytes(self, height: int, width: int, refined: bool = False) -> int:
        """About how much memory the whole process needs for a picture of this many pixels, refined or not."""
        ...

    def latents(self, pixels: NDArray[np.uint8], quality_index: int, refine_steps: int = 0) -> tuple[Latents, Latents]:
        """(H, W, 3) uint8 -> y (1, M, h, w) and z (1, Z, h', w')."""
        ...

    @property
    def trellis(self) -> bool:
        """Whether its latents can be trellis-coded."""
        ...

    @property
    def effort(self) -> Effort:
        """What files are encoded with unless another effort is asked for."""
        ...

    def write_filtered(
        self, y: Latents, z: Latents, quality_index: int, how: Writing
    ) -> tuple[tuple[bytes, ...], Latents, Any]:
        """Payloads, y_hat, and the coefficients (K,) of an adaptive post-filter, None where none is stated."""
        ...

    def write(
        self, y: Latents, z: Latents, quality_index: int, *, trellis: bool = False
    ) -> tuple[tuple[bytes, ...], Latents]:
        """y (1, M, h, w) and z (1, Z, h', w') -> payloads, one for each channel group, and y_hat (1, M, h, w).

        The same y and z give the same bytes anywhere.
        """
        return self.write_filtered(y, z, quality_index, Writing(trellis=trellis))[:2]

    def read(
        self, payloads: Sequence[bytes], quality_index: int, height: int, width: int, *, trellis: bool = False
    ) -> Latents:
        """Payloads -> y_hat (1, M, h, w), the same on every machine.

        Raises `BadFile` where there are not as many as the model has.
        """
        return self.read_filtered(payloads, quality_index, height, width, how=Reading(trellis=trellis))[0]

    def read_filtered(
        self, payloads: Sequence[bytes], quality_index: int, height: int, width: int, *, how: Reading
    ) -> tuple[Latents, Any]:
        """y_hat (1, M, h, w), and the post-filter's coefficients (K,) or None, also where channel groups are left out.

        Raises `UsageError` where there are no such groups, `BadFile` where the payloads cannot be of the model.
        """
        ...

    def pixels(
        self,
        y_hat: Latents,
        quality_index: int,
        height: int,
        width: int,
        crop: Crop | None = None,
        coefficients: Any = None,
    ) -> NDArray[np.uint8]:
        """y_hat -> (H, W, 3) uint8, or those of a crop (x, y, width, height)."""
        ...

    def thumbnail(self, y_hat: Latents, quality_index: int, height: int, width: int) -> NDArray[np.uint8]:
        """y_hat -> a small picture (h, w, 3) uint8. Raises `UsageError` where the model makes none."""
        ...
