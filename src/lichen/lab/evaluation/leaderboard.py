"""The codecs of a results folder: their curves, their deltas over each other, what was left out and why."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
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
from lichen.lab.evaluation.peers import PEERS
from lichen.lab.evaluation.results_table import Measurement, ResultsTable

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
_REQUIRED = {"settings": "quality", "encode_s": "encoding_time", "decode_s": "decoding_time"}  # field: its key
_SINCE_ADDED = {
    "encode_median_s": "encoding_time_median",
    "decode_median_s": "decoding_time_median",
    "estimated_y_bpp": "estimated-y-bpp",
    "estimated_z_bpp": "estimated-z-bpp",
}


class Origin(Enum):
    """Where a curve comes from: a model of ours, a peer that ran beside it, or a publication."""

    OURS = "ours"
    PEER = "peer"
    PUBLISHED = "published"


@dataclass(frozen=True)
class RunFacts:
    """What a summary of `lichen eval` says beside the points: by point settings, seconds a picture, bits of y and z.

    `encode_s` and `decode_s` are means, `encode_median_s` and `decode_median_s` medians over pictures, nan in older
    summaries. `estimated_y_bpp` and `estimated_z_bpp` are nan where there is no estimate. `crowded`: more ran on the
    machine than it has processors. `cpu` is the processor of the seconds, empty where it was not kept.
    """

    settings: tuple[float, ...]
    encode_s: tuple[float, ...]
    decode_s: tuple[float, ...]
    encode_median_s: tuple[float, ...]
    decode_median_s: tuple[float, ...]
    estimated_y_bpp: tuple[float, ...]
    estimated_z_bpp: tuple[float, ...]
    versions: tuple[str, ...]
    crowded: bool
    cpu: str


@dataclass(frozen=True)
class CodecCurves:
    """A codec's line of the leaderboard: its points, and its curves by PSNR and MS-SSIM where it has them.

    `key` is the name of its file without ending; `run` is known of codecs that were measured.
    """

    key: str
    origin: Origin
    points: Points
    psnr: Curve | None
    ms_ssim: Curve | None
    run: RunFacts | None


@dataclass(frozen=True)
class Leaderboard:
    """The codecs of a results folder, the measurements of those that ran, and why others were left out."""

    codecs: tuple[CodecCurves, ...]
    rows: tuple[Measurement, ...]
    left_out: tuple[str, ...]

    @property
    def pictures(self) -> tuple[str, ...]:
        """Names of the pictures that were measured."""
        return tuple(sorted({row.picture for row in self.rows}))

    def anchor(self, key: str) -> CodecCurves:
        """The codec of that key; else the first measured one with a curve by PSNR, else the first."""
        ran = [codec for codec in self.codecs if codec.run]
        there = [codec for codec in self.codecs if codec.key == key]
        return [*there, *(codec for codec in ran if codec.psnr), *ran][0]

    def delta(self, anchor: CodecCurves, test: CodecCurves) -> Delta | None:
        """BD-rate and BD-PSNR; None where the curves cannot be compared."""
        return _delta(anchor.psnr, test.psnr)

    def delta_ms_ssim(self, anchor: CodecCurves, test: CodecCurves) -> Delta | None:
        """The same by MS-SSIM in dB."""
        return _delta(anchor.ms_ssim, test.ms_ssim)


def _delta(anchor: Curve | None, test: Curve | None) -> Delta | None:
    if anchor is None or test is None:
        return None
    try:
        return delta(anchor, test)
    except BadInput:
        return None


def read_leaderboard(folder: Path, published: Sequence[str] | None = None) -> Leaderboard:
    """Read what `lichen eval` wrote, and the `published` curves of these names beside it.

    None: those that are usually shown for Kodak, where the pictures are Kodak's, and no others.
    Raises `BadInput` when there is no finished evaluation.
    """
    path = folder / TABLE
    if not path.is_file():
        raise BadInput(f"{folder}: no {TABLE} in it; make one with lichen eval")
    table = ResultsTable(path)
    pictures = {row.picture for row in table.rows.values()}
    found: list[CodecCurves] = []
    left_out: list[str] = []
    for name in dict.fromkeys(row.model for row in table.rows.values()):
        try:
            found.append(_measured(folder / file_name(name), name, table.of(name), pictures))
        except BadInput as error:
            left_out.append(str(error))
    if not found:
        raise BadInput(f"{folder}: no finished evaluation in it ({'; '.join(left_out) or 'an empty table'})")
    if published is None:
        of_kodak = DataSet.of({row.picture: row.pixels for row in table.rows.values()}.values()) == KODAK
        published = SHOWN if of_kodak else ()
    found += [_published(name) for name in published]
    left_out += [line for codec in found for line in codec.points.left_out]
    names = {codec.points.name for codec in found}
    return Leaderboard(tuple(found), tuple(r for r in table.rows.values() if r.model in names), tuple(left_out))


def _measured(path: Path, name: str, rows: list[Measurement], pictures: set[str]) -> CodecCurves:
    if not path.exists():
        raise BadInput(f"{name}: an unfinished run; finish it with the same lichen eval")
    lacking = pictures - {row.picture for row in rows}
    if lacking:
        raise BadInput(
            f"{name}: measured on {len(pictures) - len(lacking)} of {len(pictures)} pictures; measure it on all"
        )
    points = load_points(path, name)
    try:
        run = _facts(json.loads(path.read_text(encoding="utf-8")), len(points.bpp))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInput(
            f"{path}: not a summary of lichen eval ({error!r}); remove it, and the same lichen eval writes it anew"
        ) from error
    if set(run.versions) != {row.version for row in rows}:
        raise BadInput(f"{name}: its summary is of other weights than its rows; measure it with lichen eval --replace")
    origin = Origin.PEER if name in {peer.name for peer in PEERS} else Origin.OURS
    return _curves_of(path.stem, origin, points, run)


def _facts(data: dict[str, Any], points: int) -> RunFacts:
    """What a summary says beside the points. Raises what a missing or strange figure raises."""
    results, meta = data["results"], data["meta"]
    lists = {name: tuple(float(value) for value in results[key]) for name, key in _REQUIRED.items()}
    for name, key in _SINCE_ADDED.items():
        values = results.get(key, [None] * points)
        lists[name] = tuple(math.nan if value is None else float(value) for value in values)
    if {len(values) for values in lists.values()} != {points}:
        raise ValueError("its lists are of different lengths")
    crowded = meta.get("load_average", 0) > meta.get("cpus", 1) + 1
    return RunFacts(**lists, versions=tuple(map(str, meta["versions"])), crowded=crowded, cpu=str(meta.get("cpu", "")))


def _published(name: str) -> CodecCurves:
    points = find_points(name)
    points = replace(points, psnr_db=()) if name.endswith(_FOR_MS_SSIM) else points
    return _curves_of(name, Origin.PUBLISHED, points, None)


def _curves_of(key: str, origin: Origin, points: Points, run: RunFacts | None) -> CodecCurves:
    by_psnr, by_ms_ssim = (_rising(points, quality) for quality in (points.psnr_db, points.ms_ssim_db))
    return CodecCurves(key, origin, points, psnr=by_psnr, ms_ssim=by_ms_ssim, run=run)


def _rising(points: Points, quality_db: tuple[float, ...]) -> Curve | None:
    """Without points of infinite quality, and a peer's last settings that add bytes for nothing.

    None when too little is left.
    """
    try:
        return Curve.rising(points.name, points.finite(quality_db), points.data_set)
    except BadInput:
        return None


def log_rates(curve: Curve, grid: np.ndarray) -> list[float | None]:
    """log10 of the bits per pixel at each quality of `grid` (n,) in dB, by Akima as in deltas; None outside a curve."""
    found = Akima1DInterpolator(curve.quality_db, np.log10(curve.bpp))(grid)
    return [None if np.isnan(value) else round(float(value), 5) for value in found]
