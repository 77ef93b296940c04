"""THE MAP: a picture becomes a `.lic` file and comes back. Read `_Encoding.encode` and `OpenFile.picture` first.

    pixels -> analysis -> y -> hyper analysis -> z -> walk that writes -> payload -> container
    container -> payload -> walk that reads -> y_hat -> synthesis -> adaptive post-filter -> pixels

An engine (`runtime.engine`) does all but the container: `runtime.onnx_engine` where there are graphs of the model,
else `lab.engine.torch_engine`. Their walks, `runtime.onnx_walk` and `lab.prior.walk`, read and write the same bits.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lichen.bitstream.container import Container, Kind, read_arrived, read_container, write_container
from lichen.bitstream.fields import FILTERED, GREY, TRELLIS, Cursor, Header, read_header
from lichen.errors import BadFile, OutOfMemory, UsageError
from lichen.image.picture import MAX_PIXELS, Picture, check_size, grey_of, to_pil
from lichen.image.sections import pack_extras, unpack_extras
from lichen.inputs import as_picture
from lichen.metrics import psnr_db
from lichen.options import Crop, Effort, EncodeOptions, EngineName, FirstGroups, Tune, check_crop
from lichen.rate_control import Encoder, Measured, MeasuredEncoder, fit_size, reach_psnr
from lichen.runtime import engines
from lichen.runtime.engine import Reading, Writing
from lichen.runtime.level import Level

if TYPE_CHECKING:
    from torch import Tensor

    from lichen.inputs import AnyPicture
    from lichen.lab.models.checkpoint import Checkpoint
    from lichen.runtime.engine import Engine


class Codec:
    """Encodes and decodes pictures. Loads weights once, is safe to use from several threads, can be sent to processes.

    `model` names the row to encode with, and `tune` (also "psnr" or "ms-ssim") which of its weights; `weights` is a
    weights file, or a folder with that row's (without them it decodes only); files name their own weights by hash,
    which are found there, in $LICHEN_WEIGHTS or in the package. `device` runs the transforms; `engine` is what runs
    models, by default exported graphs where there are some. Pictures beyond `max_pixels`, or estimated to need more
    memory than `max_memory_bytes` for the whole process, are refused. Raises `UnknownWeights`, `DeviceError`,
    `UsageError`.
    """

    def __init__(
        self,
        model: str = "lichen",
        weights: Path | str | None = None,
        device: str = "cpu",
        max_pixels: int = MAX_PIXELS,
        max_memory_bytes: int | None = None,
        tune: Tune | str = Tune.PSNR,
        engine: EngineName | str = EngineName.AUTO,
    ) -> None:
        self._extra, self._device = Path(weights) if weights is not None else None, device
        self.max_pixels, self.max_memory_bytes = max_pixels, max_memory_bytes
        self._engines = engines.Engines(self._extra, device, EngineName.of(engine))
        if self._extra is None or not self._extra.is_file():
            engines.check_model(model)
        self._wanted, self._engine_name = (model, Tune.of(tune)), EngineName.of(engine)
        if self._extra is None or not self._extra.is_dir():  # a folder may be for decoding only
            self.engine  # noqa: B018

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy, here or in another process, loads its weights itself."""
        model, tune = self._wanted
        limits = self.max_pixels, self.max_memory_bytes
        return type(self), (model, self._extra, self._device, *limits, tune, self._engine_name)

    @functools.cached_property
    def engine(self) -> Engine:
        """What it encodes with. Raises `UnknownWeights` where its folder of weights has none for its model."""
        return self._engines.to_encode(*self._wanted)

    @property
    def checkpoint(self) -> Checkpoint:
        """The weights that it encodes with, as a model of the lab. Raises `UsageError` without PyTorch."""
        found = getattr(self.engine, "checkpoint", None)
        return found if found is not None else engines.load_checkpoint(self.engine.path)

    def encode(
        self,
        picture: AnyPicture,
        quality: float = 50,
        *,
        target_size_bytes: int | None = None,
        target_bpp: float | None = None,
        target_psnr_db: float | None = None,
        effort: int | None = None,
        refine_steps: int = 0,
        filtered: bool = True,
    ) -> bytes:
        """A picture as the bytes of a `.lic` file.

        `picture`: a Pillow image; numpy (H, W[, 1 or 3]) or torch (C, H, W), uint8 or float in [0, 1]. `quality` is
        0 ... 100, continuous. With a target size the best quality whose *file* is not larger is used (bpp: bits of the
        file for each pixel), with a target PSNR (over the decoded 8-bit samples) the smallest file that reaches it.
        `effort` (0 ... 3, `options.Effort`) trades time for size; `refine_steps` search for better latents instead
        (`lab.engine.refinement`), each step as long as some encodings. Not `filtered` the file states no adaptive
        post-filter: larger, and sooner made. Raises `BadPicture`, `PictureTooLarge`, `OutOfMemory`, `UsageError`;
        warns with `PictureNotice` of what was changed.
        """
        options = EncodeOptions(
            quality=quality,
            target_size_bytes=target_size_bytes,
            target_bpp=target_bpp,
            target_psnr_db=target_psnr_db,
            effort=effort,
            refine_steps=refine_steps,
            filtered=filtered,
        )
        return self.encode_with(picture, options)

    def encode_with(self, picture: AnyPicture, options: EncodeOptions) -> bytes:
        """As `encode`, with what is asked for as one value."""
        with engines.computing():
            check = functools.partial(self.memory_to_encode_bytes, refined=options.refine_steps > 0)
            return self.encode_picture(as_picture(picture, check), options)

    def encode_picture(self, picture: Picture, options: EncodeOptions) -> bytes:
        """As `encode_with`, of a picture in memory: its size is not checked again. Raises `BadPicture`."""
        if options.refine_steps and self.engine.tune is not Tune.PSNR:
            raise UsageError("refining is by MSE, and these weights are for MS-SSIM: leave it out, or tune for psnr")
        height, width = picture.pixels.shape[:2]
        engine = self._engines.to_refine(self.engine) if options.refine_steps else self.engine
        encoding = _Encoding(engine, picture.stripped() if options.strip else picture, options)
        with engines.computing():
            return encoding.file(options.size_bytes(width * height))

    def encode_batch(self, pictures: Tensor, quality: float = 50) -> list[bytes]:
        """(B, C, H, W), uint8 or float in [0, 1] -> the bytes of B files. Raises as `encode`."""
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
        import torch

        return torch.from_numpy(self.decode_array(data)).permute(2, 0, 1).to(torch.float32) / 255

    def decode_picture(self, data: bytes, crop: Crop | None = None, first: FirstGroups | None = None) -> Picture:
        """As `decode`, as a `Picture`; its notices say what of the file did not arrive."""
        return self.open_file(data, first).picture(crop)

    def decode_thumbnail(self, data: bytes, first: FirstGroups | None = None) -> Image.Image:
        """A small picture of a file, RGB or L, by the thumbnail synthesiser of its weights; `first` as in `decode`.

        Raises `UsageError` where the weights have none, otherwise as `decode`.
        """
        return self.open_file(data, first).thumbnail()

    def decode_latents(self, data: bytes) -> Tensor:
        """y_hat (1, M, h, w) float64 of a file: the same numbers on every machine. Raises as `decode`."""
        import torch

        y_hat, _ = self.open_file(data).latents()
        return torch.as_tensor(y_hat).to(torch.float64, copy=True)  # made outside, it may be trained on

    def memory_to_encode_bytes(self, width: int, height: int, refined: bool = False) -> int:
        """About how much memory the whole process needs to encode a picture of so many pixels.

        Raises `PictureTooLarge` and `OutOfMemory` beyond the limits, before anything is allocated.
        """
        return self._checked(lambda: self.engine, width, height, refined)[1]

    def memory_to_decode_bytes(self, data: bytes) -> int:
        """The same to decode a file, of whose bytes the header suffices. Raises as `decode`, also of a header."""
        header = read_header(Cursor(bytes(data)))
        return self._checked(lambda: self._engines.to_decode(header), header.width, header.height)[1]

    @engines.computing()
    def open_file(self, data: bytes, first: FirstGroups | None = None) -> OpenFile:
        """A file with its checksums, size and weights checked, to be decoded; `first` as in `decode`.

        Raises `BadFile` and all that `decode` does.
        """
        container = read_container(bytes(data)) if first is None else read_arrived(bytes(data), first.count)
        header = container.header
        engine, memory_bytes = self._checked(lambda: self._engines.to_decode(header), header.width, header.height)
        if header.quality_index > Level.top(engine.levels).index:
            raise BadFile("the file's quality is beyond its model's: the file is damaged; get it anew")
        if bool(container.groups) != (engine.channel_groups > 1):
            raise BadFile("its latents are not in the sections of their model: the file is damaged; get it anew")
        return OpenFile(container, engine, first, memory_bytes)

    def _checked(
        self, find: Callable[[], Engine], width: int, height: int, refined: bool = False
    ) -> tuple[Engine, int]:
        """The engine for a picture, found when its size is within the limit, and the bytes of memory that it needs."""
        check_size(width, height, self.max_pixels)
        engine = find()
        needed = engine.memory_bytes(height, width, refined)
        if self.max_memory_bytes is not None and needed > self.max_memory_bytes:
            sizes = f"needs about {needed / 1e6:.0f} MB of memory, over {self.max_memory_bytes / 1e6:.0f}"
            raise OutOfMemory(f"{width} x {height} pixels: {sizes}; raise `max_memory_bytes`")
        return engine, needed


@dataclass(frozen=True)
class OpenFile:
    """A file that was checked (`Codec.open_file`), and what decodes it; `memory_bytes` is what that needs."""

    container: Container
    engine: Engine
    first: FirstGroups | None
    memory_bytes: int

    @engines.computing()
    def picture(self, crop: Crop | None = None) -> Picture:
        """Its pixels, or those of `crop`, with all that belongs to them. Raises as `Codec.decode`."""
        header, engine, arrived = self.container.header, self.engine, len(self.container.latents)
        crop = check_crop(crop, header.width, header.height)
        y_hat, coefficients = self.latents()
        pixels = engine.pixels(
            y_hat, header.quality_index, header.height, header.width, crop=crop, coefficients=coefficients
        )
        picture = unpack_extras(self.container, pixels, crop)
        whole = self.first is None or self.first.count is not None or arrived == engine.channel_groups
        said = f"{arrived} of {engine.channel_groups} channel groups arrived, the rest is filled"
        return picture if whole else replace(picture, notices=(said,))

    @engines.computing()
    def thumbnail(self) -> Image.Image:
        """A small picture, RGB or L, by the thumbnail synthesiser. Raises `UsageError` where its weights have none."""
        header = self.container.header
        pixels = self.engine.thumbnail(self.latents()[0], header.quality_index, header.height, header.width)
        return to_pil(unpack_extras(self.container, pixels, None))

    @engines.computing()
    def latents(self) -> tuple[Tensor, Tensor | None]:
        """y_hat (1, M, h, w), and the coefficients of the adaptive post-filter. Raises `BadFile`, `UsageError`."""
        header = self.container.header
        place, flags = (header.quality_index, header.height, header.width), header.flags
        how = Reading(first=self.first, filtered=bool(flags & FILTERED), trellis=bool(flags & TRELLIS))
        return self.engine.read_filtered(self.container.latents, *place, how=how)


@dataclass(frozen=True)
class _Coded:
    """A file, and what it decodes from: y_hat (1, M, h, w) and the coefficients of its adaptive post-filter."""

    data: bytes
    y_hat: Tensor
    coefficients: Tensor | None


@dataclass(frozen=True)
class _Encoding:
    """A picture on its way to a file."""

    engine: Engine
    picture: Picture
    options: EncodeOptions

    @property
    def effort(self) -> Effort:
        """That which is asked for, or the engine's own. Raises `UsageError` for one beyond its model."""
        if self.options.effort is None:
            return self.engine.effort
        if self.options.effort and not self.engine.trellis:
            raise UsageError(f"latents of {self.engine.name} cannot be trellis-coded: leave the effort out, or give 0")
        return Effort.of(self.options.effort)

    def file(self, size_bytes: int | None) -> bytes:
        """The file that was asked for: of at most this size, of a PSNR, or of a quality. Raises `BadPicture`."""
        steps, rates = self.options.refine_steps, self.engine.levels
        top = Level.top(rates).index
        if size_bytes is not None:
            return fit_size(self._sized(0), top, size_bytes, self._sized(steps) if steps else None)
        if self.options.target_psnr_db is not None:
            refined = self._measured(steps) if steps else None
            return reach_psnr(self._measured(0), top, self.options.target_psnr_db, refined)
        return self.encode(Level.of_quality(self.options.quality, rates), steps).data

    def encode(self, level: Level, refine_steps: int) -> _Coded:
        """The picture at this level, its latents refined in so many steps."""
        engine, picture, pixels = self.engine, self.picture, self.picture.pixels
        y, z = engine.latents(pixels, level.index, refine_steps)
        effort = Effort.ROUNDED if refine_steps else self.effort
        how = Writing(
            trellis=effort >= Effort.TRELLIS,
            pixels=pixels,
            corrected_every=effort.corrected_every,
            filtered=self.options.filtered,
        )
        payloads, y_hat, coefficients = engine.write_filtered(y, z, level.index, how)
        height, width = pixels.shape[:2]
        flags = (GREY if picture.grey else 0) | (0 if coefficients is None else FILTERED)
        flags |= TRELLIS if how.trellis else 0
        header = Header(
            engines.model_id(engine.name), engine.hash, width, height, quality_index=level.index, flags=flags
        )
        alone: dict[int, bytes] = {Kind.LATENTS: payloads[0]} if len(payloads) == 1 else {}
        container = Container(header, pack_extras(picture) | alone, () if alone else payloads)
        return _Coded(write_container(container), y_hat, coefficients)

    def _sized(self, refine_steps: int) -> Encoder:
        return lambda index: self.encode(Level(index), refine_steps).data

    def _measured(self, refine_steps: int) -> MeasuredEncoder:
        """Files with the PSNR of what they decode to here."""
        height, width = self.picture.pixels.shape[:2]

        def measured(index: int) -> Measured:
            coded = self.encode(Level(index), refine_steps)
            decoded = self.engine.pixels(coded.y_hat, index, height, width, coefficients=coded.coefficients)
            seen = (grey_of(p) if self.picture.grey else p for p in (decoded, self.picture.pixels))
            return Measured(coded.data, psnr_db(*seen))

        return measured
