"""Training pictures: decoded once, kept as uint8 in memory, cropped and flipped there."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lichen.errors import BadData

ENDINGS = {".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".ppm"}


def list_pictures(folder: Path) -> list[Path]:
    """All picture files below `folder`, sorted. Raises `BadData` when there are none."""
    if not folder.is_dir():
        raise BadData(f"{folder}: no such folder; give a folder of pictures")
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in ENDINGS and p.is_file())
    if not paths:
        raise BadData(f"{folder}: no pictures in it ({', '.join(sorted(ENDINGS))})")
    return paths


def _load(path: Path) -> Tensor | None:
    try:
        with Image.open(path) as picture:
            return torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1)
    except (OSError, ValueError, Image.DecompressionBombError):
        return None


@dataclass(frozen=True)
class Crops:
    """Random crops of a folder's pictures, a pure function of (seed, step): resuming needs no state.

    `pictures` are (3, H, W) uint8; `unreadable` counts files left out. Pictures are drawn in
    proportion to their area; those smaller than the crop are mirrored to fit.
    """

    pictures: list[Tensor]
    unreadable: int

    @staticmethod
    def of_folder(folder: Path) -> Crops:
        """Decode every picture below `folder`. Raises `BadData` when none can be read."""
        paths = list_pictures(folder)
        with ThreadPoolExecutor() as pool:
            loaded = list(pool.map(_load, paths))
        pictures = [picture for picture in loaded if picture is not None]
        if not pictures:
            raise BadData(f"{folder}: none of its {len(paths)} pictures can be read")
        return Crops(pictures, len(paths) - len(pictures))

    def batch(self, seed: int, step: int, count: int, size: int) -> Tensor:
        """`count` crops as (count, 3, size, size) float32 in [0, 1], randomly mirrored."""
        rng = np.random.default_rng((seed, step))
        areas = np.array([p.shape[1] * p.shape[2] for p in self.pictures], dtype=np.float64)
        chosen = rng.choice(len(self.pictures), size=count, p=areas / areas.sum())
        return torch.stack([_crop(self.pictures[i], size, rng) for i in chosen]).float() / 255


def _crop(picture: Tensor, size: int, rng: np.random.Generator) -> Tensor:
    short = max(size - picture.shape[1], 0), max(size - picture.shape[2], 0)
    if any(short):
        padded = np.pad(picture.numpy(), ((0, 0), (0, short[0]), (0, short[1])), mode="symmetric")
        picture = torch.from_numpy(padded)
    top = int(rng.integers(picture.shape[1] - size + 1))
    left = int(rng.integers(picture.shape[2] - size + 1))
    crop = picture[:, top : top + size, left : left + size]
    if rng.random() < 0.5:
        crop = crop.flip(2)
    return crop.transpose(1, 2) if rng.random() < 0.25 else crop
