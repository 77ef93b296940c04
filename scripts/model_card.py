"""Write the model card of the shipped weights from what was measured.

    lichen eval lichen --peers --replace --data ../shared/kodak -o results/kodak
    python -m benchmarks.weaknesses --sheet docs/weaknesses.jpg
    python scripts/model_card.py ../shared/train/SOURCES.csv

Reads the weights' own facts, results/kodak and results/weaknesses.json, which must be of these very weights.
"""

import csv
import hashlib
import json
import sys
from collections import Counter
from pathlib import Path

from lichen.evaluation.league import Competitor, League, read_league
from lichen.files import write_atomically
from lichen.models.checkpoint import PACKAGED, find_by_name, load_checkpoint

ROOT = Path(__file__).parents[1]

CARD = """# Model card: `{name}`

| | |
|---|---|
| file | `{file}`, {size} bytes, sha256 `{digest}` (files name it by `{hash}`) |
| model | `{name}`: block transform beside a small network, hyperprior, two parities; one model for all rates |
| parameters | {parameters} |
| training | {steps} steps, recipe below, {hours} hours on {device}; moving average of the weights |
| data | {pictures} photographs (below), none of them a Kodak picture |
| licence | CC BY-SA 4.0 (`LICENSE-weights.md`) |

## Kodak, whole files (`lichen eval`, results in `results/kodak`)

Means over {kodak} pictures; PSNR on 8-bit RGB, MS-SSIM as -10 log10(1 - MS-SSIM).

| quality | bpp | PSNR dB | MS-SSIM dB |
|---|---|---|---|
{curve}

BD-rate by PSNR (negative: these weights need fewer bytes); peers run here, the others as published:

| over | % | overlap, dB |
|---|---|---|
{rates}

{refined}

## Known weaknesses

* Young: little training, on a CPU. The table says by how much it loses to newer codecs.
* Trained for PSNR on photographs. At low quality textures are smoothed and noise is not kept. Text, screenshots and
  line art were not trained on: use another codec there. PSNR in dB at equal bytes (`python -m benchmarks.weaknesses`,
  crops in `docs/weaknesses.jpg`):

{weaknesses}

* The top of the quality range ends near {top:.0f} dB on Kodak; it is not a format for near-lossless archives.
* Tiny pictures pay for whole 64 x 64 blocks.

## Recipe

Before these steps: {lineage} (docs/decisions/0003, 0004, 0007).

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


def weaknesses(digest: str) -> str:
    """The table of `benchmarks.weaknesses`, of these very weights."""
    found = json.loads((ROOT / "results/weaknesses.json").read_text())
    if found["weights"] != digest:
        sys.exit("results/weaknesses.json is of other weights: run python -m benchmarks.weaknesses first")
    codecs = list(next(iter(found["psnr_db"].values())))
    lines = [["", "bytes", *codecs], ["---"] * (2 + len(codecs))]
    for name, psnr in found["psnr_db"].items():
        lines.append([name, str(found["size_bytes"][name]), *(f"{psnr[codec]:.2f}" for codec in codecs)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def refined(league: League, ours: Competitor) -> str:
    """What `--refine` brings, for each curve of it that was measured with these weights."""
    lines = []
    for other in league.competitors:
        steps = other.key.removeprefix(f"{ours.key}-refine")
        delta = league.delta(ours, other)
        if steps.isdigit() and delta and other.measured and other.measured.versions == ours.measured.versions:
            lines.append(f"With `--refine {steps}`: {delta.rate_percent:+.1f} % over these weights without it.")
    return "\n".join(lines)


def main() -> None:
    path = find_by_name("lichen", PACKAGED)
    checkpoint = load_checkpoint(path)
    results = ROOT / "results/kodak"
    league = read_league(results)
    ours = next((c for c in league.competitors if c.key == checkpoint.name and c.measured), None)
    if ours is None or ours.measured.versions != (checkpoint.hash.hex(),):
        sys.exit("results/kodak is of other weights: run lichen eval --replace first")
    others = [c for c in league.competitors if not c.key.startswith(ours.key)]
    deltas = [league.delta(anchor, ours) for anchor in others]
    points = list(
        zip(ours.measured.settings, ours.points.bpp, ours.points.psnr_db, ours.points.ms_ssim_db, strict=True)
    )
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
        device=facts["device"],
        pictures=facts["pictures"],
        kodak=len(league.pictures),
        top=points[-1][2],
        curve="\n".join(f"| {q:g} | {b:.3f} | {p:.2f} | {s:.2f} |" for q, b, p, s in points),
        rates="\n".join(
            f"| {d.anchor} | {d.rate_percent:+.1f} | {d.overlap_db[0]:.1f} … {d.overlap_db[1]:.1f} |"
            for d in deltas
            if d
        ),
        refined=refined(league, ours),
        weaknesses=weaknesses(checkpoint.hash.hex()),
        lineage=facts.get("lineage", "nothing, a fresh start"),
        recipe="\n".join(f"{key} = {value!r}" for key, value in facts["recipe"].items()),
        sources=sources(Path(sys.argv[1])),
    )
    write_atomically(path.with_suffix(".md"), text.encode(), overwrite=True)


if __name__ == "__main__":
    main()
