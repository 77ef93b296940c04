"""Write the model card of shipped weights from what was measured; nothing is measured here.

    python scripts/model_card.py SOURCES.csv              # src/lichen/weights/lichen.md
    python scripts/model_card.py SOURCES.csv ms-ssim      # src/lichen/weights/lichen-ms-ssim.md

SOURCES.csv lists the training pictures, with the columns `from_repository` and `licence`. The rest is read from the
weights' own facts, results/history.tsv, results/kodak and results/weaknesses.json (weaknesses-ms-ssim.json). The last
two must be of these very weights:

    lichen eval lichen lichen-ms-ssim --peers --replace --data KODAK -o results/kodak
    python -m benchmarks.weaknesses --sheet docs/weaknesses.jpg
    python -m benchmarks.weaknesses --tune ms-ssim
"""

import csv
import hashlib
import json
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from lichen.image.files import write_atomically
from lichen.lab.evaluation.bdrate import Delta
from lichen.lab.evaluation.leaderboard import CodecCurves, Leaderboard, read_leaderboard
from lichen.lab.models.checkpoint import Checkpoint, load_checkpoint
from lichen.lab.training.recipe import Recipe
from lichen.lab.training.schema import plain
from lichen.options import Tune
from lichen.runtime.weights import PACKAGED, find_tuned

ROOT = Path(__file__).parents[1]

CARD = """# Model card: `{stem}`

{facts}

## Kodak

Whole files, measured by `lichen eval`, results in `results/kodak`. Means over {kodak} pictures;
PSNR on 8-bit RGB, MS-SSIM as -10 log10(1 - MS-SSIM).

{curve}

BD-rate by PSNR and by MS-SSIM; negative means that these weights need fewer bytes. The first lines
were run by `lichen eval --peers`, those from VTM on are as published.

{rates}
{refined}
## Known weaknesses

* They were trained for {hours} hours in the last stage, on a CPU; the table above says by how much
  they lose to newer codecs.
* {meaning}
* Text, screenshots and line art were not trained on; other codecs are better there. The table gives
  {goal} in dB; the other codecs have their largest file of no more bytes, or their smallest
  (difference in brackets). Made by
  {command}.

{weaknesses}

* The top of the quality range is near {top:.0f} dB PSNR on Kodak: not for near-lossless archives.
* Tiny pictures pay for whole blocks of 64 x 64 pixels.

## Training

Each line goes on from the weights of the one before, where it does not name others; the stages
within a line are in `docs/experiments/training.md`. Percentages are BD-rates by {goal} on Kodak.

{history}

Recipe of the last stage in which everything learned, where it differs from the defaults:

{recipe}

## Data

Photographs, shrunk at least twofold, of these public collections, with the licence as stated there:

{sources}
"""

MEANING = {
    Tune.PSNR: "At low quality textures are smoothed and noise is not kept.",
    Tune.MS_SSIM: "Pixel values are less true than with the weights for PSNR (table above).",
}
COMMAND = {
    Tune.PSNR: "`python -m benchmarks.weaknesses`, crops are in `docs/weaknesses.jpg`",
    Tune.MS_SSIM: "`python -m benchmarks.weaknesses --tune ms-ssim`",
}
GOAL = {Tune.PSNR: ("PSNR", "psnr_db"), Tune.MS_SSIM: ("MS-SSIM", "ms_ssim_db")}


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |".replace("|  |", "| |") for line in lines)


def facts(path: Path, checkpoint: Checkpoint, tune: Tune) -> str:
    """What these weights are."""
    said, model = checkpoint.facts, checkpoint.model
    filters = f"; principal filters from {said['filters_from']} of them" if "filters_from" in said else ""
    steps, parameters = model.prior.context.schedule.count, sum(p.numel() for p in model.parameters())
    about = f"block transform beside a small network, hyperprior, {steps} coding steps; all rates"
    return table(
        ["", ""],
        [
            ["file", f"`{path.name}`, {path.stat().st_size} bytes"],
            [
                "SHA-256",
                f"`{hashlib.sha256(path.read_bytes()).hexdigest()}`; files name it by `{checkpoint.hash.hex()}`",
            ],
            ["model", f"`{checkpoint.name}`: {about}, trained for {GOAL[tune][0]}"],
            ["parameters", parameters],
            [
                "last stage",
                f"{said['steps']} steps, {said['training_hours']} hours on {said['device']}; moving average",
            ],
            ["data", f"{said['pictures']} photographs (below), none of them a Kodak picture{filters}"],
            ["licence", "CC BY-SA 4.0 (`LICENSE-weights.md`)"],
        ],
    )


def curve(ours: CodecCurves) -> str:
    """Rate and distortion at each quality."""
    assert ours.run is not None
    points = zip(ours.run.settings, ours.points.bpp, ours.points.psnr_db, ours.points.ms_ssim_db, strict=True)
    rows = [[f"{q:g}", f"{bpp:.3f}", f"{psnr:.2f}", f"{similar:.2f}"] for q, bpp, psnr, similar in points]
    return table(["quality", "bpp", "PSNR dB", "MS-SSIM dB"], rows)


def rates(board: Leaderboard, ours: CodecCurves) -> str:
    """BD-rates over all that are not of the same weights."""
    rows = []
    for anchor in board.codecs:
        if anchor.key != ours.key and not anchor.key.startswith(f"{ours.key}-refine"):
            deltas = board.delta(anchor, ours), board.delta_ms_ssim(anchor, ours)
            if any(deltas):
                rows.append([anchor.points.name, *cells(deltas[0]), *cells(deltas[1])])
    return table(["over", "PSNR, %", "overlap, dB", "MS-SSIM, %", "overlap, dB"], rows)


def cells(delta: Delta | None) -> tuple[str, str]:
    """A BD-rate and the overlap that it is taken over."""
    if delta is None:
        return "-", "-"
    return f"{delta.rate_percent:+.1f}", "{:.1f} … {:.1f}".format(*delta.overlap_db)


def refined(board: Leaderboard, ours: CodecCurves) -> str:
    """What `--refine` brings, for each curve of it that was measured with these weights."""
    assert ours.run is not None
    lines = []
    for other in board.codecs:
        steps = other.key.removeprefix(f"{ours.key}-refine")
        delta = board.delta(ours, other)
        if steps.isdigit() and delta and other.run and other.run.versions == ours.run.versions:
            said = (
                f"With `--refine {steps}`, which rounds latents: {delta.rate_percent:+.1f} % over the default effort."
            )
            lines.append(f"\n{said}\n")
    return "".join(lines)


def weaknesses(digest: str, tune: Tune) -> str:
    """The table of `benchmarks.weaknesses`."""
    path = ROOT / f"results/{tune.weights('weaknesses')}.json"
    found = json.loads(path.read_text())
    if found["weights"] != digest:
        sys.exit(f"{path} is of other weights: run python -m benchmarks.weaknesses --tune {tune.value} first")
    rows = []
    for name, quality in found[GOAL[tune][1]].items():
        (first, ours), *others = found["size_bytes"][name].items()
        rows.append([name, ours, f"{quality[first]:.2f}"])
        rows[-1] += [f"{quality[codec]:.2f} ({size / ours - 1:+.1%})" for codec, size in others]
    return table(["", "bytes", *quality], rows)


def history(name: str, tune: Tune) -> str:
    """The weights of this model that were shipped or trained on the way."""
    with (ROOT / "results/history.tsv").open(newline="") as file:
        rows = [
            row for row in csv.DictReader(file, delimiter="\t") if (row["row"], row["tuned_for"]) == (name, tune.value)
        ]
    columns = ("date", "weights", "steps", "change", "kodak_over_vtm_percent", "kodak_over_previous_percent")
    return table(
        ["date", "weights", "steps", "change", "over VTM", "over the line before"],
        [[row[c] for c in columns] for row in rows],
    )


def recipe(said: dict[str, Any]) -> str:
    """The keys of a recipe that are not the defaults, without the file that it started from."""
    defaults = plain(Recipe(model="", steps=1))
    given = {key: value for key, value in said.items() if key != "start" and value != defaults.get(key)}
    return table(["key", "value"], [[f"`{key}`", f"`{json.dumps(value)}`"] for key, value in given.items()])


def sources(path: Path) -> str:
    """Collections with counts and licences."""
    with path.open(newline="") as file:
        counted = Counter((row["from_repository"], row["licence"].strip('" ')) for row in csv.DictReader(file))
    rows = [[name, count, licence] for (name, licence), count in counted.most_common()]
    return table(["collection", "pictures", "licence"], rows)


def card(path: Path, tune: Tune, data: Path) -> str:
    """The model card of a weights file, trained for a measure on the pictures that `data` lists."""
    checkpoint = load_checkpoint(path)
    board = read_leaderboard(ROOT / "results/kodak")
    ours = next((codec for codec in board.codecs if codec.key == path.stem and codec.run), None)
    if ours is None or ours.run is None or ours.run.versions != (checkpoint.hash.hex(),):
        sys.exit("results/kodak is of other weights: run lichen eval --replace first")
    return CARD.format(
        stem=path.stem,
        facts=facts(path, checkpoint, tune),
        kodak=len(board.pictures),
        curve=curve(ours),
        rates=rates(board, ours),
        refined=refined(board, ours),
        hours=checkpoint.facts["training_hours"],
        meaning=MEANING[tune],
        goal=GOAL[tune][0],
        command=COMMAND[tune],
        weaknesses=weaknesses(checkpoint.hash.hex(), tune),
        top=ours.points.psnr_db[-1],
        history=history(checkpoint.name, tune),
        recipe=recipe(checkpoint.facts["recipe"]),
        sources=sources(data),
    )


def main() -> None:
    tune = Tune(sys.argv[2]) if len(sys.argv) > 2 else Tune.PSNR
    path = find_tuned("lichen", tune, PACKAGED)
    write_atomically(path.with_suffix(".md"), card(path, tune, Path(sys.argv[1])).encode(), overwrite=True)


if __name__ == "__main__":
    main()
