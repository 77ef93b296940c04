"""An experiment's facts as a page of Markdown: ours beside the paper's."""

from __future__ import annotations

from typing import Any

_COLUMNS = ("percent", "paper_percent", "ms_ssim_percent", "paper_ms_ssim_percent", "seconds", "paper_seconds")


def as_text(title: str, facts: dict[str, Any]) -> str:
    """The page; `facts` are what `reproduce` writes as JSON."""
    budget = facts["budget"]
    lines = [f"# {title}", ""]
    if facts["meaningless"]:
        lines += ["**Smoke: these numbers are meaningless; they prove that everything runs.**", ""]
    lines += [
        f"Scale `{facts['scale']}`: {budget['trainings']} trainings of {budget['steps_each']} steps, {budget['batch']} "
        f"crops of {budget['crop']} pixels, {budget['training_pictures']} pictures; {budget['hours']} hours on "
        f"{', '.join(budget['device'])}.",
        "",
        "| model | over | BD-rate, % | the paper's | MS-SSIM BD-rate, % | the paper's | s for all | the paper's |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for line in facts["variants"]:
        cells = [_cell(line.get(key)) for key in _COLUMNS]
        lines.append(f"| {line['name']} | {line['over'] or ''} | {' | '.join(cells)} |")
    for line in facts["published"]:
        cells = [_cell(line.get(key)) for key in _COLUMNS]
        lines.append(f"| {line['name']}, published points `{line['curve']}` | vtm | {' | '.join(cells)} |")
    for line in facts["variants"]:
        if line.get("paper_derived"):
            lines += ["", f"The paper's {line['paper_percent']:g} for {line['name']}: {line['paper_derived']}."]
    lines += _comparisons(facts["comparisons"])
    for line in [*facts["variants"], *facts["comparisons"]]:
        if line.get("percent_refused"):
            lines += ["", f"No BD-rate for {line['name']} over {line['over']}: {line['percent_refused']}."]
    return "\n".join(lines + _correlations(facts["correlation"], facts["rates"])) + "\n"


def _comparisons(found: list[dict[str, Any]]) -> list[str]:
    """What the paper's text says of two curves."""
    if not found:
        return []
    lines = ["", "| what its text says | over | by | BD-rate, % | the paper's |", "|---|---|---|---|---|"]
    for line in found:
        said = f"{_cell(line['paper_percent'])} {line['said']}"
        by, key = ("MS-SSIM", "ms_ssim_percent") if line["by_ms_ssim"] else ("PSNR", "percent")
        lines.append(f"| {line['name']} | {line['over']} | {by} | {_cell(line[key])} | {said} |")
    return lines


def _correlations(maps: list[dict[str, Any]], rates: list[dict[str, Any]]) -> list[str]:
    """The correlation of the normalised latents at each lambda, and the bits of y and z beside it."""
    if not maps:
        return []
    by_key = {(rate["variant"], rate["lambda"]): rate for rate in rates}
    lines = [
        "",
        "C: the mean of abs(C) off the centre of the 5 x 5 correlation map (eq. 10); C/C(0): the same of the map over "
        "its centre, which is a correlation; bits per pixel: files, and what is estimated of y and of z.",
        "",
        "| model | lambda | C | C/C(0) | file, bpp | y, bpp | z, bpp |",
        "|---|---|---|---|---|---|---|",
    ]
    for m in maps:
        rate = by_key[m["variant"], m["lambda"]]
        bits = " | ".join("" if rate[key] is None else f"{rate[key]:.4f}" for key in ("bpp", "y_bpp", "z_bpp"))
        lines.append(
            f"| {m['variant']} | {m['lambda']:g} | {m['off_centre']:.4f} | {m['normalised_off_centre']:.4f} | {bits} |"
        )
    return lines


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:g}"
