"""Memory of the rows that look far: whole processes at full width, with random weights, from a file to a file.

    python -m benchmarks.memory [--rows NAME,...] [--sizes 960x540,1920x1080,3840x2160]

Peak resident memory of encoding and decoding crops of one photograph of 3840 x 2160, and that itself. Peaks do not
continue along a line: up to about 1300 pixels a side the transforms' tiles still grow, beyond them only what is held
of the whole picture does. Bar: 4 GB for Global Reference, whose search for references looks far.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.common import Bar, finish, show
from benchmarks.large_pictures import apart, measured, save_photograph
from lichen.lab.models.checkpoint import save_checkpoint
from lichen.lab.models.zoo import row
from lichen.lab.tensors import to_float
from tests.small import enliven, scene

WIDTH = 3840  # of the photograph that is cropped
LIMIT_MB = 4000


def save_weights(name: str, path: Path) -> None:
    """Lively random weights of a row at full width."""
    torch.manual_seed(0)
    config = row(name).config
    model = config.build()
    enliven(model, to_float(np.asarray(scene(192, 128))))
    save_checkpoint(path, name, config, model.state_dict(), facts={"steps": 0})


def measure(name: str, sizes: list[tuple[int, int]], folder: Path) -> list[tuple[Any, ...]]:
    """A line (row, side, width, height, processor s, peak MB) for each process."""
    weights, lines = folder / f"{name}.safetensors", []
    apart(save_weights, name, weights)
    source, coded, back = (str(folder / file) for file in ("a.bmp", "a.lic", "b.bmp"))
    for size in sizes:
        apart(save_photograph, WIDTH, source, size)
        jobs = {"encode": ["encode", source, "-o", coded], "decode": ["decode", coded, "-o", back]}
        for side, arguments in jobs.items():
            _, processor, peak = measured([*arguments, "-f", "--weights", str(weights)])
            lines.append((name, side, *size, processor, peak))
            print(*lines[-1], flush=True)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default="global-reference,cheng-charm,elic")
    parser.add_argument("--sizes", default="960x540,1920x1080,3840x2160")
    args = parser.parse_args()
    sizes = [(int(width), int(height)) for width, height in (text.split("x") for text in args.sizes.split(","))]
    lines: list[tuple[Any, ...]] = []
    with tempfile.TemporaryDirectory() as folder:
        for name in args.rows.split(","):
            lines += measure(name, sizes, Path(folder))
    columns = ("row", "", "width", "height", "processor, s", "peak, MB")
    show("peak resident memory, whole processes", columns, lines)
    bars = [
        Bar(f"{name}: {side}, peak MB at {width} x {height}", peak, LIMIT_MB)
        for name, side, width, height, _, peak in lines
        if name == "global-reference"
    ]
    finish("memory", {"columns": columns, "rows": lines}, bars)


if __name__ == "__main__":
    main()
