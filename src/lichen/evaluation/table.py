"""The table of all models: parameters and multiply-adds of each part, beside published figures."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from lichen.evaluation.counts import count
from lichen.evaluation.published import PUBLISHED
from lichen.models.zoo import Row

# Column -> its width; the order is fixed, so that scripts may rely on it.
_COLUMNS = {
    "total M": 8,
    "analysis": 10,
    "synthesis": 10,
    "hyper": 7,
    "prior": 7,
    "analysis ": 10,
    "synthesis ": 10,
    "hyper ": 7,
    "prior ": 7,
    "encode": 8,
    "decode": 8,
    "paper M": 9,
    "decode ": 8,
}
_NAME = 20


def facts(row: Row) -> dict[str, Any]:
    """What is counted and published of a row, as plain data."""
    counts, published = count(row.config), PUBLISHED.get(row.name)
    return {
        "name": row.name,
        "id": row.id,
        "parameters": counts.parameters,
        "encode_mac_per_pixel": counts.encode,
        "decode_mac_per_pixel": counts.decode,
        "parts": asdict(counts),
        "published": asdict(published) if published else None,
    }


def head() -> str:
    """The table's two head lines."""
    widths = list(_COLUMNS.values())
    groups = ("parameters, millions", sum(widths[:5])), ("kMAC/pixel", sum(widths[5:11])), ("published", 17)
    first = "".join(f"{title:>{width}}" for title, width in groups)
    return f"{'':<{_NAME}}{first}\n{'model':<{_NAME}}" + "".join(f"{k.strip():>{w}}" for k, w in _COLUMNS.items())


def line(row: Row) -> str:
    """A row of the table."""
    counts, published = count(row.config), PUBLISHED.get(row.name)
    parts = (counts.analysis, counts.synthesis, counts.hyper, counts.prior)
    millions = [counts.parameters / 1e6, *(part.parameters / 1e6 for part in parts)]
    kmac = [*(part.mac_per_pixel / 1e3 for part in parts), counts.encode / 1e3, counts.decode / 1e3]
    cells = [f"{value:.2f}" for value in millions + kmac]
    cells += [str(published.parameters_m), str(published.decode_kmac)] if published else ["-", "-"]
    return f"{row.name:<{_NAME}}" + "".join(f"{c:>{w}}" for c, w in zip(cells, _COLUMNS.values(), strict=True))
