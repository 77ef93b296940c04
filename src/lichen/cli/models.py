"""Commands about models: models, import."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from lichen.cli.app import Force, Json, app


@app.command()
def models(
    table: Annotated[bool, typer.Option("--table", help="Count parameters and multiply-adds of each.")] = False,
    as_json: Json = False,
) -> None:
    """List the models and the weights found here; with --table what each model costs, measured on the built model.

    Examples: `lichen models` · `lichen models --table` · `lichen models --table --json | jq .[0].parameters`
    """
    from lichen.lab.models.zoo import rows

    if not table:
        _list(as_json)
        return
    from lichen.lab.evaluation import counts
    from lichen.lab.papers import model_table as tables

    if as_json:
        typer.echo(json.dumps([tables.facts(row) for row in rows()], indent=2))
        return
    typer.echo(tables.head())
    for row in rows():
        typer.echo(tables.line(row))
    typer.echo(f"\n{counts.CONVENTION}")
    for text in filter(None, map(tables.paper_tables, rows())):
        typer.echo(text)


def _list(as_json: bool) -> None:
    """The rows, and below them (in JSON: in them) the weights that are found without being named."""
    from lichen.lab.models.checkpoint import available_weights
    from lichen.lab.models.zoo import rows

    found: dict[str, list[dict[str, str]]] = {row.name: [] for row in rows()}
    for w in available_weights():
        facts = {"file": str(w.path), "hash": w.hash.hex(), "trained_for": w.trained_for.value}
        found.setdefault(w.name, []).append(facts)
    if as_json:
        listed = [{"name": r.name, "id": r.id, "about": r.about, "weights": found[r.name]} for r in rows()]
        typer.echo(json.dumps(listed, indent=2))
        return
    for row in rows():
        typer.echo(f"{row.id:>3}  {row.name:<20} {row.about}")
        for facts in found[row.name]:
            typer.echo(f"     weights {facts['hash']}, trained for {facts['trained_for']}: {facts['file']}")


@app.command("import")
def import_(
    source: Annotated[Path, typer.Argument(metavar="FILE", help="A .pth.tar or .safetensors of CompressAI.")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Default: beside it, .safetensors.")] = None,
    force: Force = False,
) -> None:
    """Convert a checkpoint of CompressAI to weights that encode and decode `.lic` files.

    Example: `lichen import mbt2018-mean-4.pth.tar -o mean.safetensors`, then
    `lichen encode a.png --weights mean.safetensors`
    """
    from lichen.lab.models.compressai import convert

    bare = source.name.removesuffix(".tar").removesuffix(".pth").removesuffix(".safetensors")
    target = output or source.with_name(f"{bare}.safetensors")
    converted = convert(source, target, force)
    typer.echo(f"{source}: {converted.architecture} -> {target}: {converted.row}")


@app.command()
def export(
    weights: Annotated[Path, typer.Argument(help="A weights file.", show_default=False)],
    output: Annotated[Path, typer.Option("-o", "--output", help="The folder to write.", show_default=False)],
) -> None:
    """Write the graphs that the codec runs without PyTorch, for the config of some weights: part of a release.

    Example: `lichen export src/lichen/weights/lichen.safetensors -o src/lichen/graphs/lichen`
    """
    from lichen.lab.export.write import export as write

    write(weights, output, typer.echo)
