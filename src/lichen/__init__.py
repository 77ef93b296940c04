"""Lichen: learned image compression that one can really use.

    data = lichen.encode(picture, quality=50)   # Pillow image, numpy or torch -> bytes of a .lic file
    picture = lichen.decode(data)               # -> PIL.Image

For more than one picture make a `lichen.Codec`, which loads its weights once. `import
lichen.pillow` teaches Pillow to open and save `.lic`.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from lichen.errors import LichenError
from lichen.options import Tune
from lichen.version import __version__

if TYPE_CHECKING:
    from PIL import Image

    from lichen.codec import Codec
    from lichen.inputs import AnyPicture

__all__ = ["Codec", "LichenError", "Tune", "__version__", "decode", "encode"]


@functools.cache
def _default() -> Codec:
    from lichen.codec import Codec

    return Codec()


def encode(picture: AnyPicture, quality: float = 50) -> bytes:
    """A picture as the bytes of a `.lic` file, by the default model; see `Codec.encode`."""
    return _default().encode(picture, quality)


def decode(data: bytes) -> Image.Image:
    """The bytes of a `.lic` file as a Pillow image; see `Codec.decode`."""
    return _default().decode(data)


def __getattr__(name: str) -> Any:
    """Load `Codec`, and torch with it, only when it is wanted."""
    if name == "Codec":
        from lichen.codec import Codec

        return Codec
    raise AttributeError(f"module 'lichen' has no attribute {name!r}")
