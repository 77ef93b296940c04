"""Write the model card of the shipped weights from what was measured.

    python -m benchmarks.kodak ../shared/kodak && python scripts/model_card.py ../shared/train/SOURCES.csv

Reads the weights' own facts and results/kodak.json, which must be of these very weights.
"""

import csv
import hashlib
import json
import sys
from collections import Counter
from pathlib import Path

from lichen.evaluation.metrics import decibels
from lichen.files import write_atomically
from lichen.models.checkpoint import PACKAGED, find_by_name, load_checkpoint

ROOT = Path(__file__).parents[1]

CARD = """# Model card: `{name}`

| | |
|---|---|
| file | `{file}`, {size} bytes, sha256 `{digest}` (files name it by `{hash}`) |
| model | `{name}`: block transform beside a small network, hyperprior, two parities; one model for all rates |
| parameters | {parameters} |
| training | {steps} steps, recipe below, {hours} hours on {threads} shared CPU cores; moving average of the weights |
| data | {pictures} photographs (below), none of them a Kodak picture |
| licence | CC BY-SA 4.0 (`LICENSE-weights.md`) |

## Kodak, whole files (`python -m benchmarks.kodak`, results in `results/kodak.tsv`)

Means over {kodak} pictures; PSNR on 8-bit RGB, MS-SSIM as -10 log10(1 - MS-SSIM).

| quality | bpp | PSNR dB | MS-SSIM dB |
|---|---|---|---|
{curve}

BD-rate by PSNR (negative: these weights need fewer bytes); peers through Pillow on the same machine, VTM as published:

| over | % | overlap, dB |
|---|---|---|
{rates}

## Known weaknesses

* Young: little training, on a CPU. The table says by how much it loses to newer codecs.
* Trained for PSNR on photographs. At low quality textures are smoothed and noise is not kept; text, line art and
  screenshots were not trained on; how they fare has not been measured.
* The top of the quality range ends near {top:.0f} dB on Kodak; it is not a format for near-lossless archives.
* Tiny pictures pay for whole 64 x 64 blocks.

## Recipe

The weights of 2026-11-21 made their first 9 050 steps with crop = 128 and batch = 8 (docs/decisions/0003).

```
{recipe}
```

## Data

Photographs shrunk at least twofold, from these public collections (number of pictures, licence as stated there):

{sources}
"""


def sources(path: Path) -> str:
    """Collections with counts and licences."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    counted = Counter((row["from_repository"], row["licence"].strip('" ')) for row in rows)
    return "\n".join(f"* {name}: {count} ({licence})" for (name, licence), count in counted.most_common())


def main() -> None:
    path = find_by_name("lichen", PACKAGED)
    checkpoint = load_checkpoint(path)
    results = json.loads((ROOT / "results/kodak.json").read_text())
    if results["weights"] != checkpoint.hash.hex():
        sys.exit("results/kodak.json is of other weights: run benchmarks.kodak first")
    points = results["curves"]["Lichen"]
    facts = checkpoint.facts
    text = CARD.format(
        name=checkpoint.name,
        file=path.name,
        size=path.stat().st_size,
        digest=hashlib.sha256(path.read_bytes()).hexdigest(),
        hash=checkpoint.hash.hex(),
        parameters=sum(p.numel() for p in checkpoint.model.parameters()),
        steps=facts["steps"],
        hours=facts["training_hours"],
        threads=results["machine"]["threads"],
        pictures=facts["pictures"],
        kodak=results["pictures"],
        top=points[-1][1],
        curve="\n".join(f"| {10 * i} | {b:.3f} | {p:.2f} | {decibels(s):.2f} |" for i, (b, p, s) in enumerate(points)),
        rates="\n".join(
            f"| {name} | {r['value']:+.1f} | {r['overlap_db'][0]:.1f} … {r['overlap_db'][1]:.1f} |"
            for name, r in results["bd_rate_percent"].items()
        ),
        recipe="\n".join(f"{key} = {value!r}" for key, value in facts["recipe"].items()),
        sources=sources(Path(sys.argv[1])),
    )
    write_atomically(path.with_suffix(".md"), text.encode(), overwrite=True)


if __name__ == "__main__":
    main()
