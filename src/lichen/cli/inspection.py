"""Commands for people who look inside: inspect."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from lichen.cli.app import Force, Json, Threads, app, say
from lichen.image.files import refuse_existing
from lichen.runtime.threads import set_threads


@app.command()
def inspect(
    weights: Annotated[list[str], typer.Argument(help="Names of weights (lichen), or files.", show_default=False)],
    pictures: Annotated[Path, typer.Argument(help="A picture, or a folder of them.", show_default=False)],
    output: Annotated[Path, typer.Option("-o", "--output", help="PNG to write.")] = Path("inspect.png"),
    quality: Annotated[float, typer.Option("-q", "--quality", min=0, max=100, help="0 ... 100.")] = 50,
    limit: Annotated[int, typer.Option(min=1, help="At most so many pictures.")] = 24,
    force: Force = False,
    as_json: Json = False,
    threads: Threads = 0,
) -> None:
    """Look at a model's latents: correlation maps, mean, scale, rates; two or more models side by side.

    OUTPUT-channels.png has magnitudes, histograms, energies and correlations by channel. Of Global Reference also
    OUTPUT-references.png: matched regions, S and U maps, what each stage brings.
    --json prints numbers instead of drawing.

    Examples: `lichen inspect lichen kodak/` · `lichen inspect a.safetensors kodak/ --json` ·
    `lichen inspect plain.safetensors corr.safetensors kodak/ -o both.png`
    """
    from lichen.lab.inspection.inspect import inspect_model
    from lichen.lab.models.checkpoint import load_checkpoint
    from lichen.lab.training.data import open_pictures
    from lichen.runtime.weights import find_named

    set_threads(threads)
    refuse_existing(output, force or as_json)
    opened = open_pictures(pictures, limit)
    inspections = [inspect_model(load_checkpoint(find_named(text)), opened, quality) for text in weights]
    if as_json:
        typer.echo(json.dumps([inspection.numbers() for inspection in inspections], indent=2))
        return
    for i in inspections:
        say(i.summary())
    shown = f"{_counted(len(inspections), 'model')} on {_counted(inspections[0].pictures, 'picture')}"
    for path in _draw(inspections, output, force):
        say(f"{path} shows {shown}")


def _draw(inspections: list[Any], output: Path, force: bool) -> list[Path]:
    """Write the sheets; gives their files."""
    from lichen.image.files import write_atomically
    from lichen.lab.inspection.sheets import sheets

    wanted = {output.with_stem(f"{output.stem}{more}"): draw for more, draw in sheets(inspections).items()}
    for path in wanted:
        refuse_existing(path, force)
    for path, draw in wanted.items():
        write_atomically(path, draw(inspections), force)
    return list(wanted)


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
