"""Times of the correlation-loss paper's Table 1: hyperprior, checkerboard, ChARM and serial context on one transform.

    python -m benchmarks.table1_times [--size 768 512] [--repeats 3]

The rows of Cheng's transform at full width on one photograph of Kodak's size: encode + decode, whole files, entropy
coding inside, models loaded. Weights are random, with latents and scales as lively as trained ones. All rows take
turns, so that whatever else the machine does touches them alike. `bfloat16` runs the transforms under autocast; the
prior stays exact. The paper's ratios are 1 : 1.14 : 1.75 : 54 (a GPU, serial decoding by a loop); bar: the serial
row at most 5 times the hyperprior row in float32.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.common import Bar, finish, machine, show
from benchmarks.exact_cost import weights_of
from lichen.codec import Codec
from lichen.lab.models.zoo import Row, row
from lichen.options import EngineName
from tests.small import scene

THEIRS = {"cheng-hp": 1.0, "cheng-checkerboard": 1.14, "cheng-charm": 1.75, "cheng-ar": 54.0}
SERIAL_MAX = 5.0


def codec_of(row: Row, folder: Path) -> Codec:
    return Codec(weights=weights_of(row, folder), engine=EngineName.TORCH)


def once_s(codec: Codec, picture: Image.Image, bfloat16: bool) -> float:
    """Seconds of one encode and one decode."""
    start = time.perf_counter()
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        codec.decode(codec.encode(picture, 0))
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, nargs=2, default=(768, 512))
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    picture = Image.fromarray(np.asarray(scene(*arguments.size)))
    with tempfile.TemporaryDirectory() as folder:
        codecs = {name: codec_of(row(name), Path(folder)) for name in THEIRS}
    times: dict[tuple[str, bool], list[float]] = {(name, half): [] for name in THEIRS for half in (False, True)}
    for _ in range(arguments.repeats + 1):  # the first is dropped
        for (name, half), measured in times.items():
            measured.append(once_s(codecs[name], picture, half))
    medians = {key: statistics.median(measured[1:]) for key, measured in times.items()}
    table = [
        {
            "row": name,
            "float32_s": medians[name, False],
            "bfloat16_s": medians[name, True],
            "float32_ratio": medians[name, False] / medians["cheng-hp", False],
            "bfloat16_ratio": medians[name, True] / medians["cheng-hp", True],
            "paper_ratio": theirs,
        }
        for name, theirs in THEIRS.items()
    ]
    show("encode + decode; ratios to cheng-hp", tuple(table[0]), [tuple(facts.values()) for facts in table])
    facts = {"size": list(arguments.size), "repeats": arguments.repeats, "machine": machine(), "rows": table}
    serial = medians["cheng-ar", False] / medians["cheng-hp", False]
    finish("table1_times", facts, [Bar("cheng-ar over cheng-hp, float32", serial, SERIAL_MAX)])


if __name__ == "__main__":
    main()
