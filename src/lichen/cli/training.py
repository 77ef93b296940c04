"""Commands for people who train: train, learn-filters."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lichen.cli.app import Device, Threads, app, console, say
from lichen.errors import UsageError
from lichen.runtime.threads import set_threads

if TYPE_CHECKING:
    from lichen.lab.training.data import Cache

CACHES = ("ram", "device", "none")


Recipe = Annotated[Path, typer.Argument(help="A TOML file of recipes/.", show_default=False)]
Data = Annotated[Path, typer.Option(help="Folder of pictures to train on.", show_default=False)]
Valid = Annotated[Path | None, typer.Option(help="Folder of pictures to validate on, by file bytes.")]
RunFolder = Annotated[Path, typer.Option("-o", "--output", help="Folder of the run; resumed if it has one.")]
MaxMinutes = Annotated[float | None, typer.Option(min=0, help="Stop after this time, with a checkpoint.")]
Steps = Annotated[int | None, typer.Option(min=1, help="Instead of the recipe's; moves the cooldown.")]
Batch = Annotated[int | None, typer.Option(min=1, help="Crops of a step, instead of the recipe's.")]
Crop = Annotated[list[int] | None, typer.Option(help="Side of the crops in pixels; of several, in turn.")]
Changes = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Any key of the recipe.")]
Lambda = Annotated[float | None, typer.Option("--lambda", help="Which of a recipe's models to train.")]
Start = Annotated[Path | None, typer.Option(help="Weights to begin with (the recipe's start_with of them).")]
CacheChoice = Annotated[str, typer.Option("--cache", help="Decoded pictures stay in ram, on the device, or none.")]
SaveMinutes = Annotated[float, typer.Option(min=0, help="Time between checkpoints.")]
LogSteps = Annotated[int, typer.Option(min=1, help="Steps for each line of log.csv.")]
ToTensorBoard = Annotated[bool, typer.Option("--tensorboard", help="Also write OUTPUT/tensorboard.")]


def _explain(wanted: bool) -> None:
    """Print every key of a recipe, and end."""
    if not wanted:
        return
    from rich.console import Console
    from rich.table import Table

    from lichen.lab.training.explain import config_keys, recipe_keys

    keys, config = Table("key", "default", "meaning"), Table("key of the default model's config", "value")
    for key in recipe_keys():
        keys.add_row(key.name, key.default, key.meaning)
    for key in config_keys():
        config.add_row(key.name, key.default)
    for table in (keys, config):
        Console(markup=False, highlight=False).print(table)
    raise typer.Exit


Explain = Annotated[
    bool, typer.Option("--explain", callback=_explain, is_eager=True, help="Explain every key of a recipe.")
]


@app.command()
def train(
    recipe: Recipe,
    data: Data,
    valid: Valid = None,
    output: RunFolder = Path("run"),
    max_minutes: MaxMinutes = None,
    steps: Steps = None,
    batch: Batch = None,
    crop: Crop = None,
    changes: Changes = None,
    lam: Lambda = None,
    start: Start = None,
    cache: CacheChoice = "ram",
    save_minutes: SaveMinutes = 2,
    log_steps: LogSteps = 100,
    tensorboard: ToTensorBoard = False,
    explain: Explain = False,
    device: Device = "cpu",
    threads: Threads = 0,
) -> None:
    """Train a model; stop, kill and go on as you like: a run resumes where its last checkpoint was.

    Vimeo-90k's and CLIC's folders are known by their layout. For several GPUs or machines see the last example.

    Examples: `lichen train recipes/lichen.toml --data photos/ --valid others/ -o runs/a --max-minutes 60` ·
    `lichen train recipes/correlation-2023/minnen-hp.toml --lambda 0.013 --data vimeo_septuplet/ --cache none` ·
    `lichen train recipes/lichen.toml --data photos/ --batch 4 --crop 128 --set learning_rate=1e-4` ·
    `accelerate launch -m lichen train recipes/lichen.toml --data photos/ --device cuda`
    """
    from lichen.lab.training.session import Run, train_session

    set_threads(threads)
    run = Run(recipe, data, output, valid, max_minutes=max_minutes, steps=steps, batch=batch, crop=tuple(crop or ()),
              changes=tuple(changes or ()), lam=lam, start=start, cache=_cache(cache), device=device,
              save_minutes=save_minutes, log_steps=log_steps, tensorboard=tensorboard)  # fmt: skip
    train_session(run, console)


def _cache(name: str) -> Cache:
    """Where decoded pictures are kept. Raises `UsageError`."""
    from lichen.lab.training.data import Cache

    if name not in CACHES:
        raise UsageError(f"cache must be {', '.join(CACHES)}, not {name!r}")
    return Cache(name)


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
    """Find the principal filters of trained weights: the last step of a training, for models with a post-filter.

    Example: `lichen learn-filters runs/a/lichen.safetensors --data photos/ -o lichen.safetensors`
    """
    from lichen.lab.training.learn_filters import learn_filters_of

    set_threads(threads)
    learn_filters_of(weights, data, output, pictures, say=say, device=device, force=force)
