"""The PyTorch engine: any model of the lab at work on pixels, latents and payloads, large pictures in tiles."""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lichen.errors import BadFile, DeviceError, UsageError
from lichen.lab.engine.activations import estimate_memory
from lichen.lab.engine.correction import Corrections, corrections
from lichen.lab.engine.defaults import own_defaults
from lichen.lab.engine.halos import prior_halos, transform_halos
from lichen.lab.engine.precision import coding_precision
from lichen.lab.engine.refinement import HALO, refine
from lichen.lab.engine.tiled_walk import empty_map, walk_tiles
from lichen.lab.models.checkpoint import Checkpoint, load_checkpoint
from lichen.lab.models.config import Distortion
from lichen.lab.post_filter.choice import Sample, choose
from lichen.lab.prior.context import ParallelModel
from lichen.lab.prior.file_coder import FileReader, FileWriter
from lichen.lab.prior.prior import Prior
from lichen.lab.prior.walk import Coder, Correction
from lichen.lab.tensors import extend_to, to_float, to_uint8
from lichen.options import DEFAULT_EFFORT, Crop, Effort, Tune
from lichen.progress import tell
from lichen.runtime.allocator import keep_freed_memory
from lichen.runtime.engine import Engine, Reading, Writing
from lichen.runtime.level import Level
from lichen.runtime.memory import MemoryEstimate
from lichen.runtime.threads import alone_after_forks, apply_to_torch
from lichen.runtime.tiles import (
    PriorHalos,
    Tile,
    Tiling,
    TransformHalos,
    sample_tiles,
    split,
)


@dataclass(frozen=True)
class TorchEngine(Engine):
    """A model ready to code: its weights on a device, and its prior in fixed point on the CPU."""

    checkpoint: Checkpoint
    prior: Prior
    device: torch.device

    @staticmethod
    @own_defaults()
    @torch.inference_mode(False)  # refinement asks for gradients, wherever the engine was loaded
    def load(path: Path, device: torch.device) -> TorchEngine:
        """The engine of a weights file on a device. Raises `UnknownWeights`, `BadCheckpoint`."""
        keep_freed_memory()
        apply_to_torch()
        alone_after_forks()
        checkpoint = load_checkpoint(path)
        checkpoint.model.to(device)
        engine = TorchEngine(checkpoint, checkpoint.model.fixed_point_prior(), device)
        engine._memory  # noqa: B018 - measured while no other thread uses the model
        return engine

    @property
    def name(self) -> str:
        """The row of the zoo that its weights are of."""
        return self.checkpoint.name

    @property
    def hash(self) -> bytes:
        """What names its weights in files."""
        return self.checkpoint.hash

    @property
    def path(self) -> Path:
        """Its weights file."""
        return self.checkpoint.path

    @property
    def tune(self) -> Tune:
        """What its weights are trained for."""
        mse = self.checkpoint.config.rates.distortion is Distortion.MSE
        return Tune.PSNR if mse else Tune.MS_SSIM

    @property
    def refines(self) -> bool:
        """Whether it can search for better latents."""
        return True

    @property
    def levels(self) -> int:
        """How many rates its model was trained for."""
        return self.checkpoint.config.rates.count

    @functools.cached_property
    def trellis(self) -> bool:
        """Whether its latents can be trellis-coded: they are about a mean, under a scale, in one stream."""
        context = self.prior.context
        return isinstance(context, ParallelModel) and not context.family.mean_in_cdf and self.channel_groups == 1

    @property
    def effort(self) -> Effort:
        """Our own models are those that skip latents; the papers' are rounded, as they are published."""
        ours = self.trellis and self.prior.context.family.skip >= 0
        return DEFAULT_EFFORT if ours else Effort.ROUNDED

    @functools.cached_property
    @own_defaults()
    def channel_groups(self) -> int:
        """How many streams the latents come in, one after the other."""
        steps = self.prior.context.schedule.steps(2, 2, torch.device("cpu"))
        return 1 + max(step.group for step in steps)

    @functools.cached_property
    @own_defaults()
    def _transform_halos(self) -> TransformHalos | None:
        return transform_halos(self.checkpoint.model)

    @functools.cached_property
    @own_defaults()
    def _prior_halos(self) -> PriorHalos | None:
        return prior_halos(self.checkpoint.model)

    @functools.cached_property
    @own_defaults()
    def _memory(self) -> MemoryEstimate:
        return estimate_memory(self.checkpoint.model)

    def memory_bytes(self, height: int, width: int, refined: bool = False) -> int:
        """About how much memory the whole process needs for a picture of this many pixels, refined or not."""
        tiling, area = self.tiling(height, width), self.checkpoint.model.hyper_stride**2
        search = max(part.grown(HALO, tiling.whole).area for part in self._refined_parts(tiling.whole)) * area
        return self._memory.bytes(
            height * width, tiling.transformed_pixels, tiling.walked_pixels, search if refined else 0
        )

    def _refined_parts(self, whole: Tile) -> list[Tile]:
        side = self._memory.refinement_side(self.checkpoint.model.hyper_stride)
        return split(*whole.shape, side, side)

    def tiling(self, height: int, width: int) -> Tiling:
        """How a picture of this many pixels is worked on."""
        stride = self.checkpoint.model.hyper_stride
        side = self._memory.transform_side(stride)
        return Tiling.of((height, width), stride, side, self._transform_halos, prior=self._prior_halos)

    @own_defaults()
    @torch.inference_mode()
    def latents(self, pixels: NDArray[np.uint8], quality_index: int, refine_steps: int = 0) -> tuple[Tensor, Tensor]:
        """(H, W, 3) uint8 -> y (1, M, h, w) and z (1, Z, h', w'), float32 on the CPU.

        With `refine_steps` y is bettered in so many steps (`lichen.lab.engine.refinement`).
        """
        y = self._analysed(pixels, quality_index)
        if refine_steps:
            y = self._refined(y, pixels, quality_index, refine_steps)
        return y, self._hyper_analysed(y, quality_index, *pixels.shape[:2])

    def _analysed(self, pixels: NDArray[np.uint8], quality_index: int) -> Tensor:
        model, rate_level = self.checkpoint.model, self._rate_level(quality_index)
        tiling, unit = self.tiling(*pixels.shape[:2]).transforms, model.hyper_stride // model.stride
        y = empty_map(self.prior.context.latents, tiling.whole, unit)
        for number, tile in enumerate(tiling.tiles):
            tell("analysis", number, len(tiling.tiles))
            outer = tile.grown(tiling.halos.analysis, tiling.whole)
            with self._precision():
                part = model.analyse(self._cut(pixels, outer), rate_level)
            tile.of(y, unit).copy_(tile.seen_from(outer).of(part, unit))
        return y

    def _refined(self, y: Tensor, pixels: NDArray[np.uint8], quality_index: int, steps: int) -> Tensor:
        model = self.checkpoint.model
        whole = self.tiling(*pixels.shape[:2]).whole
        parts = self._refined_parts(whole)
        lam = self.checkpoint.config.rates.lam(Level(quality_index).rate_level)
        cut, rate_level = functools.partial(self._cut, pixels), self._rate_level(quality_index)
        return refine(
            model, y, cut, (whole, parts), rate_level=rate_level, lam=lam, steps=steps, precision=self._precision
        )

    def _hyper_analysed(self, y: Tensor, quality_index: int, height: int, width: int) -> Tensor:
        model, rate_level = self.checkpoint.model, self._rate_level(quality_index)
        tiling, unit = self.tiling(height, width).transforms, model.hyper_stride // model.stride
        parts = []
        for tile in tiling.tiles:
            outer = tile.grown(tiling.halos.hyper_analysis, tiling.whole)
            near = outer.of(y, unit).to(self.device, memory_format=torch.channels_last)
            parts.append(tile.seen_from(outer).of(model.hyper_analyse(near, rate_level), 1).cpu())
        z = torch.empty(1, parts[0].shape[1], *tiling.whole.shape)
        for tile, part in zip(tiling.tiles, parts, strict=True):
            tile.of(z, 1).copy_(part)
        return z

    def _cut(self, pixels: NDArray[np.uint8], tile: Tile) -> Tensor:
        """The pixels (1, 3, H, W) in [0, 1] under a tile, the picture's edge repeated beyond it."""
        stride = self.checkpoint.model.hyper_stride
        rows, columns = (
            slice(tile.top * stride, tile.bottom * stride),
            slice(tile.left * stride, tile.right * stride),
        )
        cut = to_float(pixels[rows, columns])
        return extend_to(cut, *(side * stride for side in tile.shape)).to(self.device)

    @own_defaults()
    @torch.inference_mode()
    def samples(self, y_hat: Tensor, pixels: NDArray[np.uint8], quality_index: int) -> list[Sample]:
        """What y_hat decodes to beside the original (H, W, 3), by which a filter is chosen: tiles of them.

        They have no halo: where they meet, pixels differ a little from those of the whole.
        """
        model, stride = self.checkpoint.model, self.checkpoint.model.hyper_stride
        found = []
        tiling = self.tiling(*pixels.shape[:2])
        for tile in sample_tiles(tiling.whole):
            near = tile.of(y_hat, stride // model.stride).float().to(self.device, memory_format=torch.channels_last)
            with self._precision():
                x_hat = model.synthesise(
                    near, self._rate_level(quality_index), *(length * stride for length in tile.shape)
                )
            height, width = tiling.seen(tile)
            found.append((x_hat, self._cut(pixels, tile)[:, :, :height, :width]))
        return found

    @own_defaults()
    @torch.inference_mode()
    def write_filtered(
        self, y: Tensor, z: Tensor, quality_index: int, how: Writing
    ) -> tuple[tuple[bytes, ...], Tensor, Tensor | None]:
        """Payloads, y_hat and the post-filter's coefficients; None where none is asked for, or none pays."""
        writer, pixels = FileWriter(), how.pixels
        correct = self.corrections(how, quality_index)
        y_hat = self._walk(writer, quality_index, z.shape[2:], y=y, z=z, trellis=how.trellis, correct=correct)
        principal, rates, coefficients = self.checkpoint.model.post_filter, self.checkpoint.config.rates, None
        if not how.filtered or pixels is None:
            return writer.finish(), y_hat, None
        if principal is not None and principal.learned and rates.distortion is Distortion.MSE:
            last = [] if correct is None else correct.corrector.samples
            samples = [(torch.from_numpy(a)[None], torch.from_numpy(b)[None]) for a, b in last]
            samples = samples or self.samples(y_hat, pixels, quality_index)
            rate_level, area = Level(quality_index).rate_level, z.shape[2] * z.shape[3]
            numbers = choose(
                principal, samples, rate_level, area, pixels=math.prod(pixels.shape[:2]), lam=rates.lam(rate_level)
            )
            if numbers is not None:
                coefficients = principal.code(writer, rate_level, area, numbers, group=self.channel_groups - 1)
        return writer.finish(), y_hat, coefficients

    @own_defaults()
    @torch.inference_mode()
    def read_filtered(
        self, payloads: Sequence[bytes], quality_index: int, height: int, width: int, *, how: Reading
    ) -> tuple[Tensor, Tensor | None]:
        """Payloads -> y_hat (1, M, h, w), and the post-filter's coefficients (K,) or None (`Engine.read_filtered`)."""
        shape, principal = self.tiling(height, width).whole.shape, self.checkpoint.model.post_filter
        first, groups = how.first, self.channel_groups
        asked = None if first is None else first.count
        if asked is not None and groups == 1:
            raise UsageError(f"the latents of {self.checkpoint.name} do not come in channel groups: decode it whole")
        if asked is not None and asked > groups:
            raise UsageError(f"{self.checkpoint.name} has {groups} channel groups, so 1 ... {groups} can be decoded")
        wanted = groups if first is None else asked or min(len(payloads), groups)
        if len(payloads) < wanted or len(payloads) > groups:
            raise BadFile("the file has other channel groups than its model: it is damaged; get it anew")
        if how.filtered and principal is None:
            raise BadFile("the file states a filter and its model has none: it is damaged; get it anew")
        if how.trellis and not self.trellis:
            raise BadFile("its latents are said to be trellis-coded, its model's are not: it is damaged; get it anew")
        reader = FileReader(payloads[:wanted], first is None or first.fill_mean)
        y_hat = self._walk(reader, quality_index, shape, trellis=how.trellis)
        if principal is None or not how.filtered or wanted < groups:
            return y_hat, None
        return y_hat, principal.code(reader, Level(quality_index).rate_level, math.prod(shape), group=groups - 1)

    def corrections(self, how: Writing, quality_index: int) -> Corrections | None:
        """Those of a walk (`lab.engine.correction`); None where none are asked for, or the model has no such branch."""
        model, rates, pixels = self.checkpoint.model, self.checkpoint.config.rates, how.pixels
        if not how.corrected_every or pixels is None or rates.distortion is not Distortion.MSE:
            return None

        def synthesised(y_hat: Tensor) -> Tensor:
            near = y_hat.to(self.device, memory_format=torch.channels_last)
            size = [side * model.stride for side in y_hat.shape[2:]]
            with self._precision():
                return model.synthesise(near, self._rate_level(quality_index), *size)

        rate_level = Level(quality_index).rate_level
        return corrections(
            model,
            self.tiling(*pixels.shape[:2]),
            rate_level=rate_level,
            lam=rates.lam(rate_level),
            every=how.corrected_every,
            synthesise=synthesised,
            original=functools.partial(self._cut, pixels),
        )

    def _walk(
        self,
        coder: Coder,
        quality_index: int,
        shape: Sequence[int],
        *,
        y: Tensor | None = None,
        z: Tensor | None = None,
        trellis: bool = False,
        correct: Correction | None = None,
    ) -> Tensor:
        rate_level, stride = (
            torch.tensor([Level(quality_index).rate_level], dtype=torch.float64),
            self.checkpoint.model.hyper_stride,
        )
        tiling = self.tiling(shape[0] * stride, shape[1] * stride)
        if len(tiling.prior.tiles) > 1:
            walked = walk_tiles(self.prior, coder, rate_level, tiling.prior, y=y, z=z, trellis=trellis, correct=correct)
            return walked.y_hat
        exact = (None if x is None else x.double() for x in (y, z))
        place = shape[0], shape[1]
        return self.prior.walk(coder, rate_level, place, *exact, trellis=trellis, correct=correct).y_hat

    @own_defaults()
    @torch.inference_mode()
    def pixels(
        self,
        y_hat: Tensor,
        quality_index: int,
        height: int,
        width: int,
        crop: Crop | None = None,
        coefficients: Tensor | None = None,
    ) -> NDArray[np.uint8]:
        """y_hat -> (H, W, 3) uint8; with `crop` (x, y, width, height) only those, by what they need.

        `coefficients` are of the picture's own filter, if it has one.
        """
        model, rate_level = self.checkpoint.model, self._rate_level(quality_index)
        stride, unit = model.hyper_stride, model.hyper_stride // model.stride
        x, y, across, down = crop or (0, 0, width, height)
        out = np.empty((down, across, 3), np.uint8)
        parts = self.tiling(height, width).placed((x, y, across, down))
        for number, part in enumerate(parts):
            tell("synthesis", number, len(parts))
            near = part.outer.of(y_hat, unit).float().to(self.device, memory_format=torch.channels_last)
            with self._precision():
                x_hat = model.synthesise(near, rate_level, *(side * stride for side in part.outer.shape))
                if coefficients is not None and model.post_filter is not None:
                    x_hat = model.post_filter(x_hat, coefficients)
            out[part.place] = to_uint8(x_hat[:, :, *part.inner])
        return out

    @own_defaults()
    @torch.inference_mode()
    def thumbnail(self, y_hat: Tensor, quality_index: int, height: int, width: int) -> NDArray[np.uint8]:
        """y_hat -> a small picture (h, w, 3) uint8. Raises `UsageError` where the model makes none."""
        y_hat = y_hat.float().to(self.device)
        small = self.checkpoint.model.preview(y_hat, self._rate_level(quality_index), height, width)
        if small is None:
            raise UsageError(f"these weights of {self.checkpoint.name} make no thumbnails; train the part (recipes/)")
        return to_uint8(small)

    def _precision(self) -> contextlib.AbstractContextManager[object]:
        return coding_precision(self.device, self.checkpoint.config.transform.tolerant)

    def _rate_level(self, quality_index: int) -> Tensor:
        return torch.tensor([Level(quality_index).rate_level], device=self.device)


def load(path: Path, device: str) -> TorchEngine:
    """The engine of a weights file, on cpu or cuda. Raises `UnknownWeights`, `BadCheckpoint`, `DeviceError`."""
    return TorchEngine.load(path, find_device(device))


def find_device(name: str) -> torch.device:
    """cpu or cuda. Raises `DeviceError` when it is not there, `UsageError` for another name."""
    if name == "cuda" and not torch.cuda.is_available():
        raise DeviceError("there is no CUDA device; set `device` to cpu")
    if name not in {"cpu", "cuda"}:
        raise UsageError(f"`device` must be cpu or cuda, not {name!r}")
    return torch.device(name)
