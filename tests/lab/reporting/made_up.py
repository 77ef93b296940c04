"""Results folders of made-up codecs, and what a report's page holds of them."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

from lichen.lab.evaluation.evaluate import TABLE, file_name
from lichen.lab.evaluation.results_table import Measurement, ResultsTable
from lichen.lab.evaluation.summary import summarise

ROOT = Path(__file__).parents[3]
KODAK = {row.picture: row.pixels for row in ResultsTable(ROOT / "results/kodak" / TABLE).rows.values()}


def made_up(picture: str, model: str, setting: float, factor: float) -> Measurement:
    """A row of a codec that needs `factor` times the bytes of another."""
    bpp = 0.1 * factor * 1.6**setting
    psnr, similarity = 26 + 2.2 * setting, 1 - 0.2 * 0.6**setting
    sizes = {"width": 768, "height": 512, "size_bytes": round(bpp * 768 * 512 / 8), "bpp": bpp}
    y_bpp, z_bpp = (0.9 * bpp, 0.06 * bpp) if model.startswith("lichen") else (math.nan, math.nan)
    estimate = {"estimated_bpp": y_bpp + z_bpp, "estimated_y_bpp": y_bpp, "estimated_z_bpp": z_bpp}
    estimate |= {"excess_bpp": bpp - y_bpp - z_bpp, "peak_mb": math.nan}
    quality = {"psnr_db": psnr, "ms_ssim": similarity, "ms_ssim_db": -10 * math.log10(1 - similarity)}
    pixels = KODAK.get(picture, picture)
    return Measurement(
        picture,
        model,
        f"{model} 1",
        setting,
        pixels,
        **sizes,
        **estimate,
        **quality,
        encode_s=0.2,
        decode_s=0.1 * factor,
    )


def results(folder: Path, names: dict[str, float], pictures: list[str]) -> Path:
    """A results folder as `lichen eval` leaves it."""
    table = ResultsTable(folder / TABLE)
    table.add([made_up(p, name, s, factor) for name, factor in names.items() for p in pictures for s in range(7)])
    for name in names:
        (folder / file_name(name)).write_text(json.dumps(summarise(name, table.of(name))))
    return folder


def kodak_results(folder: Path) -> Path:
    return results(folder, {"lichen": 0.8, "JPEG 4:2:0": 2.0, "WebP": 1.25}, sorted(KODAK))


def data_of(page: Path) -> dict:
    """The JSON within a report's page."""
    return json.loads(re.search(r'id="data">(.*?)</script>', page.read_text(), re.S)[1])
