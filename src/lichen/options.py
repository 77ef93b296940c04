"""What may be asked of encoding and decoding, as values that are checked once. Light: the command line imports it."""

from __future__ import annotations

import enum
import math
import numbers
from dataclasses import dataclass

from lichen.errors import UsageError

Crop = tuple[int, int, int, int]  # x, y, width, height in pixels


def check_crop(crop: Crop | None, width: int, height: int) -> Crop:
    """This part, or the whole, of a picture of width x height pixels. Raises `UsageError` for one not within it."""
    if crop is None:
        return 0, 0, width, height
    x, y, across, down = crop
    if min(x, y) < 0 or min(across, down) < 1 or x + across > width or y + down > height:
        raise UsageError(f"`crop` {crop} is not within the picture of {width} x {height}")
    return crop


class Effort(enum.IntEnum):
    """How hard an encoder tries, at no cost in decoding: each step takes longer, for smaller files at equal PSNR."""

    ROUNDED = 0  # latents are rounded
    TRELLIS = 1  # latents of larger scales are trellis-coded
    CORRECTED = 2  # and what is left of them is corrected before every second coding step
    ALL_CORRECTED = 3  # or before each but the first

    @staticmethod
    def of(value: Effort | int) -> Effort:
        """One of them, also by its number. Raises `UsageError`."""
        try:
            return Effort(value)
        except ValueError as error:
            raise UsageError(f"`effort` must be one of 0 ... {max(Effort)}, not {value!r}") from error

    @property
    def corrected_every(self) -> int:
        """Before every how many coding steps latents are corrected; 0: never."""
        return {Effort.CORRECTED: 2, Effort.ALL_CORRECTED: 1}.get(self, 0)


DEFAULT_EFFORT = Effort.CORRECTED  # of our own models; the papers' are rounded, as they are published


class EngineName(enum.Enum):
    """What runs a model."""

    AUTO = "auto"  # exported graphs where there are some, else the lab's
    ONNX = "onnx"  # exported graphs, by ONNX Runtime
    TORCH = "torch"  # the lab's, by PyTorch: all models, CUDA, native bfloat16, the search for better latents

    @staticmethod
    def of(value: EngineName | str) -> EngineName:
        """One of them, also by its value. Raises `UsageError`."""
        try:
            return EngineName(value)
        except ValueError as error:
            known = ", ".join(name.value for name in EngineName)
            raise UsageError(f"`engine` must be one of {known}, not {value!r}") from error


class Tune(enum.Enum):
    """What files are to be good at, for their size."""

    PSNR = "psnr"
    MS_SSIM = "ms-ssim"  # structure, rather than every pixel's value

    @staticmethod
    def of(value: Tune | str) -> Tune:
        """One of them, also by its value. Raises `UsageError`."""
        try:
            return Tune(value)
        except ValueError as error:
            raise UsageError(f"`tune` must be {' or '.join(t.value for t in Tune)}, not {value!r}") from error

    def weights(self, model: str) -> str:
        """The name of a model's weights that are trained for it, `.safetensors` left out."""
        return model if self is Tune.PSNR else f"{model}-{self.value}"


@dataclass(frozen=True, kw_only=True)
class EncodeOptions:
    """How a picture is encoded: by a quality 0 ... 100, or by one target, which takes its place.

    `target_size_bytes` and `target_bpp` (bits of the file for each pixel) ask for the best file that is not larger,
    `target_psnr_db` for the smallest that reaches it. `effort` is an `Effort` or its number (None: what the weights are
    meant to be used with); `refine_steps` search for better latents instead; `filtered` lets the file state an adaptive
    post-filter where the model has one; `strip` drops ICC profile, EXIF and XMP. Raises `UsageError` for values out of
    range, for two targets, and for an effort beside refining steps.
    """

    quality: float = 50
    target_size_bytes: int | None = None
    target_bpp: float | None = None
    target_psnr_db: float | None = None
    effort: int | None = None
    refine_steps: int = 0
    filtered: bool = True
    strip: bool = False

    def __post_init__(self) -> None:
        if not 0 <= _number("quality", self.quality) <= 100:
            raise UsageError(f"`quality` must lie in 0 ... 100, not {self.quality}")
        targets = {name: getattr(self, name) for name in ("target_size_bytes", "target_bpp", "target_psnr_db")}
        given = {name: value for name, value in targets.items() if value is not None}
        if len(given) > 1:
            raise UsageError("give one target: a size, a bpp or a PSNR")
        for name, value in given.items():
            if not 0 < _number(name, value) < math.inf:
                raise UsageError(f"`{name}` must be positive and finite, not {value}")
        if self.effort is not None:
            Effort.of(self.effort)
        if self.effort and self.refine_steps:
            raise UsageError("give an effort or a number of refining steps, not both")
        if not isinstance(self.refine_steps, numbers.Integral) or self.refine_steps < 0:
            raise UsageError(f"`refine_steps` must be a whole number and not negative, not {self.refine_steps!r}")

    def size_bytes(self, pixels: int) -> int | None:
        """The most bytes that the file of a picture of so many pixels may have; None without such a target."""
        if self.target_bpp is not None:
            return int(self.target_bpp * pixels / 8)
        return self.target_size_bytes


def _number(name: str, value: object) -> float:
    """Numbers of numpy and PyTorch count too. Raises `UsageError` for what is none."""
    if isinstance(value, float | int):
        return value
    try:
        return value.__float__()  # type: ignore[attr-defined, no-any-return]
    except (AttributeError, TypeError, ValueError) as error:
        raise UsageError(f"`{name}` must be a number, not {value!r}") from error


@dataclass(frozen=True)
class FirstGroups:
    """Progressive decoding: only the first channel groups; the others are their means, or 0 (ELIC supplement 5).

    Without a `count` those that arrived whole. The file may be cut behind them. Raises `UsageError`.
    """

    count: int | None = None
    fill_mean: bool = True

    def __post_init__(self) -> None:
        if self.count is not None and self.count < 1:
            raise UsageError(f"a picture needs one channel group at least, not {self.count}")


@dataclass(frozen=True, kw_only=True)
class DecodeOptions:
    """What of a file is decoded: a part of its pixels, its first channel groups, or a thumbnail of it.

    Raises `UsageError` for a part of a thumbnail.
    """

    crop: Crop | None = None
    first: FirstGroups | None = None
    thumbnail: bool = False

    def __post_init__(self) -> None:
        if self.thumbnail and self.crop is not None:
            raise UsageError("a thumbnail is of the whole picture: ask for it, or for a crop")
