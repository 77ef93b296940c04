"""Write the model card of shipped weights from what was measured.

    lichen eval lichen lichen-ms-ssim --peers --replace --data ../shared/kodak -o results/kodak
    python -m benchmarks.weaknesses --sheet docs/weaknesses.jpg
    python -m benchmarks.weaknesses --tune ms-ssim
    python scripts/model_card.py ../shared/train/SOURCES.csv
    python scripts/model_card.py ../shared/train/SOURCES.csv ms-ssim

Reads the weights' own facts, results/kodak and results/weaknesses.json (weaknesses-ms-ssim.json), which must be of
these very weights.
"""

import csv
import hashlib
import json
import sys
from collections import Counter
from pathlib import Path

from lichen.image.files import write_atomically
from lichen.lab.evaluation.bdrate import Delta
from lichen.lab.evaluation.leaderboard import CodecCurves, Leaderboard, read_leaderboard
from lichen.lab.models.checkpoint import PACKAGED, find_tuned, load_checkpoint
from lichen.options import Tune

ROOT = Path(__file__).parents[1]

CARD = """# Model card: `{stem}`

| | |
|---|---|
| file | `{file}`, {size} bytes, sha256 `{digest}` (files name it by `{hash}`) |
| model | `{name}`: block transform beside a small network, hyperprior, {parts} coding steps; all rates, for {goal} |
| parameters | {parameters} |
| training | {steps} steps, recipe below, {hours} hours on {device}; moving average of the weights |
| data | {pictures} photographs (below), none of them a Kodak picture{filters} |
| licence | CC BY-SA 4.0 (`LICENSE-weights.md`) |

## Kodak, whole files (`lichen eval`, results in `results/kodak`)

Means over {kodak} pictures; PSNR on 8-bit RGB, MS-SSIM as -10 log10(1 - MS-SSIM).

| quality | bpp | PSNR dB | MS-SSIM dB |
|---|---|---|---|
{curve}

BD-rate by PSNR and by MS-SSIM (negative: these weights need fewer bytes); peers run here, the others as published:

| over | PSNR, % | overlap, dB | MS-SSIM, % | overlap, dB |
|---|---|---|---|---|
{rates}
{refined}
## Known weaknesses

* Young: little training, on a CPU. The table says by how much it loses to newer codecs.
* Trained for {goal} on photographs. {meaning} Text, screenshots and
  line art were not trained on: use another codec there. {goal} in dB, the others by their largest files of no
  more bytes (how many fewer, in brackets; {command}):

{weaknesses}

* The top of the quality range ends near {top:.0f} dB on Kodak; it is not a format for near-lossless archives.
* Tiny pictures pay for whole 64 x 64 blocks.

## Recipe

Before these steps: {lineage} (docs/decisions).

```
{recipe}
```

## Data

Photographs shrunk at least twofold, from these public collections (number of pictures, licence as stated there):

{sources}
"""

MEANING = {
    Tune.PSNR: "At low quality textures are smoothed and noise is not kept.",
    Tune.MS_SSIM: "Pixel values are less true than with the other weights (PSNR, above).",
}
COMMAND = {
    Tune.PSNR: "`python -m benchmarks.weaknesses`, crops in `docs/weaknesses.jpg`",
    Tune.MS_SSIM: "`python -m benchmarks.weaknesses --tune ms-ssim`",
}
GOAL = {Tune.PSNR: ("PSNR", "psnr_db"), Tune.MS_SSIM: ("MS-SSIM", "ms_ssim_db")}


def sources(path: Path) -> str:
    """Collections with counts and licences."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    counted = Counter((row["from_repository"], row["licence"].strip('" ')) for row in rows)
    return "\n".join(f"* {name}: {count} ({licence})" for (name, licence), count in counted.most_common())


def weaknesses(digest: str, tune: Tune) -> str:
    """The table of `benchmarks.weaknesses`, of these very weights."""
    path = ROOT / f"results/{tune.weights('weaknesses')}.json"
    found = json.loads(path.read_text())
    if found["weights"] != digest:
        sys.exit(f"{path} is of other weights: run python -m benchmarks.weaknesses --tune {tune.value} first")
    table = found[GOAL[tune][1]]
    codecs = list(next(iter(table.values())))
    lines = [["", "bytes", *codecs], ["---"] * (2 + len(codecs))]
    for name, quality in table.items():
        sizes = found["size_bytes"][name]
        ours = sizes[codecs[0]]
        cells = [
            f"{quality[codec]:.2f}" + f" ({sizes[codec] / ours - 1:+.1%})" * (codec != codecs[0]) for codec in codecs
        ]
        lines.append([name, str(ours), *cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def refined(leaderboard: Leaderboard, ours: CodecCurves) -> str:
    """What `--refine` brings, for each curve of it that was measured with these weights."""
    lines = []
    for other in leaderboard.codecs:
        steps = other.key.removeprefix(f"{ours.key}-refine")
        delta = leaderboard.delta(ours, other)
        if steps.isdigit() and delta and other.run and other.run.versions == ours.run.versions:
            lines.append(f"\nWith `--refine {steps}`: {delta.rate_percent:+.1f} % over these weights without it.\n")
    return "".join(lines)


def rates(leaderboard: Leaderboard, ours: CodecCurves) -> str:
    """BD-rates over all who are not of the same weights."""
    lines = []
    for anchor in leaderboard.codecs:
        if anchor.key != ours.key and not anchor.key.startswith(f"{ours.key}-refine"):
            deltas = leaderboard.delta(anchor, ours), leaderboard.delta_ms_ssim(anchor, ours)
            if any(deltas):
                lines.append(f"| {anchor.points.name} | {' | '.join(map(cells, deltas))} |")
    return "\n".join(lines)


def cells(delta: Delta | None) -> str:
    return "- | -" if delta is None else "{:+.1f} | {:.1f} … {:.1f}".format(delta.rate_percent, *delta.overlap_db)


def main() -> None:
    tune = Tune(sys.argv[2]) if len(sys.argv) > 2 else Tune.PSNR
    path = find_tuned("lichen", tune, PACKAGED)
    checkpoint = load_checkpoint(path)
    results = ROOT / "results/kodak"
    leaderboard = read_leaderboard(results)
    ours = next((c for c in leaderboard.codecs if c.key == path.stem and c.run), None)
    if ours is None or ours.run.versions != (checkpoint.hash.hex(),):
        sys.exit("results/kodak is of other weights: run lichen eval --replace first")
    points = list(zip(ours.run.settings, ours.points.bpp, ours.points.psnr_db, ours.points.ms_ssim_db, strict=True))
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
        filters=f"; principal filters from {facts['filters_from']} of them" if "filters_from" in facts else "",
        kodak=len(leaderboard.pictures),
        top=points[-1][2],
        curve="\n".join(f"| {q:g} | {b:.3f} | {p:.2f} | {s:.2f} |" for q, b, p, s in points),
        rates=rates(leaderboard, ours),
        refined=refined(leaderboard, ours),
        weaknesses=weaknesses(checkpoint.hash.hex(), tune),
        stem=path.stem,
        goal=GOAL[tune][0],
        meaning=MEANING[tune],
        command=COMMAND[tune],
        parts=checkpoint.model.prior.context.schedule.steps,
        lineage=facts["lineage"],
        recipe="\n".join(f"{key} = {value!r}" for key, value in facts["recipe"].items()),
        sources=sources(Path(sys.argv[1])),
    )
    write_atomically(path.with_suffix(".md"), text.encode(), overwrite=True)


if __name__ == "__main__":
    main()
