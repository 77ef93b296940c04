"""The work on one picture: encode it or decode it, within the memory that there is, from file to file or in memory."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from PIL import Image

from lichen.batch.budget import MemoryBudget
from lichen.batch.tasks import STANDARD, Done, Task, check_ends, is_stream
from lichen.bitstream.fields import Cursor, read_header
from lichen.codec import Codec, OpenFile
from lichen.errors import OutputError
from lichen.image.files import read_whole, write_atomically
from lichen.image.picture import Picture, grey_of, open_picture, picture_size, to_pil
from lichen.image.rendering import JPEG_QUALITY, render
from lichen.metrics import psnr_db
from lichen.options import DecodeOptions, EncodeOptions
from lichen.runtime.memory import program_bytes

_HEAD_BYTES = 64  # of a .lic file: more than its header has
Save = Callable[[bytes], None]


@dataclass(frozen=True)
class Converted:
    """A result that was saved: its size in bytes and pixels, what is to be said of it, its PSNR if that was asked for.

    `seconds` are those of the work, waiting for memory left out.
    """

    size_bytes: int
    width: int
    height: int
    notices: tuple[str, ...]
    seconds: float
    psnr_db: float | None = None


class Work(Protocol):
    """What is done with each picture; those that are worked on at once share its budget. Can be sent to processes."""

    @property
    def budget(self) -> MemoryBudget:
        """The memory that it shares with others at work."""

    def __call__(self, task: Task) -> Done:
        """From file to file. Raises `LichenError` where it cannot be done."""

    def convert(self, data: bytes, ending: str, save: Save) -> Converted:
        """The bytes of a file become those of another, with this ending, which `save` gets. Raises `LichenError`."""

    def needed_bytes(self, source: Path | bytes) -> int:
        """The memory beside the program's for a file, by its head alone. Raises `LichenError`, `OSError`."""


@dataclass(frozen=True)
class Encode:
    """Encodes pictures; with `force` outputs that exist are replaced, if `measured` each is decoded for its PSNR."""

    codec: Codec
    budget: MemoryBudget
    options: EncodeOptions
    force: bool = False
    measured: bool = False

    def __call__(self, task: Task) -> Done:
        return _from_file(self, task, self.force)

    def convert(self, data: bytes, ending: str, save: Save) -> Converted:
        """A picture's file as a .lic file. Raises as `Codec.encode`."""
        with self.budget.reserve(self.needed_bytes(data)):
            begun = time.perf_counter()
            picture = open_picture(data, None)
            coded = self.codec.encode_picture(picture, self.options)
            measured = self._psnr_db(picture, coded) if self.measured else None
        save(coded)
        height, width = picture.pixels.shape[:2]
        return Converted(
            len(coded), width, height, picture.notices, seconds=time.perf_counter() - begun, psnr_db=measured
        )

    def needed_bytes(self, source: Path | bytes) -> int:
        """By what Pillow reads of a picture's head. Raises as `Codec.encode`."""
        refined = self.options.refine_steps > 0
        return self.codec.memory_to_encode_bytes(*picture_size(source), refined) - program_bytes()

    def _psnr_db(self, picture: Picture, coded: bytes) -> float:
        seen = (picture.pixels, self.codec.decode_picture(coded).pixels)
        return psnr_db(*(grey_of(pixels) if picture.grey else pixels for pixels in seen))


@dataclass(frozen=True)
class Decode:
    """Decodes files, or what `options` ask of them, into what the target's ending (or `ending`) says."""

    codec: Codec
    budget: MemoryBudget
    options: DecodeOptions
    ending: str
    force: bool = False
    jpeg_quality: int = JPEG_QUALITY

    def __call__(self, task: Task) -> Done:
        return _from_file(self, task, self.force)

    def convert(self, data: bytes, ending: str, save: Save) -> Converted:
        """A .lic file as a picture's. Raises as `Codec.decode`."""
        file = self.codec.open_file(data, self.options.first)
        with self.budget.reserve(file.memory_bytes - program_bytes()):
            begun = time.perf_counter()
            image, said = self._decoded(file)
            rendered, notices = render(image, ending or self.ending, self.jpeg_quality)
            save(rendered)
        return Converted(len(rendered), *image.size, said + notices, time.perf_counter() - begun)

    def needed_bytes(self, source: Path | bytes) -> int:
        """By a file's header, before its checksums are looked at. Raises as `Codec.decode`."""
        return self.codec.memory_to_decode_bytes(_head(source)) - program_bytes()

    def _decoded(self, file: OpenFile) -> tuple[Image.Image, tuple[str, ...]]:
        """What was asked for, and what is to be said of it."""
        if self.options.thumbnail:
            return file.thumbnail(), ()
        picture = file.picture(self.options.crop)
        return to_pil(picture), picture.notices


def coded_size(source: Path) -> tuple[int, int]:
    """Width and height in pixels of a .lic file, by its header. Raises `BadFile`, `UnsupportedFile`, `OSError`."""
    header = read_header(Cursor(_head(source)))
    return header.width, header.height


def _head(source: Path | bytes) -> bytes:
    if isinstance(source, bytes):
        return source[:_HEAD_BYTES]
    with source.open("rb") as file:
        return file.read(_HEAD_BYTES)


def _from_file(work: Work, task: Task, force: bool) -> Done:
    """What work does with the file of a task, whose result becomes its target."""
    check_ends(task, force)
    data = read_whole(task.source)
    made = work.convert(data, task.target.suffix, lambda result: _write(task, result, force))
    size = made.size_bytes, made.width, made.height
    return Done(task, len(data), *size, notices=made.notices, psnr_db=made.psnr_db, seconds=made.seconds)


def _write(task: Task, data: bytes, force: bool) -> None:
    """The result, with the permissions and times of its input where both are files."""
    path = task.target
    if path != STANDARD and not is_stream(path):
        write_atomically(path, data, overwrite=force, like=task.source if task.source.is_file() else None)
        return
    name = "standard output" if path == STANDARD else str(path)
    try:
        if path == STANDARD:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
        else:
            with path.open("wb") as file:
                file.write(data)
    except (OSError, AttributeError) as error:
        raise OutputError(f"{name} cannot be written: {error}") from error
