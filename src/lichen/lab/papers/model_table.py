"""`lichen models --table`: parameters and multiply-adds of each row's parts, beside printed figures."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from lichen.lab.evaluation.counts import count
from lichen.lab.models.prior_configs import ReferenceContext
from lichen.lab.models.zoo import Row
from lichen.lab.papers import reference_costs


@dataclass(frozen=True)
class PrintedSize:
    """What a paper or its followers print of a model: parameters in millions, thousands of multiply-adds per pixel to
    decode, counted as `evaluation.counts` does.
    """

    parameters_m: float
    decode_kmac: float


PRINTED = {
    "minnen-hp": PrintedSize(7.03, 42),
    "swint-hp": PrintedSize(24.65, 265),
    "elic-library": PrintedSize(32.1, 328),
}  # by row

# The table's columns and their widths, in a fixed order, so that scripts may rely on it.
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
    """What is counted and printed of a row, as plain data for JSON."""
    counts, published = count(row.config), PRINTED.get(row.name)
    return {
        "name": row.name,
        "id": row.id,
        "parameters": counts.parameters,
        "encode_mac_per_pixel": counts.encode,
        "decode_mac_per_pixel": counts.decode,
        "parts": asdict(counts),
        "published": asdict(published) if published else None,
        "paper_gflops": [asdict(line) for line in _paper_lines(row)],
    }


def _paper_lines(row: Row) -> list[reference_costs.PaperCost]:
    """The operations that the row's own paper prints, where it does."""
    return reference_costs.lines(row.config) if isinstance(row.config.context, ReferenceContext) else []


def paper_tables(row: Row) -> str:
    """The operations that the row's own paper prints beside ours, as text; empty where it prints none."""
    found = _paper_lines(row)
    shares = [
        f"{f'{line.paper_share:.2f} %':>10}{f'{line.our_share:.2f} %':>10}" if line.our_share else "" for line in found
    ]
    body = [
        f"{line.name:<28}{line.paper:>10.2f}{line.ours:>10.2f}{share}"
        for line, share in zip(found, shares, strict=True)
    ]
    title = (
        f"\n{row.name}, GFLOPs as its paper counts: two for each multiply-add, transposed convolutions without their\n"
    )
    title += "stride, normalisations and half of the similarity matrix included; share of the reference model\n"
    columns = f"{'':<28}{'paper':>10}{'ours':>10}{'paper':>10}{'ours':>10}"
    return "\n".join([title + columns, *body]) if found else ""


def head() -> str:
    """The table's two head lines."""
    widths = list(_COLUMNS.values())
    groups = ("parameters, millions", sum(widths[:5])), ("kMAC/pixel", sum(widths[5:11])), ("published", 17)
    first = "".join(f"{title:>{width}}" for title, width in groups)
    return f"{'':<{_NAME}}{first}\n{'model':<{_NAME}}" + "".join(f"{k.strip():>{w}}" for k, w in _COLUMNS.items())


def line(row: Row) -> str:
    """A row of the table."""
    counts, published = count(row.config), PRINTED.get(row.name)
    parts = (counts.analysis, counts.synthesis, counts.hyper, counts.prior)
    millions = [counts.parameters / 1e6, *(part.parameters / 1e6 for part in parts)]
    kmac = [*(part.mac_per_pixel / 1e3 for part in parts), counts.encode / 1e3, counts.decode / 1e3]
    cells = [f"{value:.2f}" for value in millions + kmac]
    cells += [str(published.parameters_m), str(published.decode_kmac)] if published else ["-", "-"]
    return f"{row.name:<{_NAME}}" + "".join(f"{c:>{w}}" for c, w in zip(cells, _COLUMNS.values(), strict=True))
