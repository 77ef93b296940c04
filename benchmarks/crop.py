"""What a crop of a large picture costs beside the whole of it.

    python -m benchmarks.crop [--rounds 3] [--engine auto|onnx|torch]

Of a photograph of 4000 x 3000 pixels the whole and a crop of 64 x 64 are decoded in turn: by a loaded codec, whose
stages are timed, and as processes of their own, for their memory. All latents are decoded either way, as they depend
on one another; pixels are synthesised for the crop and its halo alone. Bars: the crop's pixels take at most a
twentieth of the whole's time, and the process needs at most 0.8 of its memory.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.common import Bar, finish, show
from benchmarks.large_pictures import apart, measured, save_photograph
from lichen.codec import Codec, OpenFile
from lichen.options import Crop, EngineName

SIZE = (4000, 3000)
CROP = (1900, 1400, 64, 64)
PARTS: dict[str, Crop | None] = {"whole": None, "crop": CROP}


def stages_s(file: OpenFile, crop: Crop | None) -> dict[str, float]:
    """Seconds of the latents, and of the pixels made of them."""
    start = time.perf_counter()
    y_hat, coefficients = file.latents()
    read, header = time.perf_counter(), file.container.header
    file.engine.pixels(y_hat, header.quality_index, header.height, header.width, crop=crop, coefficients=coefficients)
    return {"latents": read - start, "pixels": time.perf_counter() - read}


def rounds_of_stages(data: Path, engine: EngineName, rounds: int) -> dict[str, list[dict[str, float]]]:
    """The stages of the whole and of the crop, in turn."""
    file = Codec(engine=engine).open_file(data.read_bytes())
    for crop in PARTS.values():  # the first calls load what they need
        stages_s(file, crop)
    found: dict[str, list[dict[str, float]]] = {name: [] for name in PARTS}
    for _ in range(rounds):
        for name, crop in PARTS.items():
            found[name].append(stages_s(file, crop))
    return found


def peak_mb(data: Path, engine: EngineName, crop: Crop | None) -> float:
    """Of `lichen decode` as a process."""
    asked = [] if crop is None else ["--crop", ",".join(map(str, crop))]
    command = ["decode", str(data), "-o", str(data.with_suffix(".png")), "-f", "--engine", engine.value, *asked]
    return measured(command)[2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--engine", type=EngineName, default=EngineName.AUTO)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        picture, data = f"{folder}/a.png", Path(folder) / "b.lic"
        apart(save_photograph, max(SIZE), picture, SIZE)
        measured(["encode", picture, "-o", str(data), "--engine", args.engine.value])
        peaks = {name: peak_mb(data, args.engine, crop) for name, crop in PARTS.items()}
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            times = pool.submit(rounds_of_stages, data, args.engine, args.rounds).result()
    report(args.engine, times, peaks)


def report(engine: EngineName, times: dict[str, list[dict[str, float]]], peaks: dict[str, float]) -> None:
    """The table, and the bars: of each stage the quietest round counts."""
    best = {name: {stage: min(r[stage] for r in rounds) for stage in rounds[0]} for name, rounds in times.items()}
    rows = [(name, *stages.values(), peaks[name]) for name, stages in best.items()]
    show(f"{SIZE[0]} x {SIZE[1]}, seconds and MB", ("", "latents", "pixels", "peak"), rows)
    facts: dict[str, Any] = {"engine": engine.value, "size": SIZE, "crop": CROP, "seconds": best, "peak_mb": peaks}
    bars = [
        Bar("pixels of the crop over those of the whole", best["crop"]["pixels"] / best["whole"]["pixels"], 0.05),
        Bar("memory of the crop over that of the whole", peaks["crop"] / peaks["whole"], 0.8),
    ]
    finish("crop", facts, bars)


if __name__ == "__main__":
    main()
