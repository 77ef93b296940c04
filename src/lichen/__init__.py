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
from lichen.options import Crop, EncodeOptions, FirstGroups, Tune
from lichen.version import __version__

if TYPE_CHECKING:
    from PIL import Image

    from lichen.codec import Codec
    from lichen.inputs import AnyPicture

__all__ = ["Codec", "EncodeOptions", "FirstGroups", "LichenError", "Tune", "__version__", "decode", "encode"]


@functools.cache
def _default() -> Codec:
    from lichen.codec import Codec

    return Codec()


def encode(
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
    """A picture as the bytes of a `.lic` file, by the default model; all as in `Codec.encode`."""
    options = EncodeOptions(
        quality=quality,
        target_size_bytes=target_size_bytes,
        target_bpp=target_bpp,
        target_psnr_db=target_psnr_db,
        effort=effort,
        refine_steps=refine_steps,
        filtered=filtered,
    )
    return _default().encode_with(picture, options)


def decode(data: bytes, crop: Crop | None = None, first: FirstGroups | None = None) -> Image.Image:
    """The bytes of a `.lic` file as a Pillow image; all as in `Codec.decode`."""
    return _default().decode(data, crop, first)


def __getattr__(name: str) -> Any:
    """Load `Codec` only when it is wanted."""
    if name == "Codec":
        from lichen.codec import Codec

        return Codec
    raise AttributeError(f"module 'lichen' has no attribute {name!r}")
