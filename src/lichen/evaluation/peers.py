"""The codecs that people use, through Pillow: same interface, whole range of qualities."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image, features

from lichen.errors import UsageError


@dataclass(frozen=True)
class Encoded:
    """A file by a peer, and the setting that made it."""

    data: bytes
    setting: int


@dataclass(frozen=True)
class Peer:
    """A codec: `encode(image, setting)` gives file bytes; `settings` ascend from small to large files."""

    name: str
    settings: tuple[int, ...]
    encode: Callable[[Image.Image, int], bytes]

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


def _save(image: Image.Image, name: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, name, **options)
    return buffer.getvalue()


def _jpeg(subsampling: str) -> Callable[[Image.Image, int], bytes]:
    def encode(image: Image.Image, quality: int) -> bytes:
        return _save(image, "JPEG", quality=quality, subsampling=subsampling, optimize=True, progressive=True)

    return encode


def _jpeg2000(image: Image.Image, hundredths: int) -> bytes:
    """`hundredths` of a bit per pixel."""
    return _save(
        image,
        "JPEG2000",
        quality_mode="rates",
        quality_layers=[2400 / hundredths],
        irreversible=True,
        no_jp2=True,
    )


_QUALITIES = tuple(range(1, 101))
_RATES = (5, 8, 10, 15, 20, 25, 30, 40, 50, 60, 75, 90, 110, 130, 160, 200, 250, 300)

PEERS: tuple[Peer, ...] = (
    Peer("JPEG 4:2:0", _QUALITIES[:96], _jpeg("4:2:0")),
    Peer("JPEG 4:4:4", _QUALITIES[:96], _jpeg("4:4:4")),
    Peer("JPEG 2000", _RATES, _jpeg2000),
    Peer("WebP", (0, *_QUALITIES), lambda image, q: _save(image, "WEBP", quality=q)),
    Peer("AVIF", _QUALITIES[:99], lambda image, q: _save(image, "AVIF", quality=q)),
)
_NEEDS = {"JPEG 2000": "jpg_2000", "WebP": "webp", "AVIF": "avif"}


def available() -> tuple[Peer, ...]:
    """The peers that this machine's Pillow can write."""
    return tuple(p for p in PEERS if p.name not in _NEEDS or features.check(_NEEDS[p.name]))


def peer(name: str) -> Peer:
    """The peer of that name. Raises `UsageError` with those there are."""
    for candidate in available():
        if candidate.name == name:
            return candidate
    raise UsageError(f"no peer {name!r}; there are: {', '.join(p.name for p in available())}")
