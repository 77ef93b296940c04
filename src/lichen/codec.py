"""THE MAP: a picture becomes a `.lic` file and comes back. Read `_encode` and `_decode` first.

    pixels -> analysis -> y -> hyper analysis -> z -> prior.walk(Writer) -> payload -> container
    container -> payload -> prior.walk(Reader) -> y_hat -> synthesis -> pixels

The two walks are one function on the prior's fixed-point twin, so both sides compute the same.
"""

from __future__ import annotations

import io
import threading
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from lichen.bitstream.container import Container, Kind, read_container, write_container
from lichen.bitstream.fields import GREY, Header
from lichen.coding.coders import Reader, Writer
from lichen.errors import BadFile, BadPicture, DeviceError, UnsupportedFile, UsageError
from lichen.models.checkpoint import Checkpoint, find_by_hash, find_by_name, load_checkpoint
from lichen.models.config import LEVEL_STEPS
from lichen.models.zoo import ZOO, name_of, row
from lichen.picture import (
    MAX_PIXELS,
    Picture,
    check_size,
    from_array,
    from_pil,
    from_tensor,
    to_float,
    to_pil,
    to_uint8,
)
from lichen.prior.context import Prior

_PROFILE_BYTES_MAX = 16_000_000  # of an unpacked ICC or EXIF block

AnyPicture = Picture | Image.Image | NDArray[Any] | Tensor


@dataclass(frozen=True)
class Engine:
    """A model ready to code: its weights on a device, and its prior in fixed point on the CPU."""

    checkpoint: Checkpoint
    prior: Prior
    device: torch.device

    @staticmethod
    def load(path: Path, device: torch.device) -> Engine:
        checkpoint = load_checkpoint(path)
        checkpoint.model.to(device)
        return Engine(checkpoint, checkpoint.model.exact_prior(), device)

    @property
    def levels(self) -> int:
        return self.checkpoint.config.rates.count

    def latents(self, pixels: NDArray[np.uint8], level: int) -> tuple[Tensor, Tensor]:
        """(H, W, 3) uint8 -> y (1, M, h, w) and z (1, Z, h', w'), float32 on the CPU."""
        position = torch.tensor([level / LEVEL_STEPS], device=self.device)
        y = self.checkpoint.model.analyse(to_float(pixels).to(self.device), position)
        return y.cpu(), self.checkpoint.model.hyper_analyse(y, position).cpu()

    def write(self, y: Tensor, z: Tensor, level: int) -> tuple[bytes, Tensor]:
        """Latents -> payload and y_hat. From the same y and z every machine writes the same bytes."""
        writer = Writer()
        y_hat, _ = self.prior.walk(writer, _position(level), (z.shape[2], z.shape[3]), y.double(), z.double())
        return writer.finish(), y_hat

    def read(self, payload: bytes, level: int, height: int, width: int) -> Tensor:
        """Payload -> y_hat (1, M, h, w) float64, the same on every machine."""
        stride = self.checkpoint.model.hyper_stride
        shape = (-(-height // stride), -(-width // stride))
        return self.prior.walk(Reader(payload), _position(level), shape)[0]

    def pixels(self, y_hat: Tensor, level: int, height: int, width: int) -> NDArray[np.uint8]:
        """y_hat -> (H, W, 3) uint8."""
        position = torch.tensor([level / LEVEL_STEPS], device=self.device)
        latents = y_hat.float().to(self.device, memory_format=torch.channels_last)
        return to_uint8(self.checkpoint.model.synthesise(latents, position, height, width))


def _position(level: int) -> Tensor:
    return torch.tensor([level / LEVEL_STEPS], dtype=torch.float64)


class Codec:
    """Encodes and decodes pictures. Loads weights once, is safe to use from several threads.

    `model` names the row to encode with; `weights` is a weights file, or a folder to look in first;
    files name their own weights by hash, which are found there, in $LICHEN_WEIGHTS or in the package.
    `device` runs the transforms. Raises `UnknownWeights`, `DeviceError`.
    """

    def __init__(
        self,
        model: str = "lichen",
        weights: Path | str | None = None,
        device: str = "cpu",
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        self._extra = Path(weights) if weights is not None else None
        self._device = find_device(device)
        self._max_pixels = max_pixels
        self._lock = threading.Lock()
        self._engines: dict[bytes, Engine] = {}
        if self._extra is None or not self._extra.is_file():
            row(model)
        self._own = self._remember(Engine.load(find_by_name(model, self._extra), self._device))

    @property
    def checkpoint(self) -> Checkpoint:
        """The weights that this codec encodes with."""
        return self._own.checkpoint

    @torch.inference_mode()
    def encode(
        self,
        picture: AnyPicture,
        quality: float = 50,
        *,
        target_size_bytes: int | None = None,
        target_bpp: float | None = None,
    ) -> bytes:
        """A picture as the bytes of a `.lic` file.

        `picture`: a Pillow image; numpy (H, W[, 1 or 3]) or torch (C, H, W), uint8 or float in
        [0, 1]. `quality` is 0 ... 100, continuous. With a target the best quality whose *file* is not
        larger is used (bpp: bits of the file for each pixel). Raises `BadPicture`, `PictureTooLarge`,
        `UsageError`.
        """
        ready = _ready(picture)
        height, width = ready.pixels.shape[:2]
        check_size(width, height, self._max_pixels)
        if target_bpp is not None and target_size_bytes is not None:
            raise UsageError("give a target size or a target bpp, not both")
        if target_bpp is not None and not 0 < target_bpp < 1e9:
            raise UsageError(f"target_bpp must be positive and finite, not {target_bpp}")
        if target_bpp is not None:
            target_size_bytes = int(target_bpp * width * height / 8)
        if target_size_bytes is None:
            return self._encode(ready, self._level(quality))
        return self._fit(ready, target_size_bytes)

    def encode_batch(self, pictures: Tensor, quality: float = 50) -> list[bytes]:
        """(B, C, H, W), uint8 or float in [0, 1] -> the bytes of B files."""
        return [self.encode(picture, quality) for picture in pictures]

    def decode(self, data: bytes) -> Image.Image:
        """The bytes of a `.lic` file as a Pillow image (L, LA, RGB or RGBA), profile and EXIF in `info`.

        Raises `BadFile`, `PictureTooLarge`, `UnknownWeights`.
        """
        return to_pil(self.decode_picture(data))

    def decode_array(self, data: bytes) -> NDArray[np.uint8]:
        """As `decode`, as numpy (H, W, 3) uint8, or (H, W, 1) for greyscale; alpha is left out."""
        picture = self.decode_picture(data)
        return np.asarray(to_pil(Picture(picture.pixels, True)))[:, :, None] if picture.grey else picture.pixels

    def decode_tensor(self, data: bytes) -> Tensor:
        """As `decode_array`, as torch (C, H, W) float32 in [0, 1]."""
        return torch.from_numpy(self.decode_array(data)).permute(2, 0, 1).float() / 255

    @torch.inference_mode()
    def decode_picture(self, data: bytes) -> Picture:
        """As `decode`, as a `Picture`."""
        return self._decode(read_container(bytes(data)))

    @torch.inference_mode()
    def decode_latents(self, data: bytes) -> Tensor:
        """y_hat (1, M, h, w) float64 of a file: the same numbers on every machine."""
        container = read_container(data)
        return self._read(container, self._engine_of(container.header))

    def _encode(self, picture: Picture, level: int) -> bytes:
        engine = self._own
        y, z = engine.latents(picture.pixels, level)
        payload, _ = engine.write(y, z, level)
        height, width = picture.pixels.shape[:2]
        model_id = row(engine.checkpoint.name).id
        flags = GREY if picture.grey else 0
        header = Header(model_id, engine.checkpoint.hash, width, height, level, flags)
        return write_container(Container(header, {Kind.LATENTS: payload, **_pack_extras(picture)}))

    def _decode(self, container: Container) -> Picture:
        header = container.header
        engine = self._engine_of(header)
        y_hat = self._read(container, engine)
        pixels = engine.pixels(y_hat, header.level, header.height, header.width)
        return _unpack_extras(container, pixels)

    def _read(self, container: Container, engine: Engine) -> Tensor:
        header = container.header
        if header.level > (engine.levels - 1) * LEVEL_STEPS:
            raise BadFile("the file's quality is beyond its model's: the file is damaged; get it anew")
        return engine.read(container.sections[Kind.LATENTS], header.level, header.height, header.width)

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
        return engine

    def _remember(self, engine: Engine) -> Engine:
        self._engines[engine.checkpoint.hash] = engine
        return engine

    def _level(self, quality: float) -> int:
        if not 0 <= quality <= 100:
            raise UsageError(f"quality must lie in 0 ... 100, not {quality}")
        return round(quality / 100 * (self._own.levels - 1) * LEVEL_STEPS)

    def _fit(self, picture: Picture, size_bytes: int) -> bytes:
        """The largest file that is not over `size_bytes`, by bisection over quality."""
        low, high = 0, (self._own.levels - 1) * LEVEL_STEPS
        best = self._encode(picture, low)
        if len(best) > size_bytes:
            raise BadPicture(f"the smallest file for this picture has {len(best)} bytes, over {size_bytes}")
        while high - low > 1 and size_bytes - len(best) > size_bytes // 500:
            middle = (low + high + 1) // 2
            candidate = self._encode(picture, middle)
            if len(candidate) <= size_bytes:
                low = middle
                best = max(best, candidate, key=len)
            else:
                high = middle
        return best


def find_device(name: str) -> torch.device:
    """cpu or cuda. Raises `DeviceError` when it is not there."""
    if name == "cuda" and not torch.cuda.is_available():
        raise DeviceError("there is no CUDA device; use --device cpu")
    if name not in {"cpu", "cuda"}:
        raise UsageError(f"device must be cpu or cuda, not {name!r}")
    return torch.device(name)


def _ready(picture: AnyPicture) -> Picture:
    if isinstance(picture, Picture):
        return picture
    if isinstance(picture, Image.Image):
        return from_pil(picture)
    if isinstance(picture, Tensor):
        return from_tensor(picture)
    if isinstance(picture, np.ndarray):
        return from_array(picture)
    raise UsageError(f"a picture is a Pillow image, numpy array or torch tensor, not {type(picture).__name__}")


def _pack_extras(picture: Picture) -> dict[int, bytes]:
    """Alpha, ICC profile and EXIF as sections."""
    sections: dict[int, bytes] = {}
    if picture.alpha is not None:
        buffer = io.BytesIO()
        Image.fromarray(picture.alpha).save(buffer, "PNG", optimize=True)
        sections[Kind.ALPHA] = buffer.getvalue()
    for kind, block in ((Kind.ICC, picture.icc), (Kind.EXIF, picture.exif)):
        if block and len(block) > _PROFILE_BYTES_MAX:
            raise BadPicture(f"its {kind.name} block has {len(block)} bytes, too many to keep; strip it first")
        if block:
            sections[kind] = zlib.compress(block, 9)
    return sections


def _unpack_extras(container: Container, pixels: NDArray[np.uint8]) -> Picture:
    sections = container.sections
    alpha = _unpack_alpha(sections[Kind.ALPHA], pixels.shape) if Kind.ALPHA in sections else None
    icc, exif = (_unpack_block(sections.get(kind)) for kind in (Kind.ICC, Kind.EXIF))
    return Picture(pixels, bool(container.header.flags & GREY), alpha, icc, exif)


def _unpack_alpha(png: bytes, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    if png[16:24] != shape[1].to_bytes(4, "big") + shape[0].to_bytes(4, "big"):  # of IHDR, before Pillow looks
        raise BadFile("the file's alpha does not fit its picture: it is damaged; get it anew")
    try:
        with Image.open(io.BytesIO(png), formats=["PNG"]) as image:
            if image.mode != "L" or image.size != (shape[1], shape[0]):
                raise BadFile("the file's alpha does not fit its picture: it is damaged; get it anew")
            return np.array(image)
    except (OSError, SyntaxError, ValueError) as error:
        raise BadFile(f"the file's alpha cannot be read ({error}): it is damaged; get it anew") from error


def _unpack_block(packed: bytes | None) -> bytes | None:
    if packed is None:
        return None
    unpacker = zlib.decompressobj()
    try:
        block = unpacker.decompress(packed, _PROFILE_BYTES_MAX)
    except zlib.error as error:
        raise BadFile("the file's profile cannot be unpacked: it is damaged; get it anew") from error
    if not unpacker.eof:
        raise BadFile("the file's profile is cut or too large: it is damaged; get it anew")
    return block
