"""Peers: the codecs that people use, through Pillow, over their whole range of qualities."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from PIL import Image, features

from lichen.errors import UsageError


@dataclass(frozen=True)
class Encoded:
    """A file by a peer, and the setting that made it."""

    data: bytes
    setting: int


def _open(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data)).convert("RGB")


@dataclass(frozen=True)
class Peer:
    """A codec to compare with: `encode(image, setting)` gives file bytes, `decode(bytes)` an RGB picture.

    `settings` ascend from small to large files. `needs` is what must be installed: a feature of Pillow, or a plugin's
    (module, package). `options` are named by its version where another peer has the same library; `aim` says what it is
    tuned for, where that is not the measure of the tables.
    """

    name: str
    settings: tuple[int, ...]
    encode: Callable[[Image.Image, int], bytes]
    needs: str | tuple[str, str]
    decode: Callable[[bytes], Image.Image] = _open
    options: str = ""
    aim: str = ""

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
        """The largest file that is not over `size_bytes`, by bisection over the settings.

        When even the smallest is larger, that one: the peer is then shown at more bytes than asked.
        """
        low, high = 0, len(self.settings) - 1
        best = Encoded(self.encode(image, self.settings[0]), self.settings[0])
        while low < high:
            middle = (low + high + 1) // 2
            data = self.encode(image, self.settings[middle])
            if len(data) <= size_bytes:
                low, best = middle, Encoded(data, self.settings[middle])
            else:
                high = middle - 1
        return best


def _save(image: Image.Image, name: str, options: Mapping[str, Any]) -> bytes:
    """The bytes of a file in Pillow's format of that name."""
    buffer = io.BytesIO()
    image.save(buffer, name, **options)
    return buffer.getvalue()


def _jpeg(subsampling: str) -> Callable[[Image.Image, int], bytes]:
    def encode(image: Image.Image, quality: int) -> bytes:
        options = {"quality": quality, "subsampling": subsampling, "optimize": True, "progressive": True}
        return _save(image, "JPEG", options)

    return encode


def _jpeg2000(image: Image.Image, hundredths: int) -> bytes:
    """`hundredths` of a bit per pixel."""
    options = {
        "quality_mode": "rates",
        "quality_layers": [2400 / hundredths],
        "irreversible": True,
        "mct": 1,  # of colours; without it each channel is coded alone
        "no_jp2": True,
    }
    return _save(image, "JPEG2000", options)


def _avif(image: Image.Image, quality: int) -> bytes:
    """As people get it: libaom's `tune=iq`, for eyes."""
    return _save(image, "AVIF", {"quality": quality, "max_threads": 1})


def _avif_psnr(image: Image.Image, quality: int) -> bytes:
    """For the measure that is printed: a fourth of the colour's samples costs PSNR, and so does tuning for eyes."""
    options = {"quality": quality, "max_threads": 1, "subsampling": "4:4:4", "advanced": {"tune": "psnr"}}
    return _save(image, "AVIF", options)


def _heic(image: Image.Image, quality: int) -> bytes:
    import pillow_heif

    buffer = io.BytesIO()
    pillow_heif.from_pillow(image).save(buffer, quality=quality)
    return buffer.getvalue()


def _open_heic(data: bytes) -> Image.Image:
    import pillow_heif

    return pillow_heif.open_heif(data).to_pillow().convert("RGB")


def _jpeg_xl(image: Image.Image, quality: int) -> bytes:
    import pillow_jxl  # noqa: F401  registers itself with Pillow

    return _save(image, "JXL", {"quality": quality, "num_threads": 1})


def _open_jpeg_xl(data: bytes) -> Image.Image:
    import pillow_jxl  # noqa: F401

    return _open(data)


_FOR_EYES = "tuned for what eyes see, not for PSNR or MS-SSIM"
_QUALITIES = tuple(range(1, 101))
_RATES = tuple(sorted({round(5 * 1.04**i) for i in range(107)}))  # 0.05 to 3.2 bits per pixel

PEERS: tuple[Peer, ...] = (
    Peer("JPEG 4:2:0", _QUALITIES[:96], _jpeg("4:2:0"), "jpg"),
    Peer("JPEG 4:4:4", _QUALITIES[:96], _jpeg("4:4:4"), "jpg"),
    Peer("JPEG 2000", _RATES, _jpeg2000, "jpg_2000"),
    Peer("WebP", (0, *_QUALITIES), lambda image, q: _save(image, "WEBP", {"quality": q}), "webp"),
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
        "JPEG XL", _QUALITIES[:97], _jpeg_xl, ("pillow_jxl", "pillow-jxl-plugin"), decode=_open_jpeg_xl, aim=_FOR_EYES
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
