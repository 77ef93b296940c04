"""Commands for people who train: train."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lichen.cli.app import Device, Threads, app, console, set_threads


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

    set_threads(threads)
    train_session(recipe, data, valid, output, max_minutes, steps, device, console)
