"""Commands for people who measure: eval, bdrate."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Annotated, Any, TypeVar

import typer

from lichen.cli.app import EXIT_INPUT, Device, Json, Threads, app, console, say
from lichen.cli.progress import Bar, with_progress
from lichen.errors import BadInput, UsageError
from lichen.extras import require

R = TypeVar("R")

_MEANS = {  # column of the table: name in a summary
    "setting": "quality",
    "bpp": "bpp",
    "PSNR dB": "psnr-rgb",
    "MS-SSIM": "ms-ssim-rgb",
    "encode s": "encoding_time",
    "decode s": "decoding_time",
}


@app.command()
def bdrate(
    curves: Annotated[
        list[str] | None,
        typer.Argument(help="ANCHOR TEST...: names of published curves (`vtm`) or JSON files.", show_default=False),
    ] = None,
    over: Annotated[str | None, typer.Option(help="The anchor; all others are tests, in a leaderboard.")] = None,
    by_ms_ssim: Annotated[bool, typer.Option("--ms-ssim", help="By MS-SSIM in dB instead of PSNR.")] = False,
    max_bpp: Annotated[float | None, typer.Option(min=0, help="Leave out points of more bits per pixel.")] = None,
    listed: Annotated[bool, typer.Option("--list", help="Name the published curves.")] = False,
    as_json: Json = False,
) -> None:
    """Say how many bytes TEST needs beside ANCHOR at equal quality; negative: TEST is cheaper.

    Examples: `lichen bdrate vtm results/kodak/lichen.json` · `lichen bdrate --over vtm results/kodak/*.json av1`
    """
    from lichen.lab.evaluation.curves import published_names

    if listed:
        typer.echo("\n".join(published_names()))
        return
    names = ([over] if over else []) + (curves or [])
    if len(names) < 2:
        raise UsageError("give an anchor and at least one test, e.g. lichen bdrate vtm results/kodak/lichen.json")
    rows, refused, left_out = _deltas(names, by_ms_ssim, max_bpp)
    rows.sort(key=lambda row: row["bd_rate_percent"]) if over else None
    if as_json:
        typer.echo(json.dumps({"deltas": rows, "refused": refused, "left_out": left_out}, indent=2))
    elif rows:
        _print_deltas(rows, "MS-SSIM" if by_ms_ssim else "PSNR", max_bpp)
    for reason in left_out:
        say(f"lichen: left out: {reason}")
    for reason in refused:
        say(f"lichen: {reason}")
    if refused:
        raise typer.Exit(EXIT_INPUT)


def _deltas(
    names: list[str], by_ms_ssim: bool, max_bpp: float | None
) -> tuple[list[dict[str, Any]], list[str], list[str]]:
    """A row for each test, why others were refused, and points left out. Raises `BadInput` when the anchor is unfit."""
    from lichen.lab.evaluation.bdrate import METHOD, delta
    from lichen.lab.evaluation.curves import Curve, find_points

    left_out: list[str] = []

    def curve(name: str) -> Curve:
        points = find_points(name)
        left_out.extend(points.left_out)
        found = points.by_ms_ssim() if by_ms_ssim else points.by_psnr()
        return found if max_bpp is None else found.up_to(max_bpp)

    anchor, rows, refused = curve(names[0]), [], []
    for name in names[1:]:
        try:
            test = curve(name)
            found = delta(anchor, test)
        except BadInput as error:
            refused.append(str(error))
            continue
        rows.append(
            {
                "anchor": anchor.name,
                "test": test.name,
                "bd_rate_percent": found.rate_percent,
                "bd_quality_db": found.quality_db,
                "overlap_db": found.overlap_db,
                "points": (len(anchor.bpp), len(test.bpp)),
                "method": METHOD,
            }
        )
    return rows, refused, left_out


def _print_deltas(rows: list[dict[str, Any]], measure: str, max_bpp: float | None) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    limit = "" if max_bpp is None else f", points up to {max_bpp:g} bpp"
    title = f"over {rows[0]['anchor']} ({rows[0]['points'][0]} points), by {measure}, {rows[0]['method']}{limit}"
    table = Table(title=Text(title), title_justify="left")
    for name in ("", "BD-rate %", f"BD-{measure} dB", "overlap dB", "points"):
        table.add_column(name, justify="right" if name else "left", no_wrap=True)
    for row in rows:
        low, high = row["overlap_db"]
        figures = f"{row['bd_rate_percent']:+.2f}", f"{row['bd_quality_db']:+.3f}", f"{low:.2f} to {high:.2f}"
        table.add_row(Text(row["test"]), *figures, str(row["points"][1]))
    Console(width=max(console.width, 110)).print(table)


Effort = Annotated[
    int | None, typer.Option(min=0, max=3, help="As of encode; its curve is named by it.", show_default=False)
]


@app.command(name="eval")
def evaluate(
    data: Annotated[Path, typer.Option(help="Folder of pictures.", show_default=False)],
    models: Annotated[
        list[str] | None,
        typer.Argument(
            help="Names (lichen, lichen-ms-ssim), weights files, folders of fixed-rate weights.", show_default=False
        ),
    ] = None,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of results; filled up if it has some.")] = Path(
        "results"
    ),
    peers: Annotated[bool, typer.Option("--peers", help="Also JPEG, WebP, AVIF and the other codecs here.")] = False,
    peer: Annotated[list[str] | None, typer.Option(help="Only this peer; may be repeated.")] = None,
    quality: Annotated[
        list[float] | None, typer.Option("-q", min=0, max=100, help="Of a codec's range; default: 0, 10 ... 100.")
    ] = None,
    effort: Effort = None,
    refine: Annotated[int, typer.Option(min=0, help="Encode with so many steps of refinement (slow).")] = 0,
    replace: Annotated[bool, typer.Option(help="Measure anew what other weights or libraries have left.")] = False,
    jobs: Annotated[int, typer.Option(min=0, help="Processes; 0: as many as memory allows. Disturbs timing.")] = 1,
    device: Device = "cpu",
    threads: Threads = 0,
) -> None:
    """Measure models and other codecs on a folder: file bytes, PSNR, MS-SSIM, seconds, memory.

    A row for each picture, model and quality in OUTPUT/table.tsv, means in OUTPUT/NAME.json. Stop and go on as
    you like. Example: `lichen eval lichen runs/a/lichen.safetensors --peers --data kodak/ -o results/kodak`
    """
    require("torch", "pytorch_msssim")
    from lichen.lab.evaluation.evaluate import evaluate as run

    entries = _entries(models or [], peers, peer or [], quality, device=device, tried=(effort, refine))
    work = functools.partial(run, entries, data, output, jobs=jobs, threads=threads, replace=replace)
    outcome = with_progress(_reporting(work), lambda bar, counts: bar.update(*counts), _how_far, "files")
    _print_means([entry.name for entry in entries], output)
    for reason in (*outcome.skipped, *(f"{failed}; it has no curve" for failed in outcome.failed)):
        say(f"lichen: {reason}")
    say(f"{outcome.new_rows} files measured, {len(outcome.skipped)} pictures skipped; results in {output}")
    if outcome.skipped or outcome.failed:
        raise typer.Exit(EXIT_INPUT)


def _print_means(names: list[str], output: Path) -> None:
    """A line for each codec and quality: means over the pictures, of whole files."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from lichen.lab.evaluation.evaluate import file_name

    table = Table("codec", *_MEANS, title="means over the pictures", title_justify="left")
    for path in (output / file_name(name) for name in names):
        if not path.exists():  # one that failed has none
            continue
        summary = json.loads(path.read_text())
        for line in zip(*(summary["results"][key] for key in _MEANS.values()), strict=True):
            table.add_row(Text(summary["name"]), *("" if value is None else f"{value:.4g}" for value in line))
    if table.row_count:
        Console(width=max(console.width, 100)).print(table)


def _reporting(
    work: Callable[..., R],
) -> Callable[[Callable[[tuple[int, int]], None], Event], R]:
    """The work as the runner wants it: what it reports in one value. A stop it does not see; its rows are kept."""
    return lambda report, stop: work(report=lambda done, total: report((done, total)))


def _how_far(bar: Bar) -> str:
    left = "" if bar.total is None else f" of {bar.total}"
    return f"{bar.done}{left} files measured; the same command goes on"


def _entries(
    models: list[str],
    peers: bool,
    named: list[str],
    quality: list[float] | None,
    device: str,
    tried: tuple[int | None, int],
) -> list[Any]:
    """Who is measured; peers that this machine lacks are named. Raises `UsageError` for nobody, or twice one name."""
    from lichen.lab.evaluation.codecs import QUALITIES, ModelEntry, PeerEntry, apart
    from lichen.lab.evaluation.peers import available, missing
    from lichen.lab.evaluation.peers import peer as find_peer

    wanted = [find_peer(name) for name in named] or ([*available(), *missing()] if peers else [])
    for absent in (p for p in wanted if not p.there):
        say(f"lichen: {absent.name} is left out here; {absent.remedy}")
    found = [ModelEntry.of(model, sorted(set(quality or QUALITIES)), device) for model in models]
    entries: list[Any] = [entry.tried(tried[0]).refined(tried[1]) for entry in apart(models, found)]
    entries += [PeerEntry(p.name, tuple(quality or ())) for p in wanted if p.there]
    if not entries:
        raise UsageError("name a model to measure, or --peers")
    names = [entry.name for entry in entries]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise UsageError(f"two models are named {twice!r}: files give them their names; rename one, or measure apart")
    return entries
