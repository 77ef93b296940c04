"""THE MAP: a picture becomes a `.lic` file and comes back. Read `_encode` and `_decode` first.

    pixels -> analysis -> y -> hyper analysis -> z -> prior.walk(Writer) -> payload -> container
    container -> payload -> prior.walk(Reader) -> y_hat -> synthesis -> the picture's filter -> pixels

The two walks are one function on the prior's fixed-point twin, so both sides compute the same.
"""

from __future__ import annotations

import functools
import math
import sys
import threading
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from lichen.bitstream.container import Container, Kind, read_arrived, read_container, write_container
from lichen.bitstream.fields import FILTERED, GREY, Header
from lichen.errors import BadFile, BadPicture, OutOfMemory, PictureNotice, UnsupportedFile, UsageError
from lichen.image.picture import MAX_PIXELS, Picture, check_size, from_array, from_pil, from_tensor, grey_of, to_pil
from lichen.image.sections import pack_extras, unpack_extras
from lichen.lab.engine.engine import Crop, Engine, FirstGroups, find_device
from lichen.lab.models.checkpoint import Checkpoint, find_by_hash, find_tuned
from lichen.lab.models.config import LEVEL_STEPS, Distortion
from lichen.lab.models.zoo import ZOO, name_of, row
from lichen.metrics import psnr_db
from lichen.options import Tune
from lichen.runtime.memory import typed_memory_errors


@dataclass(frozen=True)
class Effort:
    """What encoding does beyond the walk: steps of search for better latents, and a filter of the picture's own."""

    refine_steps: int = 0
    filtered: bool = True

    @property
    def plain(self) -> Effort:
        """Without the search."""
        return replace(self, refine_steps=0)


AnyPicture = Picture | Image.Image | NDArray[Any] | Tensor


class Codec:
    """Encodes and decodes pictures. Loads weights once, is safe to use from several threads, can be sent to processes.

    `model` names the row to encode with, and `tune` which of its weights; `weights` is a weights file, or a folder
    with that row's (without them it decodes only); files name their own weights by hash, which are found there, in
    $LICHEN_WEIGHTS or in the package.
    `device` runs the transforms. Pictures beyond `max_pixels`, or estimated to need more memory than
    `max_memory_bytes` for the whole process, are refused. Raises `UnknownWeights`, `DeviceError`.
    """

    def __init__(
        self,
        model: str = "lichen",
        weights: Path | str | None = None,
        device: str = "cpu",
        max_pixels: int = MAX_PIXELS,
        max_memory_bytes: int | None = None,
        tune: Tune = Tune.PSNR,
    ) -> None:
        self._extra = Path(weights) if weights is not None else None
        self._device = find_device(device)
        self._max_pixels, self._max_memory_bytes = max_pixels, max_memory_bytes
        self._lock = threading.Lock()
        self._engines: dict[bytes, Engine] = {}
        if self._extra is None or not self._extra.is_file():
            row(model)
        if not isinstance(tune, Tune):
            raise UsageError(f"tune must be one of {', '.join(map(str, Tune))} (lichen.Tune), not {tune!r}")
        self._wanted = model, tune
        if self._extra is None or not self._extra.is_dir():  # a folder may be for decoding only
            self.engine  # noqa: B018

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy, here or in another process, loads its weights itself."""
        (model, tune), device = self._wanted, str(self._device)
        return type(self), (model, self._extra, device, self._max_pixels, self._max_memory_bytes, tune)

    @functools.cached_property
    def engine(self) -> Engine:
        """What it encodes with."""
        return self._remember(Engine.load(find_tuned(*self._wanted, self._extra), self._device))

    @property
    def checkpoint(self) -> Checkpoint:
        """The weights that this codec encodes with."""
        return self.engine.checkpoint

    @torch.inference_mode()
    def encode(
        self,
        picture: AnyPicture,
        quality: float = 50,
        *,
        target_size_bytes: int | None = None,
        target_bpp: float | None = None,
        target_psnr_db: float | None = None,
        refine_steps: int = 0,
        filtered: bool = True,
    ) -> bytes:
        """A picture as the bytes of a `.lic` file.

        `picture`: a Pillow image; numpy (H, W[, 1 or 3]) or torch (C, H, W), uint8 or float in
        [0, 1]. `quality` is 0 ... 100, continuous. With a target size the best quality whose *file* is
        not larger is used (bpp: bits of the file for each pixel), with a target PSNR (over the decoded
        8-bit samples) the smallest file that reaches it. With `refine_steps` better latents are searched for in so
        many steps (`lab.engine.refinement`): files some percent smaller, each step as long as some encodings. Where its
        weights know filters the file states one of the picture's own; not `filtered` it is some percent larger, and
        sooner made. Raises `BadPicture`, `PictureTooLarge`, `UsageError`; warns with `PictureNotice` of what was
        changed to read the picture.
        """
        if isinstance(picture, Image.Image):  # before it is loaded
            self._check(self.engine, picture.height, picture.width, refine_steps > 0)
        ready = _ready(picture)
        height, width = ready.pixels.shape[:2]
        self._check(self.engine, height, width, refine_steps > 0)
        if sum(target is not None for target in (target_size_bytes, target_bpp, target_psnr_db)) > 1:
            raise UsageError("give one target: a size, a bpp or a PSNR")
        effort = self._checked_effort(refine_steps, filtered)
        if target_bpp is not None and not 0 < target_bpp < 1e9:
            raise UsageError(f"target_bpp must be positive and finite, not {target_bpp}")
        if target_bpp is not None:
            target_size_bytes = int(target_bpp * width * height / 8)
        with typed_memory_errors():
            if target_size_bytes is not None:
                return self._fit(ready, target_size_bytes, effort)
            if target_psnr_db is not None:
                return self._reach(ready, target_psnr_db, effort)
            return self._encode(ready, self._level(quality), effort)[0]

    def encode_batch(self, pictures: Tensor, quality: float = 50) -> list[bytes]:
        """(B, C, H, W), uint8 or float in [0, 1] -> the bytes of B files."""
        return [self.encode(picture, quality) for picture in pictures]

    def decode(self, data: bytes, crop: Crop | None = None, first: FirstGroups | None = None) -> Image.Image:
        """The bytes of a `.lic` file as a Pillow image (L, LA, RGB or RGBA), profile, EXIF and XMP in `info`.

        With `crop` (x, y, width, height in pixels) only that part, computed from all latents but not all pixels; with
        `first` by its first channel groups, where its model has some: then the file may be cut behind them. Raises
        `UsageError` if there are no such pixels or groups, `BadFile`, `PictureTooLarge`, `UnknownWeights`.
        """
        return to_pil(self.decode_picture(data, crop, first))

    def decode_array(self, data: bytes) -> NDArray[np.uint8]:
        """As `decode`, as numpy (H, W, 3) uint8, or (H, W, 1) for greyscale; alpha is left out."""
        picture = self.decode_picture(data)
        return grey_of(picture.pixels)[:, :, None] if picture.grey else picture.pixels

    def decode_tensor(self, data: bytes) -> Tensor:
        """As `decode_array`, as torch (C, H, W) float32 in [0, 1]."""
        return torch.from_numpy(self.decode_array(data)).permute(2, 0, 1).float() / 255

    @torch.inference_mode()
    def decode_picture(self, data: bytes, crop: Crop | None = None, first: FirstGroups | None = None) -> Picture:
        """As `decode`, as a `Picture`; its notices say what of the file did not arrive."""
        with typed_memory_errors():
            return self._decode(_container(data, first), crop, first)

    @torch.inference_mode()
    def decode_thumbnail(self, data: bytes, first: FirstGroups | None = None) -> Image.Image:
        """A small picture of a file, RGB or L, by the thumbnail synthesiser of its weights; `first` as in `decode`.

        Raises `UsageError` where the weights have none, otherwise as `decode`.
        """
        with typed_memory_errors():
            container = _container(data, first)
            header = container.header
            engine = self._engine_of(header)
            y_hat, _ = self._read(container, engine, first)
            pixels = engine.thumbnail(y_hat, header.level, header.height, header.width)
            return to_pil(unpack_extras(container, pixels, None))

    def memory_to_encode_bytes(self, width: int, height: int, refined: bool = False) -> int:
        """About how much memory the whole process needs to encode a picture of so many pixels. Raises as `encode`."""
        self._check(self.engine, height, width, refined)
        return self.engine.memory_bytes(height, width, refined)

    def memory_to_decode_bytes(self, data: bytes, first: FirstGroups | None = None) -> int:
        """The same to decode the bytes of a file. Raises as `decode`."""
        header = _container(data, first).header
        return self._engine_of(header).memory_bytes(header.height, header.width)

    def decode_latents(self, data: bytes) -> Tensor:
        """y_hat (1, M, h, w) float64 of a file: the same numbers on every machine."""
        with typed_memory_errors(), torch.inference_mode():
            container = _container(data, None)
            y_hat, _ = self._read(container, self._engine_of(container.header))
        return y_hat.to(torch.float64, copy=True)  # made outside, it may be trained on

    def _encode(self, picture: Picture, level: int, effort: Effort) -> tuple[bytes, Tensor, Tensor | None]:
        engine = self.engine
        y, z = engine.latents(picture.pixels, level, effort.refine_steps)
        payloads, y_hat, coefficients = engine.write_filtered(y, z, level, picture.pixels if effort.filtered else None)
        height, width = picture.pixels.shape[:2]
        model_id = row(engine.checkpoint.name).id
        flags = (GREY if picture.grey else 0) | (0 if coefficients is None else FILTERED)
        header = Header(model_id, engine.checkpoint.hash, width, height, level, flags)
        extras = pack_extras(picture)
        if len(payloads) > 1:
            return write_container(Container(header, extras, payloads)), y_hat, coefficients
        return write_container(Container(header, {Kind.LATENTS: payloads[0], **extras})), y_hat, coefficients

    def _decode(self, container: Container, crop: Crop | None, first: FirstGroups | None) -> Picture:
        header = container.header
        engine = self._engine_of(header)
        crop = _checked(crop or (0, 0, header.width, header.height), header)
        y_hat, coefficients = self._read(container, engine, first)
        pixels = engine.pixels(y_hat, header.level, header.height, header.width, crop, coefficients)
        picture = unpack_extras(container, pixels, crop)
        if first is not None and first.count is None and len(container.latents) < engine.channel_groups:
            arrived = f"{len(container.latents)} of {engine.channel_groups} channel groups arrived, the rest is filled"
            return replace(picture, notices=(arrived,))
        return picture

    def _read(
        self, container: Container, engine: Engine, first: FirstGroups | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """y_hat, and the coefficients of the picture's own filter."""
        header = container.header
        if header.level > (engine.levels - 1) * LEVEL_STEPS:
            raise BadFile("the file's quality is beyond its model's: the file is damaged; get it anew")
        if bool(container.groups) != (engine.channel_groups > 1):
            raise BadFile("its latents are not in the sections of their model: the file is damaged; get it anew")
        place = header.level, header.height, header.width
        return engine.read_filtered(container.latents, *place, first, bool(header.flags & FILTERED))

    def _check(self, engine: Engine, height: int, width: int, refined: bool = False) -> None:
        """Refuse a picture beyond the limits, before anything is allocated."""
        check_size(width, height, self._max_pixels)
        if self._max_memory_bytes is not None:
            needed = engine.memory_bytes(height, width, refined)
            if needed > self._max_memory_bytes:
                sizes = f"needs about {needed / 1e6:.0f} MB of memory, over {self._max_memory_bytes / 1e6:.0f}"
                raise OutOfMemory(f"{width} x {height} pixels: {sizes}; raise --max-memory")

    def _checked_effort(self, refine_steps: int, filtered: bool) -> Effort:
        if refine_steps < 0:
            raise UsageError(f"refine_steps must not be negative, not {refine_steps}")
        if refine_steps and self.checkpoint.config.rates.distortion is not Distortion.MSE:
            raise UsageError("refining is by MSE, and these weights are for MS-SSIM: leave it out, or tune for psnr")
        return Effort(refine_steps, filtered)

    def _engine_of(self, header: Header) -> Engine:
        check_size(header.width, header.height, self._max_pixels)
        name = name_of(header.model)
        if name is None:
            known = ", ".join(f"{r.id} {r.name}" for r in ZOO)
            raise UnsupportedFile(f"the file's model {header.model} is unknown (known: {known}); upgrade Lichen")
        with self._lock:
            engine = self._engines.get(header.weights)
            if engine is None:
                path = find_by_hash(header.weights, self._extra)
                engine = self._remember(Engine.load(path, self._device))
        if engine.checkpoint.name != name:
            raise BadFile("the file's model and weights do not belong together: it is damaged; get it anew")
        self._check(engine, header.height, header.width)
        return engine

    def _remember(self, engine: Engine) -> Engine:
        self._engines[engine.checkpoint.hash] = engine
        return engine

    def _level(self, quality: float) -> int:
        if not 0 <= quality <= 100:
            raise UsageError(f"quality must lie in 0 ... 100, not {quality}")
        return round(quality / 100 * (self.engine.levels - 1) * LEVEL_STEPS)

    def _fit(self, picture: Picture, size_bytes: int, effort: Effort) -> bytes:
        """The best file that is not over `size_bytes`; what refining saves is spent on quality."""
        level, plain = self._largest(picture, size_bytes, effort.plain)
        if not effort.refine_steps:
            return plain
        refined = self._encode(picture, level, effort)[0]
        if len(refined) >= len(plain):  # a search weighs distortion too: at low rates it may spend bytes
            return refined if len(refined) <= size_bytes else plain
        level, _ = self._largest(picture, size_bytes * len(plain) // len(refined), effort.plain)
        better = self._encode(picture, level, effort)[0]
        return next(data for data in (better, refined, plain) if len(data) <= size_bytes)

    def _largest(self, picture: Picture, size_bytes: int, effort: Effort) -> tuple[int, bytes]:
        """The level of the largest file that is not over `size_bytes`, by bisection over quality, and that file."""
        low, high = 0, (self.engine.levels - 1) * LEVEL_STEPS
        best = 0, self._encode(picture, low, effort)[0]
        if len(best[1]) > size_bytes:
            raise BadPicture(f"the smallest file for this picture has {len(best[1])} bytes, over {size_bytes}")
        while high - low > 1 and size_bytes - len(best[1]) > size_bytes // 500:
            middle = (low + high + 1) // 2
            candidate = middle, self._encode(picture, middle, effort)[0]
            if len(candidate[1]) <= size_bytes:
                low = middle
                best = max(best, candidate, key=lambda found: len(found[1]))
            else:
                high = middle
        return best

    def _reach(self, picture: Picture, wanted_db: float, effort: Effort) -> bytes:
        """The smallest file found that has this PSNR; what refining takes away is given back by quality."""
        level, plain, psnr = self._lowest(picture, wanted_db, effort.plain)
        if not effort.refine_steps:
            return plain
        refined, refined_psnr = self._measured(picture, level, effort)
        if math.isinf(refined_psnr):  # without any loss: nothing to give back
            return min(plain, refined, key=len)
        top = (self.engine.levels - 1) * LEVEL_STEPS
        wanted = min(wanted_db + psnr - refined_psnr, self._measured(picture, top, effort.plain)[1])
        better, better_psnr = self._measured(picture, self._lowest(picture, wanted, effort.plain)[0], effort)
        found = ((plain, psnr), (refined, refined_psnr), (better, better_psnr))
        return min((data for data, reached in found if reached >= wanted_db), key=len)

    def _lowest(self, picture: Picture, wanted_db: float, effort: Effort) -> tuple[int, bytes, float]:
        """The level of lowest quality that reaches this PSNR, by bisection over quality, its file and its PSNR."""
        low, high = -1, (self.engine.levels - 1) * LEVEL_STEPS
        best, psnr = self._measured(picture, high, effort)
        if not psnr >= wanted_db:
            raise BadPicture(f"the best that this picture reaches is {psnr:.2f} dB, not {wanted_db}; ask for less")
        found = high, best, psnr
        while high - low > 1:
            middle = (low + high) // 2
            candidate, psnr = self._measured(picture, middle, effort)
            if psnr >= wanted_db:
                high = middle
                found = min(found, (middle, candidate, psnr), key=lambda trial: len(trial[1]))
            else:
                low = middle
        return found

    def _measured(self, picture: Picture, level: int, effort: Effort) -> tuple[bytes, float]:
        """A file and the PSNR in dB of what it decodes to here."""
        data, y_hat, coefficients = self._encode(picture, level, effort)
        height, width = picture.pixels.shape[:2]
        decoded = self.engine.pixels(y_hat, level, height, width, coefficients=coefficients)
        if picture.grey:
            return data, psnr_db(grey_of(decoded), grey_of(picture.pixels))
        return data, psnr_db(decoded, picture.pixels)


def _container(data: bytes, first: FirstGroups | None) -> Container:
    """A whole file, or what of a cut one is asked for."""
    return read_container(bytes(data)) if first is None else read_arrived(bytes(data), first.count)


def _depth() -> int:
    """How far up `_ready` was called from outside: a notice belongs to the line that gave the picture."""
    frame, depth = sys._getframe(2), 2
    while frame.f_back is not None and frame.f_globals.get("__name__", "").split(".")[0] in {"lichen", "torch", "PIL"}:
        frame, depth = frame.f_back, depth + 1
    return depth


def _checked(crop: Crop, header: Header) -> Crop:
    x, y, width, height = crop
    if min(x, y) < 0 or min(width, height) < 1 or x + width > header.width or y + height > header.height:
        raise UsageError(f"crop {crop} is not within the picture of {header.width} x {header.height}")
    return crop


def _ready(picture: AnyPicture) -> Picture:
    if isinstance(picture, Picture):
        return picture
    if isinstance(picture, Image.Image):
        try:
            opened = from_pil(picture)
        except (OSError, ValueError, SyntaxError, TypeError) as error:  # cut, damaged, closed, of odd information
            raise BadPicture(f"the image cannot be read ({error}); check it, or get it anew") from error
        for notice in opened.notices:
            warnings.warn(notice, PictureNotice, stacklevel=_depth())
        return opened
    if isinstance(picture, Tensor):
        return from_tensor(picture)
    if isinstance(picture, np.ndarray):
        return from_array(picture)
    raise UsageError(f"a picture is a Pillow image, numpy array or torch tensor, not {type(picture).__name__}")
