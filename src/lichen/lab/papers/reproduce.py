"""`lichen reproduce`: the papers' tables again, by training every model of one and measuring it as they do."""

from __future__ import annotations

import itertools
import json
import math
import re
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from lichen.errors import BadInput, OutputExists
from lichen.image.files import write_atomically
from lichen.image.picture import open_picture, to_pil
from lichen.image.rendering import render
from lichen.lab.evaluation.bdrate import delta
from lichen.lab.evaluation.codecs import ModelEntry, family
from lichen.lab.evaluation.curves import Curve, Points, find_points, load_points
from lichen.lab.evaluation.evaluate import evaluate, file_name
from lichen.lab.inspection.latent_figures import CorrelationMap, draw_maps
from lichen.lab.losses.correlation import Correlation, correlation_map, off_centre
from lichen.lab.models.checkpoint import load_checkpoint
from lichen.lab.models.zoo import row
from lichen.lab.papers.experiments import Comparison, Experiment, Reprint, TrainingScale, Variant
from lichen.lab.reporting.report import GAINS, report
from lichen.lab.tensors import to_float
from lichen.lab.training.data import list_pictures, open_pictures

Train = Callable[[Path, Path, Path], None]  # recipe, data, output: a run, resumed if there is one


@dataclass(frozen=True)
class Training:
    """One training: a variant at a lambda, its recipe as TOML, and where its weights come to lie."""

    variant: Variant
    lam: float
    recipe: str
    folder: Path

    @property
    def weights(self) -> Path:
        return self.folder / f"{self.variant.model}.safetensors"


def plan(experiment: Experiment, scale: TrainingScale, output: Path) -> list[Training]:
    """Every training of an experiment. Raises `UnknownWeights` when this version lacks a model."""
    return [
        Training(variant, lam, recipe_of(variant, lam, scale), output / "runs" / _plain(variant.name) / f"{lam:g}")
        for variant in experiment.variants
        for lam in scale.lambdas
    ]


def _plain(name: str) -> str:
    return re.sub(r"[^\w.]+", "-", name.lower()).strip("-")


def recipe_of(variant: Variant, lam: float, scale: TrainingScale) -> str:
    """The training of a variant at a lambda, as `lichen train` reads it."""
    lines = [
        f'model = "{row(variant.model).name}"',
        f"steps = {scale.steps}",
        f"crop = [{scale.crop}]",
        f"batch = {scale.batch}",
        f"learning_rate = {scale.learning_rate}",
        f"lambdas = [{lam}]",
        f"warmup = {min(scale.warmup, scale.steps)}",
        f"ema = {scale.ema}",
        *([] if scale.halving else [f"cooldown = {scale.cooldown}"]),
    ]
    if scale.halving:
        lines += [
            "",
            "[halving]",
            *(f"{k} = {v}" for k, v in zip(("start", "every", "end"), scale.halving, strict=True)),
        ]
    term = variant.decorrelated
    if term:
        lines += ["", "[correlation]", f"alpha = {term.alpha}", "", "[correlation.map]"]
        lines += [f"window = {term.window}", f'mask = "{term.mask}"']
    if variant.stages:
        early, late = ([*weights] for weights in variant.stages)
        lines += ["", "[stages]", f"change = {scale.steps // 2}", f"early = {early}", f"late = {late}"]
    if variant.config:
        lines += ["", variant.config]
    return "\n".join(lines) + "\n"


def write_recipes(jobs: Sequence[Training]) -> None:
    """Leave each training's recipe in its folder."""
    for job in jobs:
        write_atomically(job.folder / "recipe.toml", job.recipe.encode(), overwrite=True)


def reproduce(
    experiment: Experiment,
    scale: TrainingScale,
    data: Path,
    test: Path,
    output: Path,
    train: Train,
    say: Callable[[str], None],
) -> str:
    """Train on `data`, measure on `test`, and write `output`/NAME.json and NAME.md, whose text is given.

    Also `output`/report with the curves, and maps.png and .svg of the experiments that look at correlations.
    Finished trainings and rows are not made again. Raises `BadInput`.
    """
    test = _measured(test, scale, output)  # wrong folders are better said before a long training than after it
    jobs = plan(experiment, scale, output)
    _train(jobs, scale, data, train, say)
    results = output / "results"
    entries = [_entry(variant, jobs) for variant in experiment.variants]
    say("measuring")
    outcome = evaluate(entries, test, results, 1, 0, True, lambda done, total: None)
    for reason in outcome.skipped:
        say(reason)
    pictures = len(list_pictures(test)) - len(outcome.skipped)
    lines = [_line(variant, experiment, results, pictures) for variant in experiment.variants]
    maps = _maps(jobs, test) if experiment.correlation else []
    if maps:
        _write_gains(experiment, maps, results)
        _draw_maps(maps, output)
    _draw_curves(experiment, scale, results, output / "report")
    facts = {
        "experiment": experiment.name,
        "scale": scale.name,
        "meaningless": scale.meaningless,
        "budget": _budget(jobs, scale),
        "variants": lines,
        "published": [_reprint(r, experiment.bpp_max) for r in experiment.reprints],
        "comparisons": [_comparison(c, experiment, results) for c in experiment.comparisons],
        "correlation": maps,
    }
    text = as_text(experiment, facts)
    write_atomically(output / f"{experiment.name}.json", (json.dumps(facts, indent=1) + "\n").encode(), overwrite=True)
    write_atomically(output / f"{experiment.name}.md", text.encode(), overwrite=True)
    return text


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


def _train(jobs: list[Training], scale: TrainingScale, data: Path, train: Train, say: Callable[[str], None]) -> None:
    """Those trainings that are not finished."""
    for job in jobs:
        _refuse_other_recipe(job)
    write_recipes(jobs)
    for number, job in enumerate(jobs, 1):
        if not _finished(job, scale):
            say(f"training {number} of {len(jobs)}: {job.variant.name}, lambda {job.lam:g}")
            train(job.folder / "recipe.toml", data, job.folder)


def _refuse_other_recipe(job: Training) -> None:
    """What a folder holds must be of this very training, apart from its length. Raises `OutputExists`."""
    path = job.folder / "recipe.toml"
    if not path.is_file():
        return
    before, now = ({**tomllib.loads(text), "steps": 0} for text in (path.read_text(), job.recipe))
    if before != now:
        raise OutputExists(f"{job.folder} holds a training by another recipe; give another --output")


def _finished(job: Training, scale: TrainingScale) -> bool:
    return job.weights.is_file() and load_checkpoint(job.weights).facts["steps"] >= scale.steps


def _entry(variant: Variant, jobs: Sequence[Training]) -> ModelEntry:
    return family(variant.name, [job.weights for job in jobs if job.variant is variant], "cpu")


def _budget(jobs: Sequence[Training], scale: TrainingScale) -> dict[str, Any]:
    """What the trainings cost, from the facts that the weights keep."""
    facts = [load_checkpoint(job.weights).facts for job in jobs]
    return {
        "trainings": len(jobs),
        "steps_each": max(int(f["steps"]) for f in facts),
        "batch": scale.batch,
        "crop": scale.crop,
        "hours": round(sum(f["training_hours"] for f in facts), 2),
        "device": sorted({str(f["device"]) for f in facts}),
        "training_pictures": max(int(f["pictures"]) for f in facts),
    }


def _line(variant: Variant, experiment: Experiment, results: Path, pictures: int) -> dict[str, Any]:
    """A variant's figures beside the paper's."""
    path = results / file_name(variant.name)
    times = json.loads(path.read_text())["results"]
    seconds = pictures * (_mean(times["encoding_time"]) + _mean(times["decoding_time"]))
    line: dict[str, Any] = {"name": variant.name, "over": variant.over, "seconds": round(seconds, 2)}
    line |= {"paper_seconds": variant.paper_s, "paper_percent": variant.paper_percent}
    line |= {"paper_ms_ssim_percent": variant.paper_ms_ssim_percent, "paper_derived": variant.derived}
    if variant.over:
        line |= _deltas(_anchor(variant.over, experiment, results), load_points(path), experiment.bpp_max)
    return line


def _anchor(name: str, experiment: Experiment, results: Path) -> Points:
    """A variant's points, or a published curve."""
    trained = name in {v.name for v in experiment.variants}
    return load_points(results / file_name(name)) if trained else find_points(name)


def _comparison(said: Comparison, experiment: Experiment, results: Path) -> dict[str, Any]:
    """What the paper's text says of two curves, beside ours."""
    test, anchor = load_points(results / file_name(said.test)), _anchor(said.anchor, experiment, results)
    line = {"name": said.test, "over": said.anchor, "paper_percent": said.paper_percent, "said": said.said}
    return line | _deltas(anchor, test, experiment.bpp_max)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _deltas(anchor: Points, test: Points, bpp_max: float | None) -> dict[str, Any]:
    """BD-rates by PSNR and MS-SSIM, or why there is none."""
    found: dict[str, Any] = {}
    for key, of in (("percent", Points.by_psnr), ("ms_ssim_percent", Points.by_ms_ssim)):
        try:
            curves: list[Curve] = [of(anchor), of(test)]
            pair = curves if bpp_max is None else [curve.up_to(bpp_max) for curve in curves]
            found[key] = round(delta(*pair).rate_percent, 2)
        except BadInput as error:
            found[key], found[f"{key}_refused"] = None, str(error)
    return found


def _reprint(line: Reprint, bpp_max: float | None) -> dict[str, Any]:
    by_psnr, by_ms_ssim = (
        _deltas(find_points("vtm"), find_points(curve), bpp_max)
        for curve in (line.curve, line.ms_ssim_curve or line.curve)
    )
    found = {key: value for key, value in by_psnr.items() if not key.startswith("ms_ssim")}
    found |= {key: value for key, value in by_ms_ssim.items() if key.startswith("ms_ssim")}
    printed = {"paper_percent": line.paper_percent, "paper_ms_ssim_percent": line.paper_ms_ssim_percent}
    return {"name": line.name, "curve": line.curve, **printed, **found}


@torch.inference_mode()
def _maps(jobs: Sequence[Training], test: Path) -> list[dict[str, Any]]:
    """The correlation map of each model over all pictures, 5 x 5, and its mean off the centre."""
    pictures = []
    for path in list_pictures(test):
        try:
            pictures.append(to_float(open_picture(path).pixels))
        except BadInput:
            continue
    found, how = [], Correlation(window=5)
    for job in jobs:
        model = load_checkpoint(job.weights).model
        maps = [correlation_map(model(x, torch.zeros(1)).latents, how) for x in pictures]
        mean = torch.stack(maps).mean(dim=0)
        values = {"map": [[round(float(v), 5) for v in line] for line in mean], "off_centre": float(off_centre(mean))}
        found.append({"variant": job.variant.name, "lambda": job.lam, **values})
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
    """The figure itself: curves, and what they save over an anchor of the reader's choice."""
    warning = "Smoke, meaningless: " if scale.meaningless else ""
    report(results, folder, [], warning + experiment.title)


def _write_gains(experiment: Experiment, maps: Sequence[dict[str, Any]], results: Path) -> None:
    """For each pair without and with the loss: PSNR gain at the rates of the plain model, and its correlation."""
    models = []
    for variant in experiment.variants:
        if variant.decorrelated is None or variant.over is None:
            continue
        plain, better = (load_points(results / file_name(name)) for name in (variant.over, variant.name))
        correlation = {m["lambda"]: m["off_centre"] for m in maps if m["variant"] == variant.over}
        lambdas = json.loads((results / file_name(variant.over)).read_text())["results"]["quality"]
        measured = zip(plain.bpp, plain.psnr_db, lambdas, strict=True)
        points = [
            {"bpp": bpp, "gain_db": gain, "correlation": correlation[lam]}
            for bpp, psnr_db, lam in sorted(measured)
            if not math.isnan(gain := _psnr_at(better, bpp) - psnr_db)
        ]
        models.append({"name": variant.over, "points": points})
    write_atomically(results / GAINS, (json.dumps({"models": models}, indent=1) + "\n").encode(), overwrite=True)


def _psnr_at(points: Points, bpp: float) -> float:
    """PSNR of a curve at a rate, linear in the logarithm of the rate; nan outside."""
    pairs = sorted(zip(points.bpp, points.psnr_db, strict=True))
    for (a, low), (b, high) in itertools.pairwise(pairs):
        if a <= bpp <= b and a < b:
            return low + (high - low) * math.log(bpp / a) / math.log(b / a)
    return math.nan


def as_text(experiment: Experiment, facts: dict[str, Any]) -> str:
    """The facts as a page of Markdown: ours beside the paper's."""
    budget = facts["budget"]
    lines = [f"# {experiment.title}", ""]
    if facts["meaningless"]:
        lines += ["**Smoke: these numbers are meaningless; they prove that everything runs.**", ""]
    lines += [
        f"Scale `{facts['scale']}`: {budget['trainings']} trainings of {budget['steps_each']} steps, {budget['batch']} "
        f"crops of {budget['crop']} pixels, {budget['training_pictures']} pictures; {budget['hours']} hours on "
        f"{', '.join(budget['device'])}.",
        "",
        "| model | over | BD-rate, % | the paper's | MS-SSIM BD-rate, % | the paper's | s for all | the paper's |",
        "|---|---|---|---|---|---|---|---|",
    ]
    keys = ("percent", "paper_percent", "ms_ssim_percent", "paper_ms_ssim_percent", "seconds", "paper_seconds")
    for line in facts["variants"]:
        cells = [_cell(line.get(key)) for key in keys]
        lines.append(f"| {line['name']} | {line['over'] or ''} | {' | '.join(cells)} |")
    for line in facts["published"]:
        cells = [_cell(line.get(key)) for key in keys]
        lines.append(f"| {line['name']}, published points `{line['curve']}` | vtm | {' | '.join(cells)} |")
    for line in facts["variants"]:
        if line.get("paper_derived"):
            lines += ["", f"The paper's {line['paper_percent']:g} for {line['name']}: {line['paper_derived']}."]
    if facts["comparisons"]:
        lines += ["", "| what its text says | over | BD-rate, % | the paper's |", "|---|---|---|---|"]
    for line in facts["comparisons"]:
        said = f"{_cell(line['paper_percent'])} {line['said']}"
        lines.append(f"| {line['name']} | {line['over']} | {_cell(line['percent'])} | {said} |")
    for line in [*facts["variants"], *facts["comparisons"]]:
        if line.get("percent_refused"):
            lines += ["", f"No BD-rate for {line['name']} over {line['over']}: {line['percent_refused']}."]
    if facts["correlation"]:
        lines += ["", "| model | lambda | correlation off the centre |", "|---|---|---|"]
        lines += [f"| {m['variant']} | {m['lambda']:g} | {m['off_centre']:.4f} |" for m in facts["correlation"]]
    return "\n".join(lines) + "\n"


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:g}"
