"""The means of a results table in the field's format, which other people's plots and `lichen report` read."""

from __future__ import annotations

import math
import os
import platform
import statistics
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from lichen.errors import BadInput
from lichen.lab.engine.precision import native_bfloat16
from lichen.lab.evaluation.data_set import DataSet
from lichen.lab.evaluation.results_table import Measurement
from lichen.runtime.processor import processor_name

TIMING_DROPPED = 6  # pictures, the papers' warm-up


def summarise(name: str, rows: Sequence[Measurement]) -> dict[str, Any]:
    """{"name", "description", "results", "meta"}: for each setting the means over all pictures.

    PSNR and MS-SSIM are means of pictures' values, MS-SSIM null where a picture is too small for it.
    Seconds leave out the first six pictures where there are more; their medians stand beside the means, which one
    interrupted call can spoil. `meta` says which machines the rows are of.
    Raises `BadInput` when settings have been measured on different pictures.
    """
    settings = sorted({row.setting for row in rows})
    chosen = [sorted((r for r in rows if r.setting == s), key=lambda r: r.picture) for s in settings]
    pictures = [row.picture for row in chosen[0]]
    if any([row.picture for row in group] != pictures for group in chosen):
        raise BadInput(f"{name}: an unfinished run; finish it with the same `lichen eval`")
    timed = [group[_dropped(len(pictures)) :] for group in chosen]
    results = {
        "quality": settings,
        "bpp": [_mean([r.bpp for r in g]) for g in chosen],
        "psnr-rgb": [_mean([r.psnr_db for r in g]) for g in chosen],
        "ms-ssim-rgb": [_mean([r.ms_ssim for r in g]) for g in chosen],
        "estimated-bpp": [_mean([r.estimated_bpp for r in g]) for g in chosen],
        "estimated-y-bpp": [_mean([r.estimated_y_bpp for r in g]) for g in chosen],
        "estimated-z-bpp": [_mean([r.estimated_z_bpp for r in g]) for g in chosen],
        "encoding_time": [_mean([r.encode_s for r in g]) for g in timed],
        "decoding_time": [_mean([r.decode_s for r in g]) for g in timed],
        "encoding_time_median": [statistics.median(r.encode_s for r in g) for g in timed],
        "decoding_time_median": [statistics.median(r.decode_s for r in g) for g in timed],
        "peak_mb": [_highest([r.peak_mb for r in g]) for g in chosen],
    }
    meta = {
        "versions": sorted({row.version for row in rows}),
        "data_set": DataSet.of(row.pixels for row in chosen[0]).digest,
        "pictures": len(pictures),
        "sizes": sorted({f"{row.width}x{row.height}" for row in rows})[:8],
        "timing": f"whole files, entropy coding inside, means over pictures{without_first(len(pictures))}",
        **_where(rows),
        **_load([r.load_average for g in timed for r in g]),
    }
    description = f"{name} by lichen eval: whole files, 8-bit RGB, mean over {len(pictures)} pictures"
    return {"name": name, "description": description, "results": results, "meta": meta}


def _dropped(pictures: int) -> int:
    return TIMING_DROPPED if pictures > TIMING_DROPPED else 0


def without_first(pictures: int) -> str:
    """The words for mean seconds over so many pictures: ` without the first 6`, or nothing for few pictures."""
    return f" without the first {_dropped(pictures)}" if _dropped(pictures) else ""


def _mean(values: Sequence[float]) -> float | None:
    mean = sum(values) / len(values)
    return mean if math.isfinite(mean) else None


def _load(values: Sequence[float]) -> dict[str, Any]:
    """The mean load of the machine while the seconds were taken; nothing where it was not kept."""
    known = [v for v in values if math.isfinite(v)]
    return {"load_average": round(sum(known) / len(known), 1)} if known else {}


def _where(rows: Sequence[Measurement]) -> dict[str, Any]:
    """Where the rows were made, by their own account: numbers only where all agree."""
    machines = sorted({row.machine for row in rows})
    names = sorted({machine.split(", ")[0] or "an unknown processor" for machine in machines})
    found: dict[str, Any] = {"cpu": " and ".join(names), "machines": [machine or "unknown" for machine in machines]}
    for name in ("cpus", "processes", "threads"):
        numbers = {getattr(row, name) for row in rows}
        if len(numbers) == 1 and numbers != {0}:
            found[name] = numbers.pop()
    return found


def provenance(processes: int, threads: int) -> dict[str, Any]:
    """What a row says of where it was made: this machine, so many processes, so many threads each."""
    numbers = "bfloat16" if native_bfloat16() else "float32"
    facts = machine()
    named = f"{facts['cpu']}, {numbers}, torch {facts['torch']}, python {facts['python']}"
    return {"machine": named, "cpus": os.cpu_count() or 0, "processes": processes, "threads": threads}


def _highest(values: Sequence[float]) -> float | None:
    return max(values) if all(map(math.isfinite, values)) else None


def machine() -> dict[str, str]:
    """Processor and versions that seconds depend on."""
    return {"cpu": processor_name(), "torch": version("torch"), "python": platform.python_version()}
