"""Rate-distortion points as the field stores them, and the rising curves that can be compared."""

from __future__ import annotations

import difflib
import itertools
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lichen.errors import BadInput
from lichen.lab.evaluation.data_set import PUBLISHED_SETS, UNKNOWN, DataSet
from lichen.metrics import decibels

PUBLISHED = Path(__file__).resolve().parent / "published_curves"
POINTS_MIN = 4

_LABELS = {
    "av1": "AV1",
    "bpg_444_x265_ycbcr": "BPG 4:4:4",
    "hm": "HM",
    "vtm": "VTM",
    "jpeg": "JPEG, published",
    "jpeg2000": "JPEG 2000, published",
    "webp": "WebP, published",
    "paper-elic2022_mse": "ELIC (MSE), paper",
    "paper-elic2022_ms-ssim": "ELIC (MSE) by MS-SSIM, paper",  # not another training: published_curves/README.md
    "paper-cheng2020-checkerboard-6M_mse": "Cheng + checkerboard (MSE), paper",
    "compressai-cheng2020-anchor_mse_cuda": "Cheng AR (MSE), CompressAI",
    "compressai-cheng2020-anchor_ms-ssim_cuda": "Cheng AR (MS-SSIM), CompressAI",
    "compressai-mbt2018_mse_cuda": "Minnen AR (MSE), CompressAI",
    "compressai-mbt2018-mean_mse_cuda": "Minnen HP (MSE), CompressAI",
    "compressai-mbt2018-mean_ms-ssim_cuda": "Minnen HP (MS-SSIM), CompressAI",
    "compressai-bmshj2018-hyperprior_mse_cuda": "Ballé HP (MSE), CompressAI",
    "compressai-bmshj2018-hyperprior_ms-ssim_cuda": "Ballé HP (MS-SSIM), CompressAI",
}


@dataclass(frozen=True)
class Curve:
    """Bits per pixel and a quality in dB, four points or more, both rising."""

    name: str
    bpp: tuple[float, ...]
    quality_db: tuple[float, ...]
    data_set: DataSet = UNKNOWN

    @staticmethod
    def of(name: str, points: list[tuple[float, float]], data_set: DataSet = UNKNOWN) -> Curve:
        """A curve of (bpp, dB) points in any order. Raises `BadInput` when quality does not rise with rate."""
        ordered = sorted(points)
        if len(ordered) < POINTS_MIN:
            raise BadInput(
                f"{name}: {len(ordered)} points are too few for a curve; measure {POINTS_MIN} or leave fewer out"
            )
        for (bpp, db), (more, better) in itertools.pairwise(ordered):
            if more <= bpp or better <= db:
                raise BadInput(
                    f"{name}: is not a curve, {better:.3f} dB at {more:.4f} bpp follows {db:.3f} dB at {bpp:.4f}; "
                    "leave out the points that cost more and give less"
                )
        if ordered[0][0] <= 0 or not np.isfinite(ordered).all():
            raise BadInput(f"{name}: rates must be positive and all values finite; measure it anew")
        rates, quality = zip(*ordered, strict=True)
        return Curve(name, tuple(rates), tuple(quality), data_set)

    @staticmethod
    def rising(name: str, points: list[tuple[float, float]], data_set: DataSet = UNKNOWN) -> Curve:
        """`of`, without the points that cost no less than another and are no better."""
        kept: list[tuple[float, float]] = []
        for bpp, db in sorted(points, key=lambda p: (p[0], -p[1])):
            if not kept or db > kept[-1][1]:
                kept.append((bpp, db))
        return Curve.of(name, kept, data_set)

    def up_to(self, bpp_max: float) -> Curve:
        """The part of at most this rate."""
        kept = [p for p in zip(self.bpp, self.quality_db, strict=True) if p[0] <= bpp_max]
        return Curve.of(self.name, kept, self.data_set)


@dataclass(frozen=True)
class Points:
    """Mean results of a codec over a data set, one entry a quality; an empty tuple where a measure was not taken.

    nan and inf stand for what no curve can have: a picture too small for MS-SSIM, one that came back exactly.
    `ms_ssim_db` is -10 log10(1 - MS-SSIM).
    """

    name: str
    bpp: tuple[float, ...]
    psnr_db: tuple[float, ...] = ()
    ms_ssim_db: tuple[float, ...] = ()
    data_set: DataSet = UNKNOWN

    def by_psnr(self) -> Curve:
        """The curve by PSNR. Raises `BadInput` when there is none, or it does not rise with the rate."""
        return Curve.of(self.name, self._pairs(self.psnr_db, "PSNR"), self.data_set)

    def by_ms_ssim(self) -> Curve:
        """The curve by MS-SSIM in dB. Raises `BadInput` when there is none, or it does not rise with the rate."""
        return Curve.of(self.name, self._pairs(self.ms_ssim_db, "MS-SSIM"), self.data_set)

    @property
    def left_out(self) -> tuple[str, ...]:
        """Sentences on the points that curves lack; none on MS-SSIM where the pictures are too small for it."""
        psnr, ms_ssim = (sum(not math.isfinite(db) for db in each) for each in (self.psnr_db, self.ms_ssim_db))
        missing = {"PSNR": psnr, "MS-SSIM": ms_ssim if ms_ssim < len(self.bpp) else 0}
        return tuple(
            f"{self.name}: {count} of {len(self.bpp)} points by {what}, which is infinite there: "
            "a picture came back exactly"
            for what, count in missing.items()
            if count
        )

    def finite(self, quality: tuple[float, ...]) -> list[tuple[float, float]]:
        """(bpp, dB) of the points that a curve can have."""
        return [pair for pair in zip(self.bpp, quality, strict=False) if math.isfinite(pair[1])]

    def _pairs(self, quality: tuple[float, ...], what: str) -> list[tuple[float, float]]:
        if not quality:
            raise BadInput(f"{self.name}: has no {what}; take another curve or measure")
        pairs = self.finite(quality)
        if not pairs:
            raise BadInput(
                f"{self.name}: at no point the mean {what} is finite: a picture came back exactly each time, or is too "
                "small; measure without it"
            )
        return pairs


def load_points(path: Path, name: str | None = None) -> Points:
    """Read {"name", "results": {"bpp", "psnr-rgb", "ms-ssim-rgb" or "ms-ssim-db-rgb"}}. Raises `BadInput`."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        results: dict[str, Any] = data["results"]
        bpp = tuple(float(v) for v in results["bpp"])
        psnr = _floats(results.get("psnr-rgb", results.get("psnr", [])))
        similarity = results.get("ms-ssim-rgb", results.get("ms-ssim", []))
        in_db = _floats(results.get("ms-ssim-db-rgb", [])) or tuple(decibels(v) for v in _floats(similarity))
        of = _published_set(path) or DataSet.of_meta(data.get("meta"))
        points = Points(name or str(data.get("name", path.stem)), bpp, psnr, in_db, data_set=of)
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadInput(
            f"{path}: not a results file of the field's format ({error!r}); see docs/benchmark.md"
        ) from error
    if any(quality and len(quality) != len(bpp) for quality in (psnr, in_db)):
        raise BadInput(f"{path}: its lists are of different lengths; write it anew")
    return points


def _published_set(path: Path) -> DataSet | None:
    """Packaged curves do not say which pictures they are of; their folder does."""
    folder = path.resolve().parent
    return PUBLISHED_SETS[folder.name] if folder.parent == PUBLISHED else None


def _floats(values: list[float | None]) -> tuple[float, ...]:
    return tuple(math.nan if v is None else float(v) for v in values)


def published_names() -> list[str]:
    """Names of the packaged curves: `vtm` for Kodak's, `clic2020-professional/vtm` for others."""
    paths = sorted(PUBLISHED.glob("*/*.json"))
    return [p.stem if p.parent.name == "kodak" else f"{p.parent.name}/{p.stem}" for p in paths]


def find_points(text: str) -> Points:
    """The curve that a person names: a file, or a packaged one. Raises `BadInput` with near names."""
    path = Path(text)
    if path.suffix == ".json" or path.is_file():
        return load_points(path)
    names = published_names()
    if text not in names:
        near = [name for name in names if text and text in name] or difflib.get_close_matches(text, names, n=3)
        hint = f"; did you mean {' or '.join(near[:4])}?" if near else ""
        raise BadInput(f"{text}: no such file or published curve{hint} (`lichen bdrate --list` names all)")
    folder = PUBLISHED if "/" in text else PUBLISHED / "kodak"
    return load_points(folder / f"{text}.json", label_of(text))


def label_of(name: str) -> str:
    """What a published curve is called in tables, by the name of its file."""
    folder, _, stem = name.rpartition("/")
    label = _LABELS.get(stem, stem)
    return f"{label} ({folder})" if folder else label
