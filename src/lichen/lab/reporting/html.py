"""Pages of one file each: style, script, data and pictures inside; only slider.js looks for a decoder beside them."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any

_PARTS = Path(__file__).parent / "page"


def page(title: str, body: str, scripts: tuple[str, ...], data: dict[str, Any]) -> bytes:
    """A page of `body` (a file of page/) with these scripts and `data` as JSON."""
    text = _part("page.html")
    # In JSON every < may be escaped, so that no data can end the script element.
    embedded = json.dumps(data, allow_nan=False, ensure_ascii=False).replace("<", "\\u003c")
    values = {
        "title": html.escape(title),
        "style": _part("style.css"),
        "body": _part(body),
        "script": "\n".join(_part(name) for name in scripts),
        "data": embedded,
    }
    filled = re.sub(r"\{\{(\w+)\}\}", lambda found: values[found[1]], text)
    return filled.encode(errors="replace")  # names of files need not be UTF-8


def _part(name: str) -> str:
    return (_PARTS / name).read_text(encoding="utf-8")
