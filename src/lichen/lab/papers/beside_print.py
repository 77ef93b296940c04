"""What is measured of an experiment beside what its paper prints: BD-rates, seconds, bits of y and z."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lichen.errors import BadInput
from lichen.lab.evaluation.bdrate import delta
from lichen.lab.evaluation.curves import Curve, Points, find_points, load_points
from lichen.lab.evaluation.evaluate import file_name
from lichen.lab.papers.protocol import Comparison, Experiment, Reprint, Variant


def variant_line(variant: Variant, experiment: Experiment, results: Path, pictures: int) -> dict[str, Any]:
    """A variant's BD-rates and seconds for all `pictures` beside the paper's, from the summaries in `results`."""
    path = results / file_name(variant.name)
    times = json.loads(path.read_text())["results"]
    seconds = pictures * (_mean(times["encoding_time"]) + _mean(times["decoding_time"]))
    line: dict[str, Any] = {"name": variant.name, "over": variant.over, "seconds": round(seconds, 2)}
    line |= {"paper_seconds": variant.paper_s, "paper_percent": variant.paper_percent}
    line |= {"paper_ms_ssim_percent": variant.paper_ms_ssim_percent, "paper_derived": variant.derived}
    if variant.over:
        line |= _deltas(_anchor(variant.over, experiment, results), load_points(path), experiment.bpp_max)
    return line


def comparison_line(said: Comparison, experiment: Experiment, results: Path) -> dict[str, Any]:
    """What the paper's text says of two curves, beside ours."""
    test, anchor = load_points(results / file_name(said.test)), _anchor(said.anchor, experiment, results)
    line = {"name": said.test, "over": said.anchor, "paper_percent": said.paper_percent, "said": said.said}
    return line | {"by_ms_ssim": said.by_ms_ssim} | _deltas(anchor, test, experiment.bpp_max)


def reprint_line(line: Reprint, bpp_max: float | None) -> dict[str, Any]:
    """A line of the paper's table, recomputed over VTM from its published points."""
    by_psnr, by_ms_ssim = (
        _deltas(find_points("vtm"), find_points(curve), bpp_max)
        for curve in (line.curve, line.ms_ssim_curve or line.curve)
    )
    found = {key: value for key, value in by_psnr.items() if not key.startswith("ms_ssim")}
    found |= {key: value for key, value in by_ms_ssim.items() if key.startswith("ms_ssim")}
    printed = {"paper_percent": line.paper_percent, "paper_ms_ssim_percent": line.paper_ms_ssim_percent}
    return {"name": line.name, "curve": line.curve, **printed, **found}


def rate_lines(variant: Variant, results: Path) -> list[dict[str, Any]]:
    """The mean file's bits and the estimated bits of y and z of a variant, in bits per pixel, at each lambda."""
    means = json.loads((results / file_name(variant.name)).read_text())["results"]
    columns = zip(*(means[k] for k in ("quality", "bpp", "estimated-y-bpp", "estimated-z-bpp")), strict=True)
    return [
        {"variant": variant.name, "lambda": lam, "bpp": bpp, "y_bpp": y_bpp, "z_bpp": z_bpp}
        for lam, bpp, y_bpp, z_bpp in columns
    ]


def gains_of(variant: Variant, maps: Sequence[dict[str, Any]], results: Path) -> dict[str, Any]:
    """What the correlation loss brings at the rates of the plain model, and that model's correlation (Figure 13)."""
    assert variant.over is not None
    plain, better = (load_points(results / file_name(name)) for name in (variant.over, variant.name))
    correlation = {m["lambda"]: m["off_centre"] for m in maps if m["variant"] == variant.over}
    lambdas = json.loads((results / file_name(variant.over)).read_text())["results"]["quality"]
    measured = zip(plain.bpp, plain.psnr_db, lambdas, strict=True)
    points = [
        {"bpp": bpp, "gain_db": gain, "correlation": correlation[lam]}
        for bpp, psnr_db, lam in sorted(measured)
        if not math.isnan(gain := psnr_at(better, bpp) - psnr_db)
    ]
    return {"name": variant.over, "points": points}


def psnr_at(points: Points, bpp: float) -> float:
    """PSNR of a curve at a rate, linear in the logarithm of the rate; nan outside."""
    pairs = sorted(zip(points.bpp, points.psnr_db, strict=True))
    for (a, low), (b, high) in itertools.pairwise(pairs):
        if a <= bpp <= b and a < b:
            return low + (high - low) * math.log(bpp / a) / math.log(b / a)
    return math.nan


def _anchor(name: str, experiment: Experiment, results: Path) -> Points:
    """A variant's points, or a published curve."""
    trained = name in {v.name for v in experiment.variants}
    return load_points(results / file_name(name)) if trained else find_points(name)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _deltas(anchor: Points, test: Points, bpp_max: float | None) -> dict[str, Any]:
    """BD-rates by PSNR and MS-SSIM, or why there is none."""
    found: dict[str, Any] = {}
    for key, of in (("percent", Points.by_psnr), ("ms_ssim_percent", Points.by_ms_ssim)):
        try:
            curves: list[Curve] = [of(anchor), of(test)]
            pair = curves if bpp_max is None else [curve.up_to(bpp_max) for curve in curves]
            found[key] = round(delta(*pair).rate_percent, 2)
        except BadInput as error:
            found[key], found[f"{key}_refused"] = None, str(error)
    return found
