"""`lichen reproduce` of tables that count operations: ours beside the paper's, and seconds of this machine."""

from __future__ import annotations

import json
import tomllib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from lichen.image.files import write_atomically
from lichen.lab.evaluation.summary import machine
from lichen.lab.models.config import ModelConfig
from lichen.lab.models.zoo import row
from lichen.lab.papers.global_reference_2021 import MODULE_GFLOPS
from lichen.lab.papers.protocol import CostTable, PictureSize, System, TrainingScale
from lichen.lab.papers.reference_costs import module_seconds, modules, size_seconds, sizes
from lichen.lab.training.schema import override

_COUNTED = (
    "Counted as the paper counts: GFLOPs are two for each multiply-add, transposed convolutions without their stride, "
    "normalisations and half of the similarity matrix included. Nothing is trained: counts are the same at every "
    "scale."
)


@dataclass(frozen=True)
class CostLine:
    """A line of a table of costs; what is not known is None.

    `share_percent` is the reference model's part of the GFLOPs, `search_percent` that of the search of the seconds.
    """

    system: str
    part: str
    gflops: float
    paper_gflops: float | None
    seconds: float | None = None
    share_percent: float | None = None
    paper_share_percent: float | None = None
    search_percent: float | None = None


def count_costs(table: CostTable, scale: TrainingScale, output: Path, device: torch.device) -> str:
    """Count and time the models of a table; write `output`/NAME.json and NAME.md, whose text is given."""
    costs = [cost for system in table.systems for cost in _modules(system, scale, device)]
    if table.sizes:
        config = row("global-reference").config
        costs += [_size(config, size, scale, device) for size in table.sizes]
    facts = {
        "experiment": table.name,
        "scale": scale.name,
        "budget": {"repeats": scale.repeats, "pixels_max": scale.pixels_max, "device": device.type} | _machine(),
        "costs": [asdict(cost) for cost in costs],
    }
    text = as_text(table, facts)
    write_atomically(output / f"{table.name}.json", (json.dumps(facts, indent=1) + "\n").encode(), overwrite=True)
    write_atomically(output / f"{table.name}.md", text.encode(), overwrite=True)
    return text


def _machine() -> dict[str, Any]:
    return {**machine(), "threads": torch.get_num_threads()}


def _config(system: System) -> ModelConfig:
    changes = tomllib.loads(system.config).get("config", {})
    return override(row(system.model).config, changes, ("config",))


def _modules(system: System, scale: TrainingScale, device: torch.device) -> list[CostLine]:
    config = _config(system)
    counted, seconds = modules(config), module_seconds(config, scale.repeats, device)
    return [
        CostLine(
            system.name,
            name,
            gflops=round(counted[name], 3),
            paper_gflops=system.paper_gflops[name],
            seconds=round(seconds[name], 5),
        )
        for name in MODULE_GFLOPS
        if name in counted
    ]


def _size(config: ModelConfig, size: PictureSize, scale: TrainingScale, device: torch.device) -> CostLine:
    (line,) = sizes(config, [size])
    shares = {"share_percent": round(line.our_share or 0, 2), "paper_share_percent": line.paper_share}
    cost = CostLine("Global Reference", size.name, gflops=round(line.ours, 3), paper_gflops=line.paper, **shares)
    if size.pixels > scale.pixels_max:
        return cost
    whole, search = size_seconds(config, size, scale.repeats, device)
    return CostLine(**asdict(cost) | {"seconds": round(whole, 4), "search_percent": round(100 * search / whole, 1)})


def as_text(table: CostTable, facts: dict[str, Any]) -> str:
    """The facts as a page of Markdown: ours beside the paper's."""
    budget = facts["budget"]
    timed = f"are the median of {budget['repeats']} calls" if budget["repeats"] > 1 else "are of one call"
    upto = f", up to {budget['pixels_max']} pixels" if table.sizes else ""
    lines = [f"# {table.title}", "", _COUNTED, ""]
    lines += [
        f"Scale `{facts['scale']}`: seconds {timed} in float32{upto}, on "
        f"{budget['device']} ({budget['cpu']}, {budget['threads']} threads); untrained weights cost the same.",
        "",
    ]
    columns = ["system", "part", "GFLOPs", "the paper's", "s"]
    keys = ["system", "part", "gflops", "paper_gflops", "seconds"]
    if table.sizes:
        columns += ["reference model, % of GFLOPs", "the paper's", "search, % of s"]
        keys += ["share_percent", "paper_share_percent", "search_percent"]
    lines += [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    lines += [f"| {' | '.join(_cell(cost[key]) for key in keys)} |" for cost in facts["costs"]]
    return "\n".join(lines) + "\n"


def _cell(value: float | str | None) -> str:
    return "" if value is None else value if isinstance(value, str) else f"{value:g}"
