"""What coding in bfloat16 costs the default model beside float32: file bytes, quality, samples that differ.

    python -m benchmarks.precision [FOLDER] [--tune ms-ssim]

Each picture is coded both ways, and the file made in float32 is decoded both ways. Quality is what the weights are
for: PSNR, or MS-SSIM in dB. Where the processor has no bfloat16 PyTorch emulates it, and it takes long. Without a
FOLDER: two photographs of scikit-image.
Bars: no sample of a decoded file differs by more than 1, the mean over the pictures falls by 0.01 dB at most at any
quality, and files grow by 0.1 % in all.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import skimage
from numpy.typing import NDArray
from PIL import Image

from benchmarks.common import Bar, finish, show
from lichen.codec import Codec
from lichen.lab.engine import precision
from lichen.metrics import decibels, ms_ssim, psnr_db
from lichen.options import EngineName, Tune

QUALITIES = (0, 25, 50, 75, 100)
SAMPLES = ("astronaut.png", "coffee.png")


def use(bfloat16: bool) -> None:
    """From now on transforms take this way."""
    precision.native_bfloat16 = lambda: bfloat16  # type: ignore[assignment]


@dataclass(frozen=True)
class Cost:
    """Of one picture at one quality: bytes and dB by bfloat16 and by float32; of one file's samples, both ways."""

    bytes_: tuple[int, int]
    db: tuple[float, float]
    moved: float  # share of samples that differ
    furthest: int


Decibels = Callable[[NDArray[np.uint8], NDArray[np.uint8]], float]
MEASURES: dict[Tune, Decibels] = {Tune.PSNR: psnr_db, Tune.MS_SSIM: lambda a, b: decibels(ms_ssim(a, b))}


def cost(codec: Codec, pixels: NDArray[np.uint8], quality: float, measure: Decibels) -> Cost:
    use(True)
    reduced = codec.encode(pixels, quality)
    shown = codec.decode_array(reduced)
    use(False)
    full = codec.encode(pixels, quality)
    decoded = codec.decode_array(full)
    use(True)
    off = np.abs(codec.decode_array(full).astype(int) - decoded)
    db = (measure(shown, pixels), measure(decoded, pixels))
    return Cost((len(reduced), len(full)), db, float((off > 0).mean()), int(off.max()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--tune", type=Tune, default=Tune.PSNR)
    args = parser.parse_args()
    samples = [Path(skimage.__file__).parent / "data" / name for name in SAMPLES]
    paths = sorted(args.folder.glob("*.png")) if args.folder else samples
    codec, rows, every = Codec(tune=args.tune, engine=EngineName.TORCH), [], []
    for quality in QUALITIES:
        costs = [
            cost(codec, np.asarray(Image.open(path).convert("RGB")), quality, MEASURES[args.tune]) for path in paths
        ]
        bytes_ = np.sum([c.bytes_ for c in costs], axis=0)
        lost = [c.db[1] - c.db[0] for c in costs]
        rows.append((quality, 100 * (bytes_[0] / bytes_[1] - 1), float(np.mean(lost)), max(lost)))
        rows[-1] += (100 * float(np.mean([c.moved for c in costs])), max(c.furthest for c in costs))
        every += costs
    columns = ("quality", "bytes, %", "dB lost", "at most", "samples that differ, %", "by at most")
    show(f"bfloat16 beside float32, {len(paths)} pictures", columns, rows)
    grown = sum(c.bytes_[0] for c in every) / sum(c.bytes_[1] for c in every)
    finish(
        "precision" if args.tune is Tune.PSNR else f"precision-{args.tune.value}",
        {"pictures": len(paths), "weights": codec.engine.hash.hex(), "columns": columns, "rows": rows},
        [
            Bar("a sample differs by", max(c.furthest for c in every), 1),
            Bar("lost in the mean, dB", max(row[2] for row in rows), 0.01),
            Bar("files grow by, %", 100 * (grown - 1), 0.1),
        ],
    )


if __name__ == "__main__":
    main()
