"""`lichen report`: a results folder as one page, and as figures for papers."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lichen.codec import Codec
from lichen.errors import BadInput
from lichen.image.files import write_atomically
from lichen.image.picture import CROP_IT, Picture, open_picture, to_pil
from lichen.lab.evaluation.bdrate import Delta
from lichen.lab.evaluation.curves import PUBLISHED, Curve
from lichen.lab.evaluation.leaderboard import (
    CodecCurves,
    Leaderboard,
    Origin,
    RunFacts,
    log_rates,
    read_leaderboard,
)
from lichen.lab.evaluation.peers import PEERS, available
from lichen.lab.evaluation.summary import without_first
from lichen.lab.models.zoo import ZOO
from lichen.lab.reporting.compare import compare
from lichen.lab.reporting.figures import BPP_MAX, draw_figures, draw_gains
from lichen.lab.reporting.html import page
from lichen.lab.reporting.pairs import pair_data
from lichen.lab.reporting.palette import Style, Styles, styles_of

GAINS = "gains.json"  # what `lichen reproduce fig13` leaves in a results folder
_SCRIPTS = ("slider.js", "charts.js", "report.js")
_FIRST_SHOWN = frozenset({"jpeg-420", "webp", "avif", "heic", "jpeg-xl", "vtm", "paper-elic2022_mse"})
_LAYERS = {"JPEG 4:4:4", "AVIF 4:4:4 PSNR"}  # of codecs that look better at few bytes
_FACTS = ("jpeg-420", "webp", "avif", "avif-444-psnr", "heic", "jpeg-xl", "vtm")


@dataclass(frozen=True)
class ReportOptions:
    """What a report compares with.

    `anchor`: key of the codec that savings are over, where it is there. `published`: names of published curves to show
    beside the measured ones; None shows Kodak's where the pictures are Kodak's.
    """

    anchor: str = "vtm"
    published: tuple[str, ...] | None = None


DEFAULT_OPTIONS = ReportOptions()


def report(
    folder: Path, output: Path, pairs: list[dict[str, Any]], title: str, *, options: ReportOptions = DEFAULT_OPTIONS
) -> list[str]:
    """Write `output`/index.html and `output`/figures of the results in `folder`; gives what was left out.

    `pairs` are the slider's pictures (`pictures_at_equal_bytes`). Raises `BadInput`.
    """
    leaderboard = read_leaderboard(folder, options.published)
    gains = read_gains(folder / GAINS)
    styles = styles_of(leaderboard.codecs)
    anchor = leaderboard.anchor(options.anchor)
    data = _data(leaderboard, styles, anchor) | {"title": title, "gains": _gains(gains), "pictures": pairs}
    write_atomically(output / "index.html", page(title, "report.html", _SCRIPTS, data), overwrite=True)
    draw_figures(leaderboard, styles, anchor, output / "figures")
    draw_gains(gains, output / "figures")
    return list(leaderboard.left_out)


def pictures_at_equal_bytes(
    paths: Sequence[Path], codec: Codec, target_bpp: float, tell: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Each picture by Lichen at `target_bpp` and by every peer of this machine at no more bytes, for the slider.

    `tell` hears of each picture that is done, and of the peers that cannot code it.
    """
    found = []
    for path in paths:
        image = to_pil(Picture(open_picture(path, remedy=CROP_IT).pixels))
        peers = [peer for peer in available() if peer.name not in _LAYERS]
        encode = lambda picture: codec.encode(picture, target_bpp=target_bpp)  # noqa: E731
        results = compare(str(path), image, codec, encode, peers=peers, left_out=lambda why: tell(f"left out: {why}"))
        found.append(pair_data(path.stem, image, results))
        tell(f"{path.stem} by all codecs")
    return found


def read_gains(path: Path) -> list[dict[str, Any]]:
    """[{"name", "points": [{"bpp", "gain_db", "correlation"}]}], empty when there are none. Raises `BadInput`."""
    if not path.exists():
        return []
    try:
        gains = json.loads(path.read_text())["models"]
        return [
            {
                "name": str(g["name"]),
                "points": [{k: float(p[k]) for k in ("bpp", "gain_db", "correlation")} for p in g["points"]],
            }
            for g in gains
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{path}: not gains as lichen reproduce fig13 writes them ({error!r}); write it anew") from error


def _data(leaderboard: Leaderboard, styles: Styles, anchor: CodecCurves) -> dict[str, Any]:
    """What the page's script draws, but for title, gains and pictures."""
    codecs = leaderboard.codecs
    grid = _grid([c.psnr for c in codecs], 0.25)
    grid_ms = _grid([c.ms_ssim for c in codecs], 0.25)
    reported = json.loads((PUBLISHED / "reported.json").read_text())["bd_rate_percent_over_vtm"]
    facts, lead = _facts(leaderboard)
    return {
        "lead": lead,
        "facts": facts,
        "anchor": anchor.key,
        "bpp_max": BPP_MAX,
        "grid": list(grid),
        "grid_ms": list(grid_ms),
        "series": [_series(c, styles[c.key], grid, grid_ms) for c in codecs],
        "deltas": {a.key: _deltas(leaderboard, a) for a in codecs},
        "reported": reported if anchor.key == "vtm" else [],
        "crowded": any(c.run and c.run.crowded for c in codecs),
        "several": len(_processors(leaderboard)) > 1,
        "how": _how(leaderboard),
    }


def _grid(curves: Sequence[Curve | None], step: float) -> np.ndarray:
    """Qualities in dB that cover all curves."""
    there = [c for c in curves if c is not None]
    if not there:
        return np.zeros(0)
    low, high = min(c.quality_db[0] for c in there), max(c.quality_db[-1] for c in there)
    return np.round(np.arange(np.ceil(low / step), high / step) * step, 4)


def _series(c: CodecCurves, style: Style, grid: np.ndarray, grid_ms: np.ndarray) -> dict[str, Any]:
    run = c.run
    order = np.argsort(c.points.bpp).tolist()
    return {
        "key": c.key,
        "name": c.points.name,
        "short": c.points.name.split(",")[0][:18],
        "origin": c.origin.value,
        "shown": c.origin is Origin.OURS or c.key in _FIRST_SHOWN,
        "colour": [style.light, style.dark],
        "marker": style.marker,
        "bpp": _finite(c.points.bpp, order),
        "psnr": _finite(c.points.psnr_db, order),
        "ms": _finite(c.points.ms_ssim_db, order),
        "settings": [run.settings[i] for i in order] if run else [],
        "versions": list(run.versions) if run else [],
        **_costs(run, order),
        "log_rates": log_rates(c.psnr, grid) if c.psnr else None,
        "log_rates_ms": log_rates(c.ms_ssim, grid_ms) if c.ms_ssim else None,
    }


def _costs(run: RunFacts | None, order: Sequence[int]) -> dict[str, Any]:
    """Seconds a picture, by mean and by median, and the estimated bits of y and z at each point; null where unknown."""
    if run is None:
        names = ("encode", "decode", "encode_median", "decode_median", "y_bpp", "z_bpp")
        return dict.fromkeys(names)
    seconds = {"encode": run.encode_s, "decode": run.decode_s}
    seconds |= {"encode_median": run.encode_median_s, "decode_median": run.decode_median_s}
    means = {name: float(np.mean(values)) for name, values in seconds.items()}
    bits = {"y_bpp": _finite(run.estimated_y_bpp, order), "z_bpp": _finite(run.estimated_z_bpp, order)}
    return {name: value if np.isfinite(value) else None for name, value in means.items()} | bits


def _finite(values: Sequence[float], order: Sequence[int]) -> list[float | None] | None:
    """For the page: null where there is no figure, and for all of them when there is none."""
    found = [round(values[i], 5) if np.isfinite(values[i]) else None for i in order] if values else []
    return found if any(value is not None for value in found) else None


def _gains(gains: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"series": _gain_series(gain["name"], i), "points": gain["points"]} for i, gain in enumerate(gains)]


def _gain_series(name: str, index: int) -> dict[str, Any]:
    colours = (("#0b7a55", "#4cc79a"), ("#0068a8", "#56b4e9"), ("#c44a00", "#ff8a4a"), ("#a8518a", "#dd8fbf"))
    markers = ("circle", "square", "triangle", "diamond")
    look = {"colour": colours[index % 4], "marker": markers[index % 4]}
    return {"key": name, "name": name, "short": name[:18], "origin": "peer", **look}


def _deltas(leaderboard: Leaderboard, anchor: CodecCurves) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for test in leaderboard.codecs:
        if test is not anchor:
            pair = {"psnr": leaderboard.delta(anchor, test), "ms": leaderboard.delta_ms_ssim(anchor, test)}
            found[test.key] = {name: _delta(value) for name, value in pair.items() if value}
    return found


def _delta(value: Delta) -> dict[str, float]:
    low, high = value.overlap_db
    figures = {"rate": value.rate_percent, "quality": value.quality_db, "low": low, "high": high}
    return {name: round(figure, 3) for name, figure in figures.items()}


def _facts(leaderboard: Leaderboard) -> tuple[list[dict[str, Any]], str]:
    """BD-rates of the default model, or else our first, over what people know, and the sentence above them."""
    models = [c for c in leaderboard.codecs if c.origin is Origin.OURS]
    ours = next((c for c in models if c.key == ZOO[0].name), models[0] if models else None)
    pictures = len(leaderboard.pictures)
    lead = f"Means over {pictures} pictures; whole files, 8-bit RGB."
    if ours is None:
        return [], lead
    facts = []
    for key in _FACTS:
        anchor = next((c for c in leaderboard.codecs if c.key == key), None)
        found = leaderboard.delta(anchor, ours) if anchor else None
        if anchor and found:
            facts.append({"name": anchor.points.name, "percent": round(found.rate_percent, 1)})
    return facts, f"Bytes that {ours.points.name} needs at equal PSNR (BD-rate). {lead}"


def _processors(leaderboard: Leaderboard) -> dict[str, list[str]]:
    """Whose seconds were taken on which processor."""
    found: dict[str, list[str]] = {}
    for c in leaderboard.codecs:
        if c.run:
            found.setdefault(c.run.cpu or "an unknown processor", []).append(c.points.name)
    return found


def _how(leaderboard: Leaderboard) -> list[str]:
    sizes = sorted({f"{row.width} x {row.height}" for row in leaderboard.rows})
    versions = {v for c in leaderboard.codecs if c.run and c.origin is Origin.PEER for v in c.run.versions}
    names = {c.points.name for c in leaderboard.codecs}
    crowded = [c.points.name for c in leaderboard.codecs if c.run and c.run.crowded]
    published = any(c.origin is Origin.PUBLISHED for c in leaderboard.codecs)
    processors = [f"{cpu}: {', '.join(names)}" for cpu, names in _processors(leaderboard).items()]
    lines = [
        "Bits per pixel: 8 times the bytes of the whole file, over the pixels of the picture. "
        "PSNR and MS-SSIM: on 8-bit RGB, the mean over pictures of each picture's value. "
        f"Pictures: {len(leaderboard.pictures)}, {', '.join(sizes[:6])}.",
        "BD-rate: Akima interpolation of log rate (package bjontegaard) over the qualities that both curves reach. "
        "Points that cost more than another and give no more are left out of a curve.",
        "Seconds: from pixels to file bytes and back, entropy coding inside; means over "
        f"pictures{without_first(len(leaderboard.pictures))}, and over settings. Medians over the same pictures stand "
        "beside them: one interrupted call moves a mean, not a median.",
        f"Too long are the seconds of {', '.join(crowded)}: the machine had more to do than it has processors."
        if crowded
        else "",
        f"Seconds are of several machines and do not compare. {'; '.join(processors)}." if len(processors) > 1 else "",
        f"Peers, through Pillow: {'; '.join(sorted(versions))}." if versions else "",
        *(f"{peer.name}: {peer.aim}." for peer in PEERS if peer.aim and peer.name in names),
        "Published curves are from CompressAI's results (BSD 3-Clause Clear); they were not measured anew."
        if published
        else "",
        *(f"Left out: {reason}" for reason in leaderboard.left_out),
    ]
    return [line for line in lines if line]
