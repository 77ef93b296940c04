"""`lichen reproduce`: the papers' tables again, by training every model of one and measuring it as they do."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from lichen.errors import BadInput
from lichen.image.files import write_atomically
from lichen.image.picture import CROP_IT, open_picture, to_pil
from lichen.image.rendering import render
from lichen.lab.evaluation.codecs import ModelEntry, family
from lichen.lab.evaluation.evaluate import evaluate, file_name
from lichen.lab.inspection.latent_figures import CorrelationMap, draw_maps
from lichen.lab.losses.correlation import Correlation, correlation_map, off_centre
from lichen.lab.models.checkpoint import load_checkpoint
from lichen.lab.papers.beside_print import comparison_line, gains_of, rate_lines, reprint_line, variant_line
from lichen.lab.papers.markdown import as_text
from lichen.lab.papers.protocol import Experiment, TrainingScale, Variant
from lichen.lab.papers.training_plan import Train, Training, plan, train_missing
from lichen.lab.reporting.report import GAINS, ReportOptions, report
from lichen.lab.tensors import to_float
from lichen.lab.training.data import list_pictures, open_pictures

_MAP_WINDOW = 5


def reproduce(
    experiment: Experiment,
    scale: TrainingScale,
    *,
    data: Path,
    test: Path,
    output: Path,
    train: Train,
    say: Callable[[str], None],
) -> str:
    """Train on `data`, measure on `test`, and write `output`/NAME.json and NAME.md, whose text is given.

    Also `output`/report with the curves, and maps.png and .svg of the experiments about correlations.
    Finished trainings and measured files are not made again. Raises `BadInput`.
    """
    test = _measured(test, scale, output)  # wrong folders are better said before a long training than after it
    trainings = plan(experiment, scale, output)
    train_missing(trainings, scale, data, train=train, say=say)
    say("measuring")
    results, entries = output / "results", [_entry(variant, trainings) for variant in experiment.variants]
    outcome = evaluate(entries, test, results, replace=True)
    for reason in outcome.skipped:
        say(reason)
    maps = _maps(trainings, test) if experiment.correlation else []
    if maps:
        _write_gains(experiment, maps, results)
        _draw_maps(maps, output)
    _draw_curves(experiment, scale, results, output / "report")
    facts = {
        "experiment": experiment.name,
        "scale": scale.name,
        "meaningless": scale.meaningless,
        "budget": _budget(trainings, scale),
        **_lines(experiment, results, len(list_pictures(test)) - len(outcome.skipped)),
        "correlation": maps,
    }
    text = as_text(experiment.title, facts)
    for ending, written in ((".json", json.dumps(facts, indent=1) + "\n"), (".md", text)):
        write_atomically(output / f"{experiment.name}{ending}", written.encode(), overwrite=True)
    return text


def _lines(experiment: Experiment, results: Path, pictures: int) -> dict[str, list[dict[str, Any]]]:
    """What was measured on so many pictures, beside what the paper prints."""
    return {
        "variants": [variant_line(variant, experiment, results, pictures) for variant in experiment.variants],
        "published": [reprint_line(line, experiment.bpp_max) for line in experiment.reprints],
        "comparisons": [comparison_line(said, experiment, results) for said in experiment.comparisons],
        "rates": [line for variant in experiment.variants for line in rate_lines(variant, results)],
    }


def _measured(test: Path, scale: TrainingScale, output: Path) -> Path:
    """The folder of the pictures that are measured: `test`, or one with copies of its first. Raises `BadInput`."""
    count = len(list_pictures(test))
    if scale.pictures is None or count <= scale.pictures:
        return test
    first = output / "pictures"
    first.mkdir(parents=True, exist_ok=True)
    for number, picture in enumerate(open_pictures(test, scale.pictures), 1):
        write_atomically(first / f"{number}.png", render(to_pil(picture), ".png")[0], overwrite=True)
    return first


def _entry(variant: Variant, trainings: Sequence[Training]) -> ModelEntry:
    return family(variant.name, [t.weights for t in trainings if t.variant is variant], "cpu")


def _budget(trainings: Sequence[Training], scale: TrainingScale) -> dict[str, Any]:
    """What the trainings cost, from the facts that the weights keep."""
    facts = [load_checkpoint(training.weights).facts for training in trainings]
    return {
        "trainings": len(trainings),
        "steps_each": max(int(f["steps"]) for f in facts),
        "batch": scale.batch,
        "crop": " and ".join(sorted({f"{tomllib.loads(t.recipe)['crop'][0]}" for t in trainings})),
        "hours": round(sum(f["training_hours"] for f in facts), 2),
        "device": sorted({str(f["device"]) for f in facts}),
        "training_pictures": max(int(f["pictures"]) for f in facts),
    }


@torch.inference_mode()
def _maps(trainings: Sequence[Training], test: Path) -> list[dict[str, Any]]:
    """The 5 x 5 correlation map of each model, the mean over all pictures.

    `off_centre` is the mean of abs(C) off the centre, `normalised_off_centre` that of C/C(0).
    """
    pictures = []
    for path in list_pictures(test):
        try:
            pictures.append(to_float(open_picture(path, remedy=CROP_IT).pixels))
        except BadInput:
            continue
    found, how = [], Correlation(_MAP_WINDOW)
    for training in trainings:
        model = load_checkpoint(training.weights).model
        maps = [correlation_map(model(x, torch.zeros(1)).latents, how) for x in pictures]
        mean = torch.stack(maps).mean(dim=0)
        relative = mean / mean[_MAP_WINDOW // 2, _MAP_WINDOW // 2]
        values = {"map": [[round(float(v), 5) for v in line] for line in mean], "off_centre": float(off_centre(mean))}
        values |= {"normalised_off_centre": float(off_centre(relative))}
        found.append({"variant": training.variant.name, "lambda": training.lam, **values})
    return found


def _draw_maps(maps: Sequence[dict[str, Any]], output: Path) -> None:
    """The supplement's Figure 6: a row for each lambda, a column for each model."""
    lambdas = sorted({m["lambda"] for m in maps})
    rows = [
        [CorrelationMap(m["variant"], lam, torch.tensor(m["map"])) for m in maps if m["lambda"] == lam]
        for lam in lambdas
    ]
    for ending in ("png", "svg"):
        write_atomically(output / f"maps.{ending}", draw_maps(rows, ending), overwrite=True)


def _draw_curves(experiment: Experiment, scale: TrainingScale, results: Path, folder: Path) -> None:
    """The figure itself: curves, and what they save over the experiment's anchor or another of the reader's choice."""
    warning = "Smoke, meaningless: " if scale.meaningless else ""
    trained = experiment.anchor in {variant.name for variant in experiment.variants}
    key = Path(file_name(experiment.anchor)).stem if trained else experiment.anchor
    report(results, folder, [], warning + experiment.title, options=ReportOptions(key, experiment.published))


def _write_gains(experiment: Experiment, maps: Sequence[dict[str, Any]], results: Path) -> None:
    """For each pair without and with the loss: PSNR gain at the rates of the plain model, and its correlation."""
    pairs = [v for v in experiment.variants if v.decorrelated is not None and v.over is not None]
    models = [gains_of(variant, maps, results) for variant in pairs]
    write_atomically(results / GAINS, (json.dumps({"models": models}, indent=1) + "\n").encode(), overwrite=True)
