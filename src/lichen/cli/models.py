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
    """List the models there are; with --table what each costs, measured on the built model.

    Examples: `lichen models` · `lichen models --table` · `lichen models --table --json | jq .[0].parameters`
    """
    from lichen.models.zoo import ZOO

    if not table:
        rows = [{"name": row.name, "id": row.id, "about": row.about} for row in ZOO]
        typer.echo(
            json.dumps(rows, indent=2) if as_json else "\n".join(f"{r.id:>3}  {r.name:<20} {r.about}" for r in ZOO)
        )
        return
    from lichen.evaluation import counts
    from lichen.evaluation import table as tables

    if as_json:
        typer.echo(json.dumps([tables.facts(row) for row in ZOO], indent=2))
        return
    typer.echo(tables.head())
    for row in ZOO:
        typer.echo(tables.line(row))
    typer.echo(f"\n{counts.CONVENTION}")
    for text in filter(None, map(tables.paper_tables, ZOO)):
        typer.echo(text)


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
    from lichen.models.compressai import convert

    bare = source.name.removesuffix(".tar").removesuffix(".pth").removesuffix(".safetensors")
    target = output or source.with_name(f"{bare}.safetensors")
    converted = convert(source, target, force)
    typer.echo(f"{source}: {converted.architecture} -> {target}: {converted.row}")
