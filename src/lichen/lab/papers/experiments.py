"""All tables and figures of the papers that `lichen reproduce` knows, found by their names."""

from __future__ import annotations

from lichen.errors import UsageError
from lichen.lab.papers import correlation_2023, elic_2022, global_reference_2021
from lichen.lab.papers.protocol import SCALES, CostTable, Experiment, TrainingScale

__all__ = ["COST_TABLES", "EXPERIMENTS", "SCALES", "CostTable", "Experiment", "TrainingScale", "experiment", "scale"]

EXPERIMENTS = correlation_2023.EXPERIMENTS + elic_2022.EXPERIMENTS + global_reference_2021.EXPERIMENTS
COST_TABLES = global_reference_2021.COST_TABLES


def experiment(name: str) -> Experiment | CostTable:
    """The experiment or table of costs of that name. Raises `UsageError` with the names there are."""
    for candidate in (*EXPERIMENTS, *COST_TABLES):
        if candidate.name == name:
            return candidate
    names = ", ".join(e.name for e in (*EXPERIMENTS, *COST_TABLES))
    raise UsageError(f"no experiment {name!r}; there are: {names}")


def scale(name: str) -> TrainingScale:
    """The scale of that name. Raises `UsageError` with the names there are."""
    for candidate in SCALES:
        if candidate.name == name:
            return candidate
    raise UsageError(f"no scale {name!r}; there are: {', '.join(s.name for s in SCALES)}")
