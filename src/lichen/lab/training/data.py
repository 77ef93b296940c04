"""Training pictures: found in a folder, decoded once into memory or for each crop, cropped and mirrored."""

from __future__ import annotations

import contextlib
import enum
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from lichen.errors import BadData, BadInput
from lichen.image.picture import CROP_IT, Picture, from_pil, open_picture
from lichen.runtime.memory import machine_bytes

ENDINGS = {".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".ppm"}
TRIES, TRIES_BY_AREA = 100, 10  # of pictures for a crop, where some cannot be read after all
T = TypeVar("T")
VIMEO = {"sep_trainlist.txt": 7, "tri_trainlist.txt": 3}  # Vimeo-90k's lists: frames in each sequence


def list_pictures(folder: Path) -> list[Path]:
    """The paths of all picture files below `folder`, sorted. Raises `BadData` when there are none."""
    if not folder.is_dir():
        raise BadData(f"{folder}: no such folder; give a folder of pictures")
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in ENDINGS and p.is_file())
    if not paths:
        raise BadData(f"{folder}: no pictures in it ({', '.join(sorted(ENDINGS))})")
    return paths


def open_pictures(place: Path, limit: int) -> list[Picture]:
    """One picture file, or the first `limit` readable ones of a folder. Raises `BadPicture`, or `BadData` for none."""
    if place.is_file():
        return [open_picture(place, remedy=CROP_IT)]
    found: list[Picture] = []
    for path in list_pictures(place):
        with contextlib.suppress(BadInput):  # also one that is too large
            found.append(open_picture(path, remedy=CROP_IT))
        if len(found) == limit:
            break
    if not found:
        raise BadData(f"{place}: none of its pictures can be read")
    return found


def list_training_pictures(folder: Path) -> list[Path]:
    """The paths of the pictures of `folder` to train on, by its layout. Raises `BadData` when there are none.

    Vimeo-90k (Xue 2019): the frames of the sequences in its training list. CLIC, and others with a `train` folder
    beside `valid` or `test`: those in `train`. Otherwise all below it.
    """
    for name, frames in VIMEO.items():
        if (folder / name).is_file() and (folder / "sequences").is_dir():
            names = (folder / name).read_text().split()
            return [folder / "sequences" / n / f"im{i + 1}.png" for n in names for i in range(frames)]
    if (folder / "train").is_dir() and any((folder / other).is_dir() for other in ("valid", "val", "test")):
        return list_pictures(folder / "train")
    return list_pictures(folder)


class Cache(enum.Enum):
    """Where decoded training pictures are kept."""

    RAM = "ram"
    DEVICE = "device"  # on the GPU, where crops are cut too
    NONE = "none"  # decoded for each crop, a step ahead: for sets larger than memory


def _load(path: Path) -> Tensor | None:
    """(3, H, W) uint8, converted as a picture to be encoded is; None when it cannot be read."""
    return _read(path, lambda picture: torch.from_numpy(np.array(from_pil(picture).pixels)).permute(2, 0, 1))


def _size(path: Path) -> tuple[int, int] | None:
    """Width and height from the file's header; None when it cannot be read."""
    return _read(path, lambda picture: picture.size)


def _read(path: Path, use: Callable[[Image.Image], T]) -> T | None:
    try:
        with Image.open(path) as picture:
            return use(picture)
    except MemoryError:
        raise
    except Exception:  # Pillow's plugins raise many kinds on damaged files
        return None


def _check_memory(folder: Path, need_bytes: int) -> None:
    have_bytes = machine_bytes()
    if have_bytes is not None and need_bytes > 0.8 * have_bytes:
        raise BadData(
            f"{folder}: decoded it takes {need_bytes / 1e9:.0f} GB, more than this machine's memory; use --cache none"
        )


@dataclass(frozen=True)
class Crops:
    """Random square crops of pictures, each a pure function of (seed, step, index): resuming needs no state.

    Pictures are drawn in proportion to their area; those smaller than a crop are continued by their mirror image. Half
    of the crops are mirrored and a quarter is transposed. `fetch(i)` gives the i-th picture as (3, H, W) uint8, or None
    if it cannot be read after all: then another is drawn. `ends` are cumulated areas in pixels, `unreadable` is how
    many files were left out; `paths` (count,) are the files of the others.
    """

    fetch: Callable[[int], Tensor | None]
    ends: NDArray[np.int64]
    unreadable: int
    device: torch.device
    paths: Sequence[Path]

    @property
    def count(self) -> int:
        """How many pictures can be drawn."""
        return len(self.ends)

    @staticmethod
    def of_folder(folder: Path, cache: Cache = Cache.RAM, device: torch.device | None = None) -> Crops:
        """Crops of the pictures of a folder. Raises `BadData` when none can be read, or memory is too small."""
        device = device or torch.device("cpu")
        paths = list_training_pictures(folder)
        with ThreadPoolExecutor() as pool:
            sizes = list(pool.map(_size, paths))
            readable = [path for path, size in zip(paths, sizes, strict=True) if size is not None]
            areas = [size[0] * size[1] for size in sizes if size is not None]
            if cache is Cache.NONE:
                return Crops._of(lambda i: _load(readable[i]), areas, readable, folder, found=len(paths), device=device)
            _check_memory(folder, 3 * sum(areas))
            kept_on = device if cache is Cache.DEVICE else torch.device("cpu")
            loaded = [
                (p, x.to(kept_on)) for p, x in zip(readable, pool.map(_load, readable), strict=True) if x is not None
            ]
        areas = [picture.shape[1] * picture.shape[2] for _, picture in loaded]
        return Crops._of(
            lambda i: loaded[i][1], areas, [path for path, _ in loaded], folder, found=len(paths), device=device
        )

    @staticmethod
    def _of(
        fetch: Callable[[int], Tensor | None],
        areas: list[int],
        paths: list[Path],
        folder: Path,
        *,
        found: int,
        device: torch.device,
    ) -> Crops:
        if not paths:
            raise BadData(f"{folder}: none of its {found} pictures can be read")
        return Crops(fetch, np.cumsum(areas, dtype=np.int64), found - len(paths), device, paths=paths)

    def batch(self, seed: int, step: int, indexes: Iterable[int], size: int) -> Tensor:
        """The step's crops of these indexes: (n, 3, size, size) float32 in [0, 1] on the device. Raises `BadData`."""
        crops = [self._one(np.random.default_rng((seed, step, index)), size) for index in indexes]
        return torch.stack(crops).to(self.device).float() / 255

    def _one(self, rng: np.random.Generator, size: int) -> Tensor:
        failed: set[int] = set()
        for attempt in range(TRIES):
            by_area = attempt < TRIES_BY_AREA  # then all alike: a damaged file may claim to be larger than all others
            place = rng.integers(self.ends[-1]) if by_area else rng.integers(self.count)
            index = int(np.searchsorted(self.ends, place, side="right")) if by_area else int(place)
            picture = self.fetch(index)
            if picture is not None:
                return _crop(picture, size, rng)
            failed.add(index)
        named = ", ".join(str(self.paths[i]) for i in sorted(failed)[:3])
        raise BadData(f"{TRIES} pictures in a row could not be read, {named} among them; mend or remove them")


def _crop(picture: Tensor, size: int, rng: np.random.Generator) -> Tensor:
    for dim in (1, 2):
        if picture.shape[dim] < size:
            picture = picture.index_select(dim, _mirrored(picture.shape[dim], size).to(picture.device))
    top = int(rng.integers(picture.shape[1] - size + 1))
    left = int(rng.integers(picture.shape[2] - size + 1))
    crop = picture[:, top : top + size, left : left + size]
    if rng.random() < 0.5:
        crop = crop.flip(2)
    return crop.transpose(1, 2) if rng.random() < 0.25 else crop


def _mirrored(length: int, size: int) -> Tensor:
    """Indexes (size,) into a line of `length` pixels that is continued by its mirror image."""
    place = torch.arange(size) % (2 * length)
    return torch.minimum(place, 2 * length - 1 - place)
