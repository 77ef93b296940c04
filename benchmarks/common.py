"""What every benchmark does at its end: print a table, write JSON beside it, exit 1 on a missed bar."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from lichen.image.files import write_atomically
from lichen.runtime.processor import processor_name
from lichen.runtime.weights import find_by_name, hash_of

RESULTS = Path(__file__).parents[1] / "results"


@dataclass(frozen=True)
class Bar:
    """A claim: `value` must not be above `limit`."""

    what: str
    value: float
    limit: float

    @property
    def met(self) -> bool:
        return self.value <= self.limit


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print a table; floats with four significant digits."""
    table = Table(*columns, title=title, title_justify="left")
    for row in rows:
        table.add_row(*(f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in row))
    Console(width=140).print(table)


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    import torch  # late: a process begins with the peak memory of the one that starts it

    versions = {name: version(name) for name in ("torch", "onnxruntime")}
    return {"cpu": processor_name(), "threads": torch.get_num_threads(), **versions}


def weights_hash(path: Path | None = None) -> str:
    """The hash of a weights file, or of the shipped ones: figures are of these only."""
    return hash_of(path or find_by_name("lichen")).hex()


def finish(name: str, facts: dict[str, Any], bars: Sequence[Bar]) -> None:
    """Write results/NAME.json, print the bars, exit 1 if one is missed."""
    show(
        "bars",
        ("claim", "measured", "limit", ""),
        [(b.what, b.value, b.limit, "met" if b.met else "MISSED") for b in bars],
    )
    stored = {**facts, "machine": machine(), "bars": [{**vars(b), "met": b.met} for b in bars]}
    write_atomically(RESULTS / f"{name}.json", (json.dumps(stored, indent=1) + "\n").encode(), overwrite=True)
    if not all(b.met for b in bars):
        sys.exit(1)
