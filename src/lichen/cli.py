"""The command line: parsing and printing only; the work is in `jobs`, `codec` and `training`.

Exit codes: 0 all done, 2 wrong usage, 3 bad input or output (one line says what to do), 130 stopped.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from lichen.errors import LichenError, UsageError
from lichen.version import __version__

EXIT_USAGE, EXIT_INPUT = 2, 3

app = typer.Typer(
    help="Smaller pictures by a learned codec, the same bits on every machine.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode="markdown",
)
console = Console(stderr=True, highlight=False, soft_wrap=True)

Inputs = Annotated[list[Path], typer.Argument(help="Files or folders; `-` is standard input.", show_default=False)]
Output = Annotated[
    Path | None,
    typer.Option("-o", "--output", help="File, or folder for several inputs. Default: beside the input."),
]
Recursive = Annotated[bool, typer.Option("-r", "--recursive", help="Also the folders in a folder.")]
Force = Annotated[bool, typer.Option("-f", "--force", help="Overwrite outputs that exist.")]
Weights = Annotated[Path | None, typer.Option(help="Weights file, or folder to look in first.")]
Device = Annotated[str, typer.Option(help="cpu or cuda.")]
Threads = Annotated[int, typer.Option(min=0, max=1024, help="CPU threads; 0 leaves it to PyTorch.")]
MaxPixels = Annotated[int, typer.Option(min=1, help="Refuse pictures with more pixels.")]
Json = Annotated[bool, typer.Option("--json", help="For programs.")]
DEFAULT_MAX_PIXELS = 64_000_000


def _version(wanted: bool) -> None:
    if wanted:
        from lichen.models.checkpoint import find_by_name, load_checkpoint

        try:
            weights = load_checkpoint(find_by_name("lichen")).hash.hex()
        except LichenError as error:
            weights = str(error)
        typer.echo(f"lichen {__version__}, weights {weights}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Version and weights' hash.")
    ] = False,
) -> None:
    pass


def _set_threads(threads: int) -> None:
    import torch

    if threads:
        torch.set_num_threads(threads)


def parse_size(text: str) -> int:
    """`40kB`, `1.5 MB`, `40000`: bytes, in thousands. Raises `UsageError`."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([km]?)b?", text.strip().lower())
    if not match:
        raise UsageError(f"{text!r} is not a size; write 40kB, 1.5MB or 40000")
    if len(match[1]) > 15:
        raise UsageError(f"{text!r} is too large a size")
    return int(float(match[1]) * {"": 1, "k": 1000, "m": 1_000_000}[match[2]])


def _run_jobs(tasks: list[Any], work: Callable[[Any], Any], line: Callable[[Any], str]) -> None:
    """Run the tasks with a progress bar and a line each; exit 3 when any failed."""
    from lichen import jobs

    failed, total_in, total_out = 0, 0, 0
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=len(tasks) < 2) as progress:
        bar = progress.add_task("", total=len(tasks))
        for done in jobs.run(tasks, work):
            progress.advance(bar)
            if done.error is not None:
                failed += 1
                progress.console.print(f"lichen: {done.error}", markup=False)
            else:
                total_in, total_out = total_in + done.size_in_bytes, total_out + done.size_out_bytes
                progress.console.print(line(done), markup=False)
    if len(tasks) > 1:
        console.print(f"{len(tasks) - failed} done, {failed} failed; {total_in} bytes became {total_out}")
    if failed:
        raise typer.Exit(EXIT_INPUT)


def _encoded(done: Any) -> str:
    bpp = 8 * done.size_out_bytes / (done.width * done.height)
    text = f"{done.task.source} -> {done.task.target}: {done.size_in_bytes} -> {done.size_out_bytes} bytes"
    text += f" ({done.size_in_bytes / done.size_out_bytes:.1f}x smaller, {bpp:.3f} bpp)"
    if done.size_out_bytes >= done.size_in_bytes:
        text += "  [the source was already smaller: lower --quality, or keep it]"
    return text


@app.command()
def encode(
    inputs: Inputs,
    output: Output = None,
    quality: Annotated[float, typer.Option("-q", "--quality", min=0, max=100, help="0 ... 100.")] = 50,
    target_bpp: Annotated[float | None, typer.Option(help="Best quality of at most this many bits per pixel.")] = None,
    target_size: Annotated[str | None, typer.Option(help="Best quality of at most this size, e.g. 40kB.")] = None,
    recursive: Recursive = False,
    force: Force = False,
    model: Annotated[str, typer.Option(help="Row of the zoo to encode with.")] = "lichen",
    weights: Weights = None,
    device: Device = "cpu",
    threads: Threads = 0,
    max_pixels: MaxPixels = DEFAULT_MAX_PIXELS,
) -> None:
    """Make `.lic` files of pictures.

    Examples: `lichen encode photo.jpg` · `lichen encode photo.png -o small.lic --target-size 40kB` ·
    `lichen encode holidays/ -r -o compressed/ -q 40` · `cat a.png | lichen encode - > a.lic`
    """
    from lichen import jobs
    from lichen.codec import Codec

    size_bytes = parse_size(target_size) if target_size is not None else None
    if target_bpp is not None and (size_bytes is not None or not 0 < target_bpp < 1e9):
        raise UsageError("give one target, and a positive one")
    tasks = jobs.plan(inputs, output, jobs.LIC, jobs.picture_endings(), recursive)
    _set_threads(threads)
    codec = Codec(model, weights, device, max_pixels)
    work = jobs.Encode(codec, quality, size_bytes, target_bpp, force, max_pixels)
    _run_jobs(tasks, work, _encoded)


@app.command()
def decode(
    inputs: Inputs,
    output: Output = None,
    to: Annotated[str, typer.Option(help="Ending of the results where --output does not say.")] = ".png",
    recursive: Recursive = False,
    force: Force = False,
    weights: Weights = None,
    device: Device = "cpu",
    threads: Threads = 0,
    max_pixels: MaxPixels = DEFAULT_MAX_PIXELS,
) -> None:
    """Make pictures of `.lic` files, in the format that the output's ending names.

    Examples: `lichen decode small.lic` · `lichen decode small.lic -o photo.jpg` ·
    `lichen decode compressed/ -r -o pictures/ --to .webp` · `lichen decode - < a.lic > a.png`
    """
    from lichen import jobs
    from lichen.codec import Codec

    ending = to if to.startswith(".") else f".{to}"
    jobs.writable_format(ending)
    tasks = jobs.plan(inputs, output, ending, {jobs.LIC}, recursive)
    for task in tasks:
        jobs.writable_format(ending if task.target == jobs.STANDARD else task.target.suffix)
    _set_threads(threads)
    work = jobs.Decode(Codec("lichen", weights, device, max_pixels), ending, force)
    _run_jobs(tasks, work, lambda d: f"{d.task.source} -> {d.task.target}: {d.width} x {d.height}")


@app.command()
def info(inputs: Inputs, as_json: Json = False) -> None:
    """Show what `.lic` files say of themselves, after checking all their checksums.

    Examples: `lichen info a.lic` · `lichen info --json a.lic | jq .bpp`
    """
    from lichen.information import describe_file

    described = [describe_file(path) for path in inputs]
    if as_json:
        typer.echo(json.dumps(described[0] if len(described) == 1 else described, indent=2))
        return
    for facts in described:
        typer.echo("\n".join(f"{key:>16}  {value}" for key, value in facts.items()))


@app.command()
def train(
    recipe: Annotated[Path, typer.Argument(help="A TOML file of recipes/.", show_default=False)],
    data: Annotated[Path, typer.Option(help="Folder of pictures to train on.", show_default=False)],
    valid: Annotated[Path | None, typer.Option(help="Folder of pictures to validate on, by file bytes.")] = None,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of the run; resumed if it has one.")] = Path(
        "run"
    ),
    max_minutes: Annotated[float, typer.Option(min=0, help="Stop after this time, with a checkpoint.")] = 1e9,
    steps: Annotated[int | None, typer.Option(min=1, help="Instead of the recipe's; moves the cooldown.")] = None,
    device: Device = "cpu",
    threads: Threads = 0,
) -> None:
    """Train a model; stop and go on as you like.

    Example: `lichen train recipes/lichen.toml --data photos/ --valid others/ -o runs/a --max-minutes 60`
    """
    from lichen.training.session import train_session

    _set_threads(threads)
    train_session(recipe, data, valid, output, max_minutes, steps, device, console)


def main() -> None:
    """Entry point: typed errors become one line and an exit code."""
    try:
        app()
    except LichenError as error:
        console.print(f"lichen: {error}", markup=False)
        sys.exit(EXIT_USAGE if isinstance(error, UsageError) else EXIT_INPUT)
