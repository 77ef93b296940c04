"""`Picture`, and what becomes one: files, Pillow images, arrays and tensors; and Pillow images of it again."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from lichen.errors import BadPicture, PictureTooLarge, UsageError
from lichen.image.colour import ColourDescription, describe_colour
from lichen.image.formats import register_plugins, what_it_is
from lichen.image.metadata import Metadata, read_metadata
from lichen.image.modes import frames_notice, plain
from lichen.image.peeking import bits_of, has_video_trailer
from lichen.image.profiles import fits, space_of
from lichen.image.reading import reading
from lichen.image.samples import mend_tiles, raw_mode, refuse_unreadable

SIDE_MAX = 2**24 - 1  # pixels: what a file can state
MAX_PIXELS = 2**27  # default limit: 134 million; about 25 bytes of memory for each pixel

RAISE_LIMIT, CROP_IT = "raise `max_pixels`", "crop it"  # where the caller can set the limit, and where not
BLOCK = 64  # pixels: what a picture is worked on in, so that a side of 1 costs as one of 64
THIN = 8  # times more than its pixels a picture costs before it is said, if that is as much as two megapixels

_ONE = "pass each picture alone, or a batch of tensors to `Codec.encode_batch`"
Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Picture:
    """A picture ready to be coded, or decoded.

    `pixels` (H, W, 3) uint8; `grey` says that the three channels stand for one; `alpha` (H, W) uint8
    or None; `icc`, `exif` and `xmp` are their blocks or None. `notices` say what was changed when the
    picture was read. Raises `BadPicture` when they do not fit together.
    """

    pixels: Bytes
    grey: bool = False
    alpha: Bytes | None = None
    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    notices: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_plane(self.pixels, "pixels", (*np.shape(self.pixels)[:2], 3))
        if self.alpha is not None:
            _check_plane(self.alpha, "alpha", self.pixels.shape[:2])
        if not all(block is None or isinstance(block, bytes) for block in (self.icc, self.exif, self.xmp)):
            raise BadPicture("icc, exif and xmp are bytes or None")

    def stripped(self) -> Picture:
        """The same without ICC profile, EXIF and XMP."""
        return replace(self, icc=None, exif=None, xmp=None)


def _check_plane(plane: object, name: str, shape: tuple[int, ...]) -> None:
    if not isinstance(plane, np.ndarray) or plane.dtype != np.uint8 or plane.shape != shape or 0 in shape:
        found = f"{plane.dtype} {plane.shape}" if isinstance(plane, np.ndarray) else type(plane).__name__
        raise BadPicture(f"a picture's {name} are a uint8 array of shape {shape}, none of it 0; this is {found}")


def check_size(width: int, height: int, max_pixels: int, remedy: str = RAISE_LIMIT) -> None:
    """Raises `PictureTooLarge` beyond the limit, before anything is allocated; its message ends with the remedy."""
    # What is computed is the size in whole blocks of 64; a line of pixels costs as much as its blocks.
    blocks = -(-width // BLOCK) * -(-height // BLOCK)
    if width * height > max_pixels or blocks * BLOCK**2 > 2 * max_pixels + BLOCK**2 * BLOCK:
        computed = "" if width * height > max_pixels else f" in its blocks of {BLOCK} x {BLOCK}"
        raise PictureTooLarge(f"{width} x {height}{computed} is beyond the limit of {max_pixels} pixels; {remedy}")
    if max(width, height) > SIDE_MAX:
        raise PictureTooLarge(f"{width} x {height}: no side may have over {SIDE_MAX} pixels; split it")


def thin_notice(width: int, height: int) -> tuple[str, ...]:
    """What to say of a line of pixels that costs many times what its pixels would: its blocks are paid for."""
    blocks = -(-width // BLOCK) * -(-height // BLOCK)
    if blocks * BLOCK**2 < THIN * max(width * height, 2**18):
        return ()
    worth = f"{blocks * BLOCK**2 / 1e6:.1f} megapixels"
    return (f"{width} x {height} is so thin that it takes the time and memory of {worth}; PNG suits it better",)


def picture_size(source: Path | bytes) -> tuple[int, int]:
    """Width and height in pixels that a file claims, before it is turned; unchecked. Raises `BadPicture`."""
    name = "standard input" if isinstance(source, bytes) else str(source)
    with reading(name), _opened(source) as image:
        return image.size


def open_picture(source: Path | bytes, max_pixels: int | None = MAX_PIXELS, remedy: str = RAISE_LIMIT) -> Picture:
    """Read any file that Pillow, or an installed plugin of HEIF or JPEG XL, reads; None: its size was checked before.

    Raises `BadPicture` or `PictureTooLarge`, which name the file.
    """
    name = "standard input" if isinstance(source, bytes) else str(source)
    with reading(name), _opened(source) as image:
        if max_pixels is not None:
            check_size(*image.size, max_pixels, remedy)
        return _read(image, {})


def _opened(source: Path | bytes) -> Image.Image:
    """The image of a file. Raises `BadPicture` that says what a file is which Pillow does not know."""
    try:
        return Image.open(io.BytesIO(source) if isinstance(source, bytes) else source)
    except UnidentifiedImageError:
        register_plugins()
    try:
        return Image.open(io.BytesIO(source) if isinstance(source, bytes) else source)
    except UnidentifiedImageError as error:
        known = what_it_is(_head(source))
        if known is None:
            raise
        raise BadPicture(f"not a picture that Pillow can read; it is {known}") from error


def _head(source: Path | bytes) -> bytes:
    if isinstance(source, bytes):
        return source[:16]
    with source.open("rb") as file:
        return file.read(16)


def from_pil(image: Image.Image, given: Mapping[str, bytes] | None = None) -> Picture:
    """A Pillow image as a `Picture`: orientation applied, metadata kept. Raises `BadPicture`.

    `given` are blocks that replace the image's own, by their names in `image.info`: `icc_profile`, `exif`, `xmp`;
    empty for none. Of several frames the one that the image is at is read.
    """
    with reading("the image"):
        return _read(image, given or {})


def _read(image: Image.Image, given: Mapping[str, bytes]) -> Picture:
    if 0 in image.size:
        raise BadPicture("the picture is empty: it needs at least one pixel")
    refuse_unreadable(image)
    mend_tiles(image)
    raw, bits, colour = raw_mode(image), bits_of(image), describe_colour(image)
    video = has_video_trailer(image)
    image.load()  # some formats have their metadata at the end
    found = read_metadata(image, given, video)
    upright, notices = plain(image, raw, bits)
    upright = upright.transpose(found.turn) if found.turn is not None else upright
    grey = upright.mode in {"L", "LA"}
    icc, said = _profile(image, found.metadata.icc, colour, "icc_profile" in given, grey=grey)
    alpha = np.asarray(upright.getchannel("A")) if upright.mode in {"LA", "RGBA"} else None
    pixels = np.asarray(upright.convert("RGB") if upright.mode != "RGB" else upright)
    notices = frames_notice(image) + notices + said + found.notices + thin_notice(*image.size)
    return Picture(pixels, grey, alpha, icc, exif=found.metadata.exif, xmp=found.metadata.xmp, notices=notices)


def _profile(
    image: Image.Image, icc: bytes | None, colour: ColourDescription, is_given: bool, grey: bool
) -> tuple[bytes | None, tuple[str, ...]]:
    """The profile of the pixels, and notices: none where the conversion to RGB has used it up, or it does not fit."""
    if image.mode in {"CMYK", "LAB"}:
        return None, ()
    notices = () if is_given else colour.notices
    chosen = icc if is_given else colour.icc or icc
    if chosen is None and not is_given and "icc_profile" in image.info:  # Pillow could not read it
        notices = (*notices, "its ICC profile is damaged and was left out")
    if isinstance(chosen, bytes) and not fits(chosen, grey):
        lost = f"its profile for {space_of(chosen)}, which does not fit, was left out"
        return None, (*notices, lost)
    return chosen, notices


def to_pil(picture: Picture) -> Image.Image:
    """A Pillow image of mode L, LA, RGB or RGBA, with its profile, EXIF and XMP in `info`."""
    image = Image.fromarray(grey_of(picture.pixels) if picture.grey else picture.pixels)
    if picture.alpha is not None:
        image.putalpha(Image.fromarray(picture.alpha))
    image.info.update(Metadata(picture.icc, picture.exif, picture.xmp).info())
    return image


def grey_of(pixels: Bytes) -> Bytes:
    """(H, W, 3) -> (H, W): the rounded mean of the three channels."""
    grey: Bytes = ((pixels.astype(np.uint16).sum(axis=2) + 1) // 3).astype(np.uint8)
    return grey


def from_array(array: NDArray[Any]) -> Picture:
    """(H, W), (H, W, 1) or (H, W, 3); uint8, or float in [0, 1]. Raises `BadPicture`, also for masked samples."""
    if np.ma.is_masked(array):
        raise BadPicture("some of the array's samples are masked: give them a value, e.g. array.filled(0)")
    array = np.asarray(array)
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or array.shape[2] not in {1, 3}:
        raise BadPicture(f"an array must be (H, W), (H, W, 1) or (H, W, 3), not {array.shape}; {_remedy(array.shape)}")
    if 0 in array.shape:
        raise BadPicture(f"the array is empty: {array.shape}")
    pixels = array if array.dtype == np.uint8 else _from_float(array)
    height, width, channels = pixels.shape
    whole = np.ascontiguousarray(np.broadcast_to(pixels, (height, width, 3)))
    return Picture(whole, channels == 1, notices=thin_notice(width, height))


def _remedy(shape: tuple[int, ...]) -> str:
    """What to do with an array of this shape."""
    if len(shape) == 3 and shape[0] in {1, 3}:
        return "its channels come first: array.transpose(1, 2, 0)"
    if len(shape) == 3 and shape[2] in {2, 4}:
        return "for transparency pass a Pillow image: Image.fromarray(array)"
    return _ONE


def _from_float(array: NDArray[Any]) -> Bytes:
    if not np.issubdtype(array.dtype, np.floating):
        white = 1.0 if array.dtype == np.bool_ else 65535 if array.dtype == np.uint16 else 255
        raise BadPicture(
            f"an array must be uint8 or float in [0, 1], not {array.dtype}; divide it by its white: array / {white}"
        )
    if not np.isfinite(array).all():
        raise BadPicture("the array has NaN or infinite values; replace them first")
    if array.min() < 0 or array.max() > 1:
        raise BadPicture("float values must lie in [0, 1]; divide by 255, or pass uint8")
    rounded: Bytes = np.round(array * 255).astype(np.uint8)
    return rounded


class TensorLike(Protocol):
    """A PyTorch tensor, without importing PyTorch."""

    def detach(self) -> TensorLike:
        """Without its gradient."""
        ...

    def cpu(self) -> TensorLike:
        """In the machine's memory."""
        ...

    def float(self) -> TensorLike:
        """In float32."""
        ...

    def numpy(self) -> NDArray[Any]:
        """As an array of the same shape."""
        ...


_WITHOUT_VALUES = {  # flags of tensors that numpy cannot take, and the remedy
    "is_meta": "it is on the meta device and has no values; load it to a real device",
    "is_sparse": "it is sparse; pass x.to_dense()",
    "is_sparse_csr": "it is sparse; pass x.to_dense()",
    "is_quantized": "it is quantised; pass x.dequantize()",
    "is_nested": "it is nested; pass one picture at a time",
}


def from_tensor(tensor: TensorLike) -> Picture:
    """(C, H, W) with C = 1 or 3, on any device; uint8, or any float type in [0, 1].

    Raises `BadPicture` for other shapes and types, and for meta, sparse, quantised and nested tensors; `UsageError`
    for what is no tensor.
    """
    if not all(hasattr(tensor, name) for name in ("detach", "cpu", "numpy")):
        hint = "open it first, PIL.Image.open(…)" if isinstance(tensor, str | bytes | Path) else "pass one of these"
        raise UsageError(f"a picture is a Pillow image, a numpy array or a tensor, not {type(tensor).__name__}; {hint}")
    for flag, remedy in _WITHOUT_VALUES.items():
        if getattr(tensor, flag, False) is True:
            raise BadPicture(f"the tensor cannot be read as a picture: {remedy}")
    plain = tensor.detach().cpu()  # what fails here fails for want of memory
    plain = plain.float() if getattr(plain, "is_floating_point", bool)() else plain
    try:
        array = plain.numpy()
    except (TypeError, RuntimeError) as error:
        raise BadPicture(f"the tensor cannot be read as a picture ({error}); pass a dense one on the CPU") from error
    if array.ndim != 3 or array.shape[0] not in {1, 3}:
        raise BadPicture(f"a tensor must be (C, H, W) with 1 or 3 channels, not {array.shape}; {_ONE}")
    return from_array(array.transpose(1, 2, 0))
