"""Commands for people who train: train."""

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
    from lichen.training.data import Cache
    from lichen.training.session import Run, train_session

    if cache not in CACHES:
        raise UsageError(f"cache must be {', '.join(CACHES)}, not {cache!r}")
    set_threads(threads)
    kept = Cache(cache)
    run = Run(
        recipe, data, output, valid, max_minutes, steps, lam, start, kept, device, save_minutes, log_steps, tensorboard
    )
    train_session(run, console)
