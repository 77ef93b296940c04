"""The same weights in CompressAI and in Lichen: a Kodak picture, the whole path with files, on one machine in one run.

    python -m benchmarks.against_compressai PYTHON PICTURE [--models NAME,...] [--threads N] [--repeats N]

PYTHON is the interpreter of an environment of its own with CompressAI, torch, numpy and Pillow in it
(`pip install --no-deps compressai`, then what its import asks for; torchvision is stubbed). Weights are random, at
the papers' widths, made lively: latents have a deviation of about 3. Both sides read the same PNG and keep their
model loaded. Bars on encode + decode: serial models at least 5x faster (10x is the target), mean-scale
hyperprior and checkerboard 2x, ELIC 1.5x. `prior` is our fixed-point prior with its entropy coding, both ways.
Besides wall time the processor's own is kept (`busy`), which other work on the machine disturbs less.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.common import Bar, finish, show
from lichen.codec import Codec
from lichen.lab.models.compressai import convert
from lichen.options import EngineName

WORKER = Path(__file__).with_name("compressai_worker.py")
FASTER = {  # than CompressAI at least, encode + decode
    "mbt2018": 5.0,
    "cheng2020-anchor": 5.0,
    "mbt2018-mean": 2.0,
    "cheng2020-anchor-checkerboard": 2.0,
    "elic2022-official": 1.5,
}


def median_s(work: Callable[[], object], repeats: int, clock: Callable[[], float] = time.perf_counter) -> float:
    """Median time; the first run is dropped if there are several."""
    times = []
    for _ in range(repeats + (repeats > 1)):
        start = clock()
        work()
        times.append(clock() - start)
    return statistics.median(times[1:] or times)


def theirs(python: str, name: str, picture: Path, weights: Path, threads: int, repeats: int) -> dict[str, Any]:
    """CompressAI's figures; its weights are left in `weights`."""
    command = [python, str(WORKER), name, str(picture), str(weights), str(threads), str(repeats)]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


def ours(weights: Path, picture: Path, repeats: int) -> dict[str, Any]:
    """Our figures with the same weights."""
    target = weights.with_suffix(".safetensors")
    convert(weights, target, force=True)
    codec = Codec(weights=target, engine=EngineName.TORCH)
    data = codec.encode(Image.open(picture), 0)
    engine, pixels = codec.engine, np.asarray(Image.open(picture).convert("RGB"))
    with torch.inference_mode():
        y, z = engine.latents(pixels, 0)
        payload = engine.write(y, z, 0)[0]
        figures = {
            "encode_s": median_s(lambda: codec.encode(Image.open(picture), 0), repeats),
            "decode_s": median_s(lambda: codec.decode(data), repeats),
            "processor_s": median_s(
                lambda: codec.decode(codec.encode(Image.open(picture), 0)), repeats, time.process_time
            ),
            "write_s": median_s(lambda: engine.write(y, z, 0), repeats),
            "read_s": median_s(lambda: engine.read(payload, 0, *pixels.shape[:2]), repeats),
        }
    return {**figures, "size_bytes": len(data)}


def compare(arguments: argparse.Namespace, name: str) -> dict[str, Any]:
    serial = FASTER[name] == 5
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "weights.pth.tar"
        repeats = 1 if serial else arguments.repeats
        library = theirs(arguments.python, name, arguments.picture, weights, threads=arguments.threads, repeats=repeats)
        mine = ours(weights, arguments.picture, arguments.repeats)
    wall = [figures["encode_s"] + figures["decode_s"] for figures in (library, mine)]
    busy = library["processor_s"] / mine["processor_s"]
    return {"model": name, "compressai": library, "lichen": mine, "faster": wall[0] / wall[1], "faster_busy": busy}


COLUMNS = (
    "model",
    "encode",
    "decode",
    "our encode",
    "our decode",
    "prior",
    "times faster",
    "busy",
    "bytes",
    "our bytes",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("python", help="interpreter of an environment with CompressAI")
    parser.add_argument("picture", type=Path, help="of Kodak's, a PNG file")
    parser.add_argument("--models", default=",".join(FASTER))
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    results = [compare(arguments, name) for name in arguments.models.split(",")]
    show(
        "seconds; CompressAI's, then ours",
        COLUMNS,
        [
            (
                r["model"],
                *(r[side][what] for side in ("compressai", "lichen") for what in ("encode_s", "decode_s")),
                r["lichen"]["write_s"] + r["lichen"]["read_s"],
                r["faster"],
                r["faster_busy"],
                *(r[side]["size_bytes"] for side in ("compressai", "lichen")),
            )
            for r in results
        ],
    )
    bars = [
        Bar(f"{r['model']}: our share of CompressAI's time", 1 / r["faster"], 1 / FASTER[r["model"]]) for r in results
    ]
    finish("against_compressai", {"picture": arguments.picture.name, "models": results}, bars)


if __name__ == "__main__":
    main()
