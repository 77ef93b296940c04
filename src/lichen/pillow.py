"""Pillow plugin: after `import lichen.pillow`, `Image.open("a.lic")` and `image.save("a.lic")` work.

Opening reads the header only; the picture is decoded when its pixels are first needed. Saving takes
`quality` (0 ... 100) or `target_size_bytes`.
"""

from __future__ import annotations

from typing import IO, Any

from PIL import Image, ImageFile

from lichen.bitstream.container import Kind, read_container
from lichen.bitstream.fields import GREY, MAGIC
from lichen.errors import LichenError


class LicImageFile(ImageFile.ImageFile):
    """A `.lic` file as Pillow sees it."""

    format = "LIC"
    format_description = "Lichen"

    def _open(self) -> None:
        self._data: bytes | None = self.fp.read()  # type: ignore[union-attr]
        try:
            container = read_container(self._data)
        except LichenError as error:
            raise SyntaxError(str(error)) from error
        grey, alpha = container.header.flags & GREY, Kind.ALPHA in container.sections
        self._mode = ("LA" if alpha else "L") if grey else ("RGBA" if alpha else "RGB")
        self._size = (container.header.width, container.header.height)
        self.tile = []

    def load(self) -> Image.core.PixelAccess | None:  # type: ignore[name-defined]
        """Decode, once."""
        if self._data is not None:
            import lichen

            try:
                decoded = lichen.decode(self._data)
            except LichenError as error:
                raise OSError(str(error)) from error
            self.im = decoded.im
            self.info.update(decoded.info)
            self._data = None
            if self._exclusive_fp and self.fp is not None:  # Pillow opened the file itself
                self.fp.close()
            self.fp = None
        return super().load()


def _accept(prefix: bytes) -> bool:
    return prefix.startswith(MAGIC)


def _save(image: Image.Image, file: IO[bytes], filename: str | bytes) -> None:
    import lichen

    options: dict[str, Any] = getattr(image, "encoderinfo", {})
    quality, target = options.get("quality", 50), options.get("target_size_bytes")
    try:
        file.write(lichen._default().encode(image, quality, target_size_bytes=target))
    except LichenError as error:
        raise OSError(str(error)) from error


Image.register_open(LicImageFile.format, LicImageFile, _accept)
Image.register_save(LicImageFile.format, _save)
Image.register_extension(LicImageFile.format, ".lic")
Image.register_mime(LicImageFile.format, "image/x-lichen")
