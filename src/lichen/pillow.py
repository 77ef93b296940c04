"""Pillow plugin: after `import lichen.pillow`, `Image.open("a.lic")` and `image.save("a.lic")` work.

Opening reads the header and the metadata; the picture is decoded when its pixels are first needed. Saving takes
`quality` (0 ... 100), `target_size_bytes`, `target_bpp` or `target_psnr_db`, and keeps the image's profile, EXIF (as
`image.getexif()` says it now) and XMP unless `icc_profile`, `exif` or `xmp` give others (bytes, or an `Image.Exif`;
empty for none).
"""

from __future__ import annotations

from typing import IO, Any

from PIL import Image, ImageFile

from lichen.bitstream.container import Kind, read_container
from lichen.bitstream.fields import GREY, MAGIC
from lichen.errors import LichenError
from lichen.image.picture import from_pil
from lichen.image.sections import unpack_metadata
from lichen.inputs import notify
from lichen.options import EncodeOptions

_METADATA = ("icc_profile", "exif", "xmp")


class LicImageFile(ImageFile.ImageFile):
    """A `.lic` file as Pillow sees it."""

    format = "LIC"
    format_description = "Lichen"
    _data: bytes | None = None  # of an image that has its pixels, as one that was pickled

    def _open(self) -> None:
        self._data = self.fp.read()  # type: ignore[union-attr]
        try:
            container = read_container(self._data)
            self.info.update(unpack_metadata(container).info())
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
    given = {name: _bytes(options[name]) for name in _METADATA if options.get(name) is not None}
    try:
        asked = EncodeOptions(
            quality=options.get("quality", EncodeOptions.quality),
            target_size_bytes=options.get("target_size_bytes"),
            target_bpp=options.get("target_bpp"),
            target_psnr_db=options.get("target_psnr_db"),
        )
        picture = from_pil(image, given) if given else image
        for notice in getattr(picture, "notices", ()):
            notify(notice)
        file.write(lichen._default().encode_with(picture, asked))
    except LichenError as error:
        raise OSError(str(error)) from error


def _bytes(block: bytes | Image.Exif) -> bytes:
    return block.tobytes() if isinstance(block, Image.Exif) else block


Image.register_open(LicImageFile.format, LicImageFile, _accept)
Image.register_save(LicImageFile.format, _save)
Image.register_extension(LicImageFile.format, ".lic")
Image.register_mime(LicImageFile.format, "image/x-lichen")
