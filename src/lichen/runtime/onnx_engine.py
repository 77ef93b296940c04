"""The codec's engine: pixels <-> latents <-> payload by exported graphs, without PyTorch; large pictures in tiles."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lichen.errors import BadCheckpoint, BadFile, UsageError
from lichen.options import DEFAULT_EFFORT, Crop, Effort, Tune
from lichen.progress import tell
from lichen.runtime.correction import Corrector, LinearBranch
from lichen.runtime.engine import Engine, Reading, Writing
from lichen.runtime.filter_sums import Sample
from lichen.runtime.graphs import Bundle, Graphs
from lichen.runtime.level import Level
from lichen.runtime.memory import MemoryEstimate
from lichen.runtime.onnx_walk import FileCoder, Walk
from lichen.runtime.post_filter import Filters
from lichen.runtime.tiles import (
    PriorHalos,
    Tile,
    Tiling,
    TransformHalos,
    sample_tiles,
)
from lichen.runtime.weights_file import WeightsFile, read_weights, tune_of

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]


class OnnxEngine(Engine):
    """A weights file and the graphs of its config, ready to code. Raises `BadCheckpoint` for hostile weights.

    Latents are numpy arrays (1, C, h, w) float32. Graphs are loaded when they are first needed.
    """

    def __init__(self, bundle: Bundle, weights: WeightsFile) -> None:
        self._weights, manifest = weights, bundle.manifest
        self._graphs, self._manifest = Graphs(bundle, weights), manifest
        self._rates: dict[str, Any] = weights.config["rates"]
        self._walk = Walk(manifest, weights, self._graphs)
        self._filters = None if manifest["post_filter_side"] is None else Filters(weights, self._graphs)
        self._stride, self._hyper_stride = manifest["stride"], manifest["hyper_stride"]
        self._unit = self._hyper_stride // self._stride
        memory = manifest["memory"]
        self._memory = MemoryEstimate(memory["widest"], memory["latents"], 2 * len(weights.data))

    @staticmethod
    def load(path: Path) -> OnnxEngine | None:
        """The engine of a weights file; None where no graphs of its config are in the box. Raises `BadCheckpoint`."""
        weights = read_weights(path)
        bundle = Bundle.of_config(weights.config_digest)
        return None if bundle is None else OnnxEngine(bundle, weights)

    @property
    def name(self) -> str:
        """The row of the zoo that its weights are of."""
        return self._weights.name

    @property
    def hash(self) -> bytes:
        """What names its weights in files."""
        return self._weights.hash

    @property
    def path(self) -> Path:
        """Its weights file."""
        return self._weights.path

    @property
    def tune(self) -> Tune:
        """What its weights are trained for."""
        return tune_of(self._weights.config)

    @property
    def refines(self) -> bool:
        """A search needs gradients."""
        return False

    @property
    def levels(self) -> int:
        """How many rates are trained."""
        return int(self._rates.get("count", 1))

    @property
    def trellis(self) -> bool:
        """What has graphs can be trellis-coded: its latents are about a mean, under a scale."""
        return True

    @property
    def effort(self) -> Effort:
        """What has graphs is one of our own models."""
        return DEFAULT_EFFORT

    @property
    def channel_groups(self) -> int:
        """How many streams the latents come in."""
        return 1

    def memory_bytes(self, height: int, width: int, refined: bool = False) -> int:
        """About how much memory the whole process needs for a picture of this many pixels."""
        tiling = self.tiling(height, width)
        return self._memory.bytes(height * width, tiling.transformed_pixels, tiling.walked_pixels)

    def tiling(self, height: int, width: int) -> Tiling:
        """How a picture of this many pixels is worked on."""
        halos, side = self._manifest["halos"], self._memory.transform_side(self._hyper_stride)
        transforms = TransformHalos(halos["analysis"], halos["hyper_analysis"], halos["synthesis"])
        prior = PriorHalos(halos["prior_synthesis"], halos["prior_context"])
        return Tiling.of((height, width), self._hyper_stride, side, transforms, prior=prior)

    def latents(self, pixels: Bytes, quality_index: int, refine_steps: int = 0) -> tuple[Floats, Floats]:
        """(H, W, 3) uint8 -> y (1, M, h, w) and z (1, Z, h', w'). A search raises `UsageError`."""
        if refine_steps:
            raise UsageError("a search for better latents needs gradients: the lab's engine does it")
        tiling, rate_level = self.tiling(*pixels.shape[:2]).transforms, self._rate_level(quality_index)
        whole, halos, unit = tiling.whole, tiling.halos, self._unit
        y = np.empty((1, self._manifest["latents"], *(side * unit for side in whole.shape)), np.float32)
        for number, tile in enumerate(tiling.tiles):
            tell("analysis", number, len(tiling.tiles))
            outer = tile.grown(halos.analysis, whole)
            (part,) = self._graphs.run("analysis", x=self._cut(pixels, outer), rate_level=rate_level)
            tile.of(y, unit)[:] = tile.seen_from(outer).of(part, unit)
        z = np.empty((1, self._manifest["hyper_latents"], *whole.shape), np.float32)
        for tile in tiling.tiles:
            outer = tile.grown(halos.hyper_analysis, whole)
            near = np.ascontiguousarray(outer.of(y, unit))
            (part,) = self._graphs.run("hyper_analysis", y=near, rate_level=rate_level)
            tile.of(z, 1)[:] = tile.seen_from(outer).of(part, 1)
        return y, z

    def write_filtered(
        self, y: Floats, z: Floats, quality_index: int, how: Writing
    ) -> tuple[tuple[bytes, ...], Floats, NDArray[np.float64] | None]:
        """Payloads, y_hat and the post-filter's coefficients; None where none is asked for, or none pays."""
        coder, coefficients, pixels = FileCoder(), None, how.pixels
        tiling = self.tiling(*(side * self._hyper_stride for side in z.shape[2:])).prior
        place, correct = Level(quality_index).rate_level, self._corrector(how, quality_index)
        y_hat = self._walk.run(coder, place, tiling, y=y, z=z, trellis_coded=how.trellis, correct=correct)
        psnr = self.tune is Tune.PSNR
        if how.filtered and pixels is not None and self._filters is not None and self._filters.learned and psnr:
            last, size = [] if correct is None else correct.samples, math.prod(pixels.shape[:2])
            samples = last or self.samples(y_hat, pixels, quality_index)
            coefficients = self._filters.write(
                coder, samples, quality_index, tiling.whole.area, pixels=size, lam=self._lam(quality_index)
            )
        return coder.finish(), y_hat, coefficients

    def read_filtered(
        self, payloads: Sequence[bytes], quality_index: int, height: int, width: int, *, how: Reading
    ) -> tuple[Floats, NDArray[np.float64] | None]:
        """Payloads -> y_hat (1, M, h, w), and the post-filter's coefficients (K,) or None (`Engine.read_filtered`)."""
        if how.first is not None and how.first.count is not None:
            raise UsageError(f"the latents of {self.name} do not come in channel groups: decode it whole")
        if len(payloads) != 1:
            raise BadFile("the file has other channel groups than its model: it is damaged; get it anew")
        if how.filtered and self._filters is None:
            raise BadFile("the file states a filter and its model has none: it is damaged; get it anew")
        tiling, coder = self.tiling(height, width).prior, FileCoder(payloads[0])
        y_hat = self._walk.run(
            coder, Level(quality_index).rate_level, tiling, y=None, z=None, trellis_coded=how.trellis
        )
        if not how.filtered or self._filters is None:
            return y_hat, None
        return y_hat, self._filters.read(coder, quality_index, tiling.whole.area)

    def pixels(
        self,
        y_hat: Floats,
        quality_index: int,
        height: int,
        width: int,
        crop: Crop | None = None,
        coefficients: NDArray[np.float64] | None = None,
    ) -> Bytes:
        """y_hat -> (H, W, 3) uint8; with `crop` (x, y, width, height) only those, by what they need."""
        x, y, across, down = crop or (0, 0, width, height)
        out = np.empty((down, across, 3), np.uint8)
        parts = self.tiling(height, width).placed((x, y, across, down))
        for number, part in enumerate(parts):
            tell("synthesis", number, len(parts))
            x_hat = self._synthesised(part.outer.of(y_hat, self._unit), quality_index, coefficients)
            out[part.place] = _to_bytes(x_hat[0, :, *part.inner])
        return out

    def thumbnail(self, y_hat: Floats, quality_index: int, height: int, width: int) -> Bytes:
        """Raises `UsageError`: models with graphs make no thumbnails."""
        raise UsageError(f"these weights of {self.name} make no thumbnails; train the part (recipes/)")

    def samples(self, y_hat: Floats, pixels: Bytes, quality_index: int) -> list[Sample]:
        """What y_hat decodes to (3, H, W) beside the original (3, h, w), by which a filter is chosen: tiles of them.

        They have no halo: where they meet, pixels differ a little from those of the whole.
        """
        tiling, found = self.tiling(*pixels.shape[:2]), []
        for tile in sample_tiles(tiling.whole):
            x_hat = self._synthesised(tile.of(y_hat, self._unit), quality_index, None)[0]
            height, width = tiling.seen(tile)
            found.append((x_hat, self._cut(pixels, tile)[0, :, :height, :width]))
        return found

    def _synthesised(self, y_hat: Floats, quality_index: int, coefficients: NDArray[np.float64] | None) -> Floats:
        """y_hat (1, M, h, w) -> x_hat (1, 3, H, W), filtered where there are coefficients."""
        x_hat: Floats
        near = np.ascontiguousarray(y_hat)
        (x_hat,) = self._graphs.run("synthesis", y_hat=near, rate_level=self._rate_level(quality_index))
        if coefficients is None or self._filters is None:
            return x_hat
        return self._filters.apply(x_hat, coefficients)

    def _corrector(self, how: Writing, quality_index: int) -> Corrector | None:
        """What corrects a walk; None where that is not asked for, or the weights are not made for it."""
        names, pixels = ("synthesis.linear.weight", "gains.backward_log.table"), how.pixels
        apt = self.tune is Tune.PSNR and all(name in self._manifest["tensors"] for name in names)
        if not how.corrected_every or pixels is None or not apt:
            return None
        weight, log_gain = (self._weights.floats(name) for name in names)
        return Corrector(
            branch=LinearBranch(weight.reshape(len(weight), -1), log_gain),
            tiling=self.tiling(*pixels.shape[:2]),
            unit=self._unit,
            rate_level=Level(quality_index).rate_level,
            lam=self._lam(quality_index),
            every=how.corrected_every,
            synthesise=lambda y_hat: self._synthesised(y_hat, quality_index, None),
            original=functools.partial(self._cut, pixels),
        )

    def _cut(self, pixels: Bytes, tile: Tile) -> Floats:
        """The pixels (1, 3, H, W) in [0, 1] under a tile, the picture's edge repeated beyond it."""
        stride = self._hyper_stride
        cut = pixels[tile.top * stride : tile.bottom * stride, tile.left * stride : tile.right * stride]
        more = [side * stride - length for side, length in zip(tile.shape, cut.shape[:2], strict=True)]
        if any(more):
            cut = np.pad(cut, ((0, more[0]), (0, more[1]), (0, 0)), mode="edge")
        return np.ascontiguousarray(cut.transpose(2, 0, 1)[None]).astype(np.float32) / np.float32(255)

    def _rate_level(self, quality_index: int) -> NDArray[np.float64]:
        return np.array([Level(quality_index).rate_level], np.float64)

    def _lam(self, quality_index: int) -> float:
        """lambda of 255^2 MSE at a quality level."""
        try:
            low, high = float(self._rates["low"]), float(self._rates["high"])
        except (KeyError, TypeError, ValueError) as error:
            raise BadCheckpoint(f"{self.path}: its rates are none; train or download it anew") from error
        return float(low * (high / low) ** (Level(quality_index).rate_level / max(self.levels - 1, 1)))


def _to_bytes(x: Floats) -> Bytes:
    """(3, H, W) float -> (H, W, 3) uint8, clamped and rounded."""
    scaled = np.clip(x, 0, 1) * np.float32(255)
    pixels: Bytes = np.rint(scaled, out=scaled).astype(np.uint8).transpose(1, 2, 0)
    return pixels
