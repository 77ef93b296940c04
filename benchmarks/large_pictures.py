"""Large pictures: memory and time of whole processes, from a file to a file.

    python -m benchmarks.large_pictures [--side 10000] [--engine auto|onnx|torch]

Encodes and decodes a picture of 2000 x 2000 and one of SIDE x SIDE (photographs of scikit-image, mirrored
and with grain, so that no tile is like another) as processes of their own. Bars: 3 GB resident at most,
cost per pixel at most 1.3 times that of the small picture (its fixed costs, start and loading, taken off by
a picture of 64 x 64). Also: a crop of 500 x 500 from the large file.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import skimage
from PIL import Image

from benchmarks.common import Bar, finish, show, weights_hash
from lichen.options import EngineName

SMALL = 2000
LIMIT_MB = 3000


def apart(work: Callable[..., object], *arguments: object) -> None:
    """Do some work in a process of its own: a process begins with the peak memory of the one that starts it."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        pool.submit(work, *arguments).result()


def photograph(side: int) -> Image.Image:
    """side x side pixels of mirrored photographs with grain."""
    folder = Path(skimage.__file__).parent / "data"
    pixels = [np.asarray(Image.open(folder / f"{name}.png").convert("RGB")) for name in ("astronaut", "coffee")]
    tile = np.concatenate([pixels[0][:400, :512], pixels[1][:400]], axis=1)
    tile = np.concatenate([tile, tile[:, ::-1]], axis=1)
    tile = np.concatenate([tile, tile[::-1]])
    repeats = (-(-side // tile.shape[0]), -(-side // tile.shape[1]), 1)
    out = np.tile(tile, repeats)[:side, :side]
    rng = np.random.default_rng(0)
    for top in range(0, side, 500):  # in strips: the noise of all of it would be large itself
        strip = out[top : top + 500]
        grain = rng.integers(-4, 5, strip.shape, dtype=np.int16)
        out[top : top + 500] = (strip + grain).clip(0, 255).astype(np.uint8)
    return Image.fromarray(out)


def save_photograph(side: int, path: str, crop: tuple[int, int] | None = None) -> None:
    """A photograph as a file, or its upper left part of so many pixels, width x height."""
    picture = photograph(side)
    (picture if crop is None else picture.crop((0, 0, *crop))).save(path)


def measured(arguments: list[str]) -> tuple[float, float, float]:
    """Seconds of wall and processor, and peak resident MB, of `lichen ARGUMENTS`."""
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "lichen", *arguments], stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"lichen {' '.join(arguments)} ended with {process.returncode}")
    return time.perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=10000)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--engine", type=EngineName, default=EngineName.AUTO)
    args = parser.parse_args()
    extra = ["--engine", args.engine.value, *(["--weights", str(args.weights)] if args.weights else [])]
    rows: list[tuple[Any, ...]] = []
    costs: dict[tuple[str, int], tuple[float, float, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        source, coded, back = (str(Path(folder) / name) for name in ("a.bmp", "a.lic", "b.bmp"))
        for side in (64, SMALL, args.side):
            apart(save_photograph, side, source)
            jobs = {"encode": ["encode", source, "-o", coded], "decode": ["decode", coded, "-o", back]}
            if side == args.side:
                middle, some = side // 2, min(500, side // 2)
                jobs["crop"] = ["decode", coded, "-o", back, "--crop", f"{middle},{middle},{some},{some}"]
            for name, arguments in jobs.items():
                costs[name, side] = wall, processor, peak = measured([*arguments, "-f", *extra])
                rows.append((name, side, wall, processor, peak, Path(coded).stat().st_size))
    columns = ("", "side", "wall, s", "processor, s", "peak, MB", "file, bytes")
    show("large pictures, whole processes", columns, rows)
    bars = []
    for name in ("encode", "decode"):
        fixed = costs[name, 64][1]
        each = [(costs[name, side][1] - fixed) / side**2 for side in (SMALL, args.side)]
        bars.append(Bar(f"{name}: cost per pixel against {SMALL} x {SMALL}", each[1] / each[0], 1.3))
        bars.append(Bar(f"{name}: peak resident, MB", costs[name, args.side][2], LIMIT_MB))
    facts = {"weights": weights_hash(args.weights), "engine": args.engine.value, "columns": columns, "rows": rows}
    finish("large_pictures", facts, bars)


if __name__ == "__main__":
    main()
