"""Commands for people who look at results: report, compare, reproduce."""

from __future__ import annotations

import webbrowser
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lichen.cli.app import (
    DEFAULT_MAX_PIXELS,
    Device,
    Force,
    MaxPixels,
    Threads,
    Tuned,
    Weights,
    app,
    console,
    parse_size,
    say,
)
from lichen.cli.coding import refuse_quality_and_target
from lichen.errors import UsageError
from lichen.extras import is_installed, require
from lichen.extras import missing as needed
from lichen.image.files import refuse_existing
from lichen.options import EncodeOptions, Tune
from lichen.runtime.threads import set_threads

if TYPE_CHECKING:
    from lichen.lab.papers.experiments import CostTable, TrainingScale
    from lichen.lab.reporting.compare import FileResult

PICTURES = 2  # in a report, where none are named: about 3 MB each


@app.command()
def report(
    results: Annotated[Path, typer.Argument(help="A folder that lichen eval filled.", show_default=False)],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for index.html and figures.")] = Path("report"),
    data: Annotated[Path | None, typer.Option(help="Folder of the pictures, for the before/after slider.")] = None,
    picture: Annotated[list[str] | None, typer.Option(help="Name of a picture for the slider; repeatable.")] = None,
    bpp: Annotated[float, typer.Option(min=0.01, max=24, help="Rate of the slider's pictures.")] = 0.25,
    title: Annotated[str, typer.Option(help="Heading of the page.")] = "Lichen, measured",
    force: Force = False,
    weights: Weights = None,
    device: Device = "cpu",
    threads: Threads = 0,
) -> None:
    """Make one page of a results folder, which opens from disk without a network, and figures for papers.

    Example: `lichen report results/kodak --data kodak/ --picture kodim19 -o report/`
    """
    require("torch", "pytorch_msssim", "matplotlib", "bjontegaard", "scipy")
    from lichen.codec import Codec
    from lichen.lab.reporting.report import pictures_at_equal_bytes
    from lichen.lab.reporting.report import report as write
    from lichen.lab.training.data import list_pictures

    if picture and data is None:
        raise UsageError("--picture needs --data, the folder that has it")
    refuse_existing(output / "index.html", force)
    set_threads(threads)
    pairs = []
    if data is not None:
        paths = list_pictures(data)
        unknown = set(picture or []) - {path.stem for path in paths}
        if unknown:
            raise UsageError(f"no picture {min(unknown)!r} in {data}")
        chosen = [path for path in paths if path.stem in picture] if picture else paths[:PICTURES]
        codec = Codec(weights=weights, device=device)
        pairs = pictures_at_equal_bytes(chosen, codec, bpp, lambda said: say(f"lichen: {said}"))
    for reason in write(results, output, pairs, title):
        say(f"lichen: left out: {reason}")
    say(f"{output / 'index.html'}")


ComparedQuality = Annotated[
    float | None,
    typer.Option("-q", "--quality", min=0, max=100, help="Lichen's; 50 if no size is given.", show_default=False),
]


@app.command()
def compare(
    photos: Annotated[list[Path], typer.Argument(help="Pictures.", show_default=False)],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The page. Default: PHOTO-compare.html.")
    ] = None,
    quality: ComparedQuality = None,
    tune: Tuned = Tune.PSNR,
    target_size: Annotated[str | None, typer.Option(help="Instead of the quality, e.g. 40kB.")] = None,
    show: Annotated[bool, typer.Option("--open", help="Open the page in your browser.")] = False,
    force: Force = False,
    model: Annotated[str, typer.Option(help="Row of the zoo.")] = "lichen",
    weights: Weights = None,
    device: Device = "cpu",
    threads: Threads = 0,
    max_pixels: MaxPixels = DEFAULT_MAX_PIXELS,
) -> None:
    """Show a photograph by Lichen and by JPEG, WebP, AVIF and others at the same bytes, in a page of one file.

    By how many per cent their best files of no more bytes differ is said. Example: `lichen compare photo.jpg --open`
    """
    refuse_quality_and_target(quality, target_size)
    target = _page_of(photos, output, force)
    from lichen.codec import Codec
    from lichen.image.files import write_atomically
    from lichen.lab.reporting.pairs import comparison_page, photo_by_all

    asked = EncodeOptions.quality if quality is None else quality
    size_bytes = None if target_size is None else parse_size(target_size)
    set_threads(threads)
    codec, pictures = Codec(model, weights, device, max_pixels, tune=tune), []
    name_missing()
    for path in photos:
        pictures.append(photo_by_all(path, codec, asked, size_bytes, max_pixels=max_pixels, left_out=_leave_out))
        _print_results(pictures[-1][2])
    write_atomically(target, comparison_page(pictures), overwrite=force)
    say(f"{target}")
    if show:
        webbrowser.open(target.resolve().as_uri())


def _page_of(photos: list[Path], output: Path | None, force: bool) -> Path:
    """The page to write. Raises `BadInput` where a photograph is not there, `OutputExists` where the page is."""
    from lichen.batch.tasks import Task, check_ends

    page = output or photos[0].with_name(f"{photos[0].stem}-compare.html")
    for path in photos:
        check_ends(Task(path, page), force)
    return page


def _leave_out(why: str) -> None:
    say(f"lichen: left out: {why}")


def _print_results(results: list[FileResult]) -> None:
    """Each file, and by how many per cent its bytes and its dB differ from ours."""
    from lichen.lab.reporting.compare import in_bytes

    for r in results:
        beside = "" if r is results[0] else f" ({r.psnr_db - results[0].psnr_db:+.2f})"
        say(f"{r.codec:>15}  {in_bytes(r)}, {r.bpp:.3f} bpp, {r.psnr_db:.2f} dB{beside}")


def name_missing() -> None:
    """Say which peers and measures this machine lacks."""
    from lichen.lab.evaluation.peers import missing
    from lichen.lab.reporting.compare import MEASURES_MS_SSIM

    for absent in missing():
        say(f"lichen: {absent.name} is left out here; {absent.remedy}")
    for name in [name for name in MEASURES_MS_SSIM if not is_installed(name)][:1]:
        say(f"lichen: MS-SSIM is left out here; {needed(name)}")


@app.command()
def reproduce(
    name: Annotated[str | None, typer.Argument(help="A table or figure; see --list.", show_default=False)] = None,
    data: Annotated[Path | None, typer.Option(help="Folder of pictures to train on.", show_default=False)] = None,
    test: Annotated[Path | None, typer.Option(help="Folder to measure on, e.g. Kodak.", show_default=False)] = None,
    scale: Annotated[str, typer.Option(help="smoke, small or paper.")] = "smoke",
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Default: reproduce/NAME-SCALE.")] = None,
    listed: Annotated[bool, typer.Option("--list", help="Name the tables and figures.")] = False,
    recipes_only: Annotated[bool, typer.Option("--recipes", help="Write the recipes and stop.")] = False,
    device: Device = "cpu",
    threads: Threads = 0,
) -> None:
    """Train and measure all models of a paper's table, and print our numbers beside the paper's.

    `smoke` proves in minutes that everything runs; its numbers mean nothing. Stop and go on as you like.
    Example: `lichen reproduce table1 --scale small --data photos/ --test kodak/ --device cuda`
    """
    from lichen.lab.papers import experiments
    from lichen.lab.papers.reproduce import reproduce as run
    from lichen.lab.papers.training_plan import plan, write_recipes

    if listed:
        typer.echo("\n".join(f"{e.name:<24} {e.title}" for e in experiments.EXPERIMENTS + experiments.COST_TABLES))
        return
    if name is None:
        raise UsageError("name a table or figure; --list names all")
    chosen, how = experiments.experiment(name), experiments.scale(scale)
    target = output or Path("reproduce") / f"{name}-{scale}"
    set_threads(threads)
    if isinstance(chosen, experiments.CostTable):
        _count(chosen, how, target, device, recipes_only=recipes_only)
        return
    how = chosen.at(how)
    if recipes_only:
        write_recipes(plan(chosen, how, target))
        say(f"{target}")
        return
    if data is None or test is None:
        raise UsageError(f"{name} needs --data to train on and --test to measure on (--recipes: only the recipes)")
    typer.echo(run(chosen, how, data=data, test=test, output=target, train=_trainer(device), say=say))


def _count(table: CostTable, scale: TrainingScale, output: Path, device: str, recipes_only: bool) -> None:
    """A table of operations: no pictures are needed, and there is no recipe. Raises `UsageError`."""
    from lichen.lab.engine.torch_engine import find_device
    from lichen.lab.papers.cost_tables import count_costs

    if recipes_only:
        raise UsageError(f"{table.name} counts operations: nothing is trained, and there are no recipes")
    typer.echo(count_costs(table, scale, output, find_device(device)))


def _trainer(device: str) -> Callable[[Path, Path, Path], None]:
    """`lichen train` in this process."""
    from lichen.lab.training.session import Run, train_session

    def train(recipe: Path, data: Path, output: Path) -> None:
        train_session(Run(recipe, data, output, device=device), console)

    return train
