"""Peers: the codecs that people use, through Pillow, over their whole range of qualities."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from PIL import Image, features

from lichen.errors import BadPicture, UsageError


@dataclass(frozen=True)
class Encoded:
    """A file by a peer, and the setting that made it."""

    data: bytes
    setting: float


def _open(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data)).convert("RGB")


@dataclass(frozen=True)
class Peer:
    """A codec to compare with: `encode(image, setting)` gives file bytes, `decode(bytes)` an RGB picture.

    `settings` ascend from small to large files; with `parts` above 1 the encoder also takes so many steps between two
    of them. `needs` is what must be installed: a feature of Pillow, or a plugin's
    (module, package). `options` are named by its version where another peer has the same library; `aim` says what it is
    tuned for, where that is not the measure of the tables.
    """

    name: str
    settings: tuple[int, ...]
    encode: Callable[[Image.Image, float], bytes]
    needs: str | tuple[str, str]
    decode: Callable[[bytes], Image.Image] = _open
    options: str = ""
    aim: str = ""
    parts: int = 1

    @property
    def there(self) -> bool:
        """Whether this machine can run it."""
        if isinstance(self.needs, tuple):
            return importlib.util.find_spec(self.needs[0]) is not None
        return bool(features.check(self.needs))

    @property
    def remedy(self) -> str:
        """What to install when it is not there."""
        return f"pip install {self.needs[1] if isinstance(self.needs, tuple) else 'pillow, a build with ' + self.needs}"

    def version(self) -> str:
        """The library that codes, and its version: another version's results are other results."""
        if isinstance(self.needs, tuple):
            return f"{self.needs[1]} {version(self.needs[1])}"
        library = "libjpeg_turbo" if self.needs == "jpg" and features.check("libjpeg_turbo") else self.needs
        options = f", {self.options}" if self.options else ""
        return f"pillow {version('pillow')}, {library} {features.version(library)}{options}"

    def at_most(self, image: Image.Image, size_bytes: int) -> Encoded:
        """The largest file found that is not over `size_bytes`, by bisection over the settings and between two of them.

        When even the smallest is larger, that one: the peer is then shown at more bytes than asked.
        """

        def encoded(setting: float) -> Encoded:
            return Encoded(self.encode(image, setting), setting)

        best, low, high = encoded(self.settings[0]), 0, len(self.settings)
        while high - low > 1 and len(best.data) <= size_bytes:
            low, high, best = _halved(low, high, best, encoded(self.settings[(low + high) // 2]), size_bytes=size_bytes)
        if self.parts == 1 or high == len(self.settings) or len(best.data) > size_bytes:
            return best
        start, step = self.settings[low], (self.settings[high] - self.settings[low]) / self.parts
        low, high = 0, self.parts
        while high - low > 1:
            low, high, best = _halved(
                low, high, best, encoded(start + step * ((low + high) // 2)), size_bytes=size_bytes
            )
        return best


def _halved(low: int, high: int, best: Encoded, middle: Encoded, size_bytes: int) -> tuple[int, int, Encoded]:
    """The half that is left of low ... high, and the larger of the files that fit."""
    if len(middle.data) > size_bytes:
        return low, (low + high) // 2, best
    return (low + high) // 2, high, max(best, middle, key=lambda found: len(found.data))


@contextlib.contextmanager
def peer_errors(name: str) -> Iterator[None]:
    """Whatever a peer's library raises, e.g. for sides beyond its limit, becomes `BadPicture`."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
        raise BadPicture(f"{name}'s library fails ({said}); crop the picture or leave it out") from error


def _save(image: Image.Image, name: str, options: Mapping[str, Any]) -> bytes:
    """The bytes of a file in Pillow's format of that name."""
    buffer = io.BytesIO()
    image.save(buffer, name, **options)
    return buffer.getvalue()


def _jpeg(subsampling: str) -> Callable[[Image.Image, float], bytes]:
    """Between two qualities the same tables are scaled as libjpeg scales them."""

    def encode(image: Image.Image, quality: float) -> bytes:
        options: dict[str, Any] = {"subsampling": subsampling, "optimize": True, "progressive": True}
        whole = quality == int(quality)
        options |= {"quality": int(quality)} if whole else {"qtables": _scaled_tables(quality)}
        return _save(image, "JPEG", options)

    return encode


@functools.cache
def _jpeg_tables() -> list[list[int]]:
    """Those of quality 50, which others are multiples of."""
    with Image.open(io.BytesIO(_save(Image.new("RGB", (1, 1)), "JPEG", {"quality": 50}))) as image:
        return list(image.quantization.values())  # type: ignore[attr-defined]


def _scaled_tables(quality: float) -> list[list[int]]:
    per_cent = 5000 / quality if quality < 50 else 200 - 2 * quality
    return [[min(max(int((x * per_cent + 50) / 100), 1), 255) for x in table] for table in _jpeg_tables()]


def _jpeg2000(image: Image.Image, hundredths: float) -> bytes:
    """`hundredths` of a bit per pixel."""
    options = {
        "quality_mode": "rates",
        "quality_layers": [2400 / hundredths],
        "irreversible": True,
        "mct": 1,  # of colours; without it each channel is coded alone
        "no_jp2": True,
    }
    return _save(image, "JPEG2000", options)


def _webp(image: Image.Image, quality: float) -> bytes:
    return _save(image, "WEBP", {"quality": quality})


def _avif(image: Image.Image, quality: float) -> bytes:
    """As people get it: libaom's `tune=iq`, for eyes."""
    return _save(image, "AVIF", {"quality": int(quality), "max_threads": 1})


def _avif_psnr(image: Image.Image, quality: float) -> bytes:
    """For the measure that is printed: a fourth of the colour's samples costs PSNR, and so does tuning for eyes."""
    options = {"quality": int(quality), "max_threads": 1, "subsampling": "4:4:4", "advanced": {"tune": "psnr"}}
    return _save(image, "AVIF", options)


def _heic(image: Image.Image, quality: float) -> bytes:
    import pillow_heif

    buffer = io.BytesIO()
    pillow_heif.from_pillow(image).save(buffer, quality=int(quality))
    return buffer.getvalue()


def _open_heic(data: bytes) -> Image.Image:
    import pillow_heif

    return pillow_heif.open_heif(data).to_pillow().convert("RGB")


def _jpeg_xl(image: Image.Image, quality: float) -> bytes:
    import pillow_jxl  # noqa: F401  registers itself with Pillow

    return _save(image, "JXL", {"quality": quality, "num_threads": 1})


def _open_jpeg_xl(data: bytes) -> Image.Image:
    import pillow_jxl  # noqa: F401

    return _open(data)


_FOR_EYES = "tuned for what eyes see, not for PSNR or MS-SSIM"
_QUALITIES = tuple(range(1, 101))
_BETWEEN = 64
_RATES = tuple(sorted({round(5 * 1.04**i) for i in range(107)}))  # 0.05 to 3.2 bits per pixel

PEERS: tuple[Peer, ...] = (
    Peer("JPEG 4:2:0", _QUALITIES[:96], _jpeg("4:2:0"), "jpg", parts=_BETWEEN),
    Peer("JPEG 4:4:4", _QUALITIES[:96], _jpeg("4:4:4"), "jpg", parts=_BETWEEN),
    Peer("JPEG 2000", _RATES, _jpeg2000, "jpg_2000", parts=_BETWEEN),
    Peer("WebP", (0, *_QUALITIES), _webp, "webp", parts=_BETWEEN),
    Peer("AVIF", _QUALITIES[:99], _avif, "avif", aim=_FOR_EYES + "; libaom's tune=iq, speed 6"),
    Peer(
        "AVIF 4:4:4 PSNR",
        _QUALITIES[:99],
        _avif_psnr,
        "avif",
        options="4:4:4 tune=psnr",
        aim="tuned for PSNR, at libavif's default speed 6; slower ones need fewer bytes",
    ),
    Peer("HEIC", _QUALITIES[:75], _heic, ("pillow_heif", "pillow-heif"), decode=_open_heic),
    Peer(
        "JPEG XL",
        _QUALITIES[:97],
        _jpeg_xl,
        ("pillow_jxl", "pillow-jxl-plugin"),
        decode=_open_jpeg_xl,
        aim=_FOR_EYES,
        parts=_BETWEEN,
    ),
)


def available() -> tuple[Peer, ...]:
    """The peers that this machine can run."""
    return tuple(peer for peer in PEERS if peer.there)


def missing() -> tuple[Peer, ...]:
    """The peers that this machine lacks; `remedy` says what to install."""
    return tuple(peer for peer in PEERS if not peer.there)


def peer(name: str) -> Peer:
    """The peer of that name. Raises `UsageError` with the names there are."""
    for candidate in PEERS:
        if candidate.name == name:
            return candidate
    raise UsageError(f"no codec {name!r}; there are: {', '.join(p.name for p in PEERS)}")
