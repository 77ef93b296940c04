"""Commands for people who train: train, learn-filters."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lichen.cli.app import Device, Threads, app, console, set_threads
from lichen.errors import UsageError

CACHES = ("ram", "device", "none")


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
    lam: Annotated[float | None, typer.Option("--lambda", help="Which of a recipe's models to train.")] = None,
    start: Annotated[Path | None, typer.Option(help="Weights to begin with (the recipe's start_with of them).")] = None,
    cache: Annotated[str, typer.Option(help="Decoded pictures stay in ram, on the device, or none.")] = "ram",
    save_minutes: Annotated[float, typer.Option(min=0, help="Time between checkpoints.")] = 2,
    log_steps: Annotated[int, typer.Option(min=1, help="Steps for each line of log.csv.")] = 100,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Also write OUTPUT/tensorboard.")] = False,
    device: Device = "cpu",
    threads: Threads = 0,
) -> None:
    """Train a model; stop, kill and go on as you like: a run resumes where its last checkpoint was.

    Vimeo-90k's and CLIC's folders are known by their layout. For several GPUs or machines see the last example.

    Examples: `lichen train recipes/lichen.toml --data photos/ --valid others/ -o runs/a --max-minutes 60` ·
    `lichen train recipes/correlation-2023/minnen-hp.toml --lambda 0.013 --data vimeo_septuplet/ --cache none` ·
    `accelerate launch -m lichen train recipes/lichen.toml --data photos/ --device cuda`
    """
    from lichen.lab.training.data import Cache
    from lichen.lab.training.session import Run, train_session

    if cache not in CACHES:
        raise UsageError(f"cache must be {', '.join(CACHES)}, not {cache!r}")
    set_threads(threads)
    kept = Cache(cache)
    run = Run(
        recipe, data, output, valid, max_minutes, steps, lam, start, kept, device, save_minutes, log_steps, tensorboard
    )
    train_session(run, console)


@app.command("learn-filters")
def learn_filters(
    weights: Annotated[Path, typer.Argument(help="A weights file that train wrote.", show_default=False)],
    data: Annotated[Path, typer.Option(help="Folder of the pictures it was trained on.", show_default=False)],
    output: Annotated[Path, typer.Option("-o", "--output", help="The weights file to write.", show_default=False)],
    pictures: Annotated[int, typer.Option(min=1, help="How many of them to learn from, evenly among all.")] = 100,
    force: Annotated[bool, typer.Option("--force", help="Replace the output if it exists.")] = False,
    device: Device = "cpu",
    threads: Threads = 0,
) -> None:
    """Find the principal filters of trained weights: the last step, where a model has filters of pictures' own.

    Example: `lichen learn-filters runs/a/lichen.safetensors --data photos/ -o lichen.safetensors`
    """
    from lichen.lab.training.filters import learn_filters_of

    set_threads(threads)
    learn_filters_of(weights, data, output, pictures, console.print, device, force)
