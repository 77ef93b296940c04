"""The work on one picture: encode it or decode it, from a file to a file, within the memory that there is."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from PIL import Image

from lichen.batch.budget import MemoryBudget
from lichen.batch.tasks import STANDARD, Done, Task, check_ends, is_stream
from lichen.codec import Codec, OpenFile
from lichen.errors import OutputError
from lichen.image.files import read_whole, write_atomically
from lichen.image.picture import open_picture, picture_size, to_pil
from lichen.image.rendering import JPEG_QUALITY, render
from lichen.options import DecodeOptions, EncodeOptions
from lichen.runtime.memory import PROGRAM_BYTES

_HEAD_BYTES = 64  # of a .lic file: more than its header has


class Work(Protocol):
    """What is done with each task; pictures that are worked on at once share its budget."""

    @property
    def budget(self) -> MemoryBudget:
        """The memory that it shares with others at work."""

    def __call__(self, task: Task) -> Done:
        """Raises `LichenError` where it cannot be done."""

    def needed_bytes(self, source: Path) -> int:
        """The memory beside the program's for a file, by its head alone. Raises `LichenError`, `OSError`."""


@dataclass(frozen=True)
class Encode:
    """Encodes one task's picture; with `force` outputs that exist are replaced."""

    codec: Codec
    budget: MemoryBudget
    options: EncodeOptions
    force: bool = False

    def __call__(self, task: Task) -> Done:
        check_ends(task, self.force)
        raw = read_whole(task.source)
        size = len(raw)
        with self.budget.reserve(self._need_bytes(*picture_size(raw))):
            picture = open_picture(raw, self.codec.max_pixels)
            del raw
            data = self.codec.encode_picture(picture, self.options)
        _write(task, data, self.force)
        height, width = picture.pixels.shape[:2]
        return Done(task, size, len(data), width, height, notices=picture.notices)

    def needed_bytes(self, source: Path) -> int:
        """By what Pillow reads of a picture's head. Raises as `Codec.encode`."""
        return self._need_bytes(*picture_size(source))

    def _need_bytes(self, width: int, height: int) -> int:
        return self.codec.memory_to_encode_bytes(width, height, self.options.refine_steps > 0) - PROGRAM_BYTES


@dataclass(frozen=True)
class Decode:
    """Decodes one task's file, or what `options` ask of it, into what its target's ending (or `ending`) says."""

    codec: Codec
    budget: MemoryBudget
    options: DecodeOptions
    ending: str
    force: bool = False
    jpeg_quality: int = JPEG_QUALITY

    def __call__(self, task: Task) -> Done:
        check_ends(task, self.force)
        raw = read_whole(task.source)
        file = self.codec.open_file(raw, self.options.first)
        with self.budget.reserve(file.memory_bytes - PROGRAM_BYTES):
            image, said = self._decoded(file)
            data, notices = render(image, task.target.suffix or self.ending, self.jpeg_quality)
            _write(task, data, self.force)
        return Done(task, len(raw), len(data), *image.size, notices=said + notices)

    def needed_bytes(self, source: Path) -> int:
        """By a file's header, before its checksums are looked at. Raises as `Codec.decode`."""
        with source.open("rb") as file:
            return self.codec.memory_to_decode_bytes(file.read(_HEAD_BYTES)) - PROGRAM_BYTES

    def _decoded(self, file: OpenFile) -> tuple[Image.Image, tuple[str, ...]]:
        """What was asked for, and what is to be said of it."""
        if self.options.thumbnail:
            return file.thumbnail(), ()
        picture = file.picture(self.options.crop)
        return to_pil(picture), picture.notices


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
