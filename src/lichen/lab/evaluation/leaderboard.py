"""What a results folder says: finished curves, what was left out and why, deltas over every anchor."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
from scipy.interpolate import Akima1DInterpolator

from lichen.errors import BadInput
from lichen.lab.evaluation.bdrate import Delta, delta
from lichen.lab.evaluation.curves import Curve, Points, find_points, load_points
from lichen.lab.evaluation.data_set import KODAK, DataSet
from lichen.lab.evaluation.evaluate import TABLE, file_name
from lichen.lab.evaluation.measure import Row, Table
from lichen.lab.evaluation.peers import PEERS

SHOWN = (
    "vtm",
    "paper-elic2022_mse",
    "paper-cheng2020-checkerboard-6M_mse",
    "compressai-cheng2020-anchor_mse_cuda",
    "av1",
    "compressai-mbt2018_mse_cuda",
    "compressai-mbt2018-mean_mse_cuda",
    "bpg_444_x265_ycbcr",
    "hm",
    "compressai-bmshj2018-hyperprior_mse_cuda",
    "compressai-cheng2020-anchor_ms-ssim_cuda",
    "compressai-mbt2018-mean_ms-ssim_cuda",
    "compressai-bmshj2018-hyperprior_ms-ssim_cuda",
)  # published curves for Kodak that stand beside ours
_FOR_MS_SSIM = "_ms-ssim_cuda"  # ends the names of those trained for it: by PSNR they say nothing


class Kind(Enum):
    """Who a competitor is: a model of ours, a codec run here, or a curve that others published."""

    OURS = "ours"
    PEER = "peer"
    PUBLISHED = "published"


@dataclass(frozen=True)
class Measured:
    """What is known of a competitor that ran here: for each point its setting and seconds a picture."""

    settings: tuple[float, ...]
    encode_s: tuple[float, ...]
    decode_s: tuple[float, ...]
    versions: tuple[str, ...]
    crowded: bool  # whether more ran on the machine than it has processors
    cpu: str  # the processor of the seconds; empty where it was not kept


@dataclass(frozen=True)
class MeasuredCurve:
    """One line of the league. `key` is the name of its file; curves are None where there are none."""

    key: str
    kind: Kind
    points: Points
    psnr: Curve | None
    ms_ssim: Curve | None
    measured: Measured | None


@dataclass(frozen=True)
class Leaderboard:
    """All competitors of a results folder, the rows behind those measured here, and who was left out."""

    competitors: tuple[MeasuredCurve, ...]
    rows: tuple[Row, ...]
    left_out: tuple[str, ...]

    @property
    def pictures(self) -> tuple[str, ...]:
        return tuple(sorted({row.picture for row in self.rows}))

    def delta(self, anchor: MeasuredCurve, test: MeasuredCurve) -> Delta | None:
        """By PSNR; None where the curves cannot be compared."""
        return _delta(anchor.psnr, test.psnr)

    def delta_ms_ssim(self, anchor: MeasuredCurve, test: MeasuredCurve) -> Delta | None:
        """By MS-SSIM; None where the curves cannot be compared."""
        return _delta(anchor.ms_ssim, test.ms_ssim)


def _delta(anchor: Curve | None, test: Curve | None) -> Delta | None:
    if anchor is None or test is None:
        return None
    try:
        return delta(anchor, test)
    except BadInput:
        return None


def read_league(folder: Path) -> Leaderboard:
    """Read what `lichen eval` wrote. Published curves join when the pictures are Kodak's.

    Raises `BadInput` when there is no finished evaluation.
    """
    path = folder / TABLE
    if not path.is_file():
        raise BadInput(f"{folder}: no {TABLE} in it; make one with lichen eval")
    table = Table(path)
    pictures = {row.picture for row in table.rows.values()}
    found: list[MeasuredCurve] = []
    left_out: list[str] = []
    for name in dict.fromkeys(row.model for row in table.rows.values()):
        try:
            found.append(_measured(folder / file_name(name), name, table.of(name), pictures))
        except BadInput as error:
            left_out.append(str(error))
    if not found:
        raise BadInput(f"{folder}: no finished evaluation in it ({'; '.join(left_out) or 'an empty table'})")
    if DataSet.of({row.picture: row.pixels for row in table.rows.values()}.values()) == KODAK:
        found += [_published(name) for name in SHOWN]
    left_out += [line for competitor in found for line in competitor.points.left_out]
    names = {competitor.points.name for competitor in found}
    return Leaderboard(tuple(found), tuple(r for r in table.rows.values() if r.model in names), tuple(left_out))


def _measured(path: Path, name: str, rows: list[Row], pictures: set[str]) -> MeasuredCurve:
    if not path.exists():
        raise BadInput(f"{name}: an unfinished run; finish it with the same lichen eval")
    lacking = pictures - {row.picture for row in rows}
    if lacking:
        raise BadInput(
            f"{name}: measured on {len(pictures) - len(lacking)} of {len(pictures)} pictures; measure it on all"
        )
    points = load_points(path, name)
    try:
        measured = _facts(json.loads(path.read_text(encoding="utf-8")), len(points.bpp))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInput(
            f"{path}: not a summary of lichen eval ({error!r}); remove it, and the same lichen eval writes it anew"
        ) from error
    if set(measured.versions) != {row.version for row in rows}:
        raise BadInput(f"{name}: its summary is of other weights than its rows; measure it with lichen eval --replace")
    kind = Kind.PEER if name in {peer.name for peer in PEERS} else Kind.OURS
    return _competitor(path.stem, kind, points, measured)


def _facts(data: dict[str, Any], points: int) -> Measured:
    """What a summary says beside the points. Raises what a missing or strange figure raises."""
    keys, meta = ("quality", "encoding_time", "decoding_time"), data["meta"]
    settings, encode_s, decode_s = (tuple(float(value) for value in data["results"][key]) for key in keys)
    if not len(settings) == len(encode_s) == len(decode_s) == points:
        raise ValueError("its lists are of different lengths")
    crowded = meta.get("load_average", 0) > meta.get("cpus", 1) + 1
    return Measured(settings, encode_s, decode_s, tuple(map(str, meta["versions"])), crowded, str(meta.get("cpu", "")))


def _published(name: str) -> MeasuredCurve:
    points = find_points(name)
    points = replace(points, psnr_db=()) if name.endswith(_FOR_MS_SSIM) else points
    return _competitor(name, Kind.PUBLISHED, points, None)


def _competitor(key: str, kind: Kind, points: Points, measured: Measured | None) -> MeasuredCurve:
    by_psnr, by_ms_ssim = (_rising(points, quality) for quality in (points.psnr_db, points.ms_ssim_db))
    return MeasuredCurve(key, kind, points, by_psnr, by_ms_ssim, measured)


def _rising(points: Points, quality_db: tuple[float, ...]) -> Curve | None:
    """Without points of infinite quality, and a peer's last settings that add bytes for nothing.

    None when too little is left.
    """
    try:
        return Curve.rising(points.name, points.finite(quality_db), points.data_set)
    except BadInput:
        return None


def log_rates(curve: Curve, grid: np.ndarray) -> list[float | None]:
    """log10 of the bits per pixel at each quality of `grid` in dB (Akima, as the deltas); None outside."""
    found = Akima1DInterpolator(curve.quality_db, np.log10(curve.bpp))(grid)
    return [None if np.isnan(value) else round(float(value), 5) for value in found]
