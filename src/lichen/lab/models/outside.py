"""Models of other packages: rows that these announce by entry points of the group `lichen.models`."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from lichen.errors import UsageError

GROUP = "lichen.models"
FIRST_ID = 1024  # of rows of other packages; those below are this package's


@functools.cache
def announced() -> tuple[Any, ...]:
    """The rows (`zoo.Row`) of all installed packages that announce some; each entry point is a row, or several.

    Raises `UsageError` for one that cannot be loaded, or whose name or id is taken or below `FIRST_ID`.
    """
    found: dict[str, Any] = {}
    ids: dict[int, str] = {}
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: (entry.name, entry.value)):
        for row in _rows(entry):
            if row.id < FIRST_ID:
                raise UsageError(f"{_said(entry)}: row {row.name!r} needs an id of {FIRST_ID} or more, not {row.id}")
            if row.name in found or row.id in ids:
                raise UsageError(f"{_said(entry)}: the name {row.name!r} or the id {row.id} is another row's")
            found[row.name], ids[row.id] = row, row.name
    return tuple(found.values())


def _rows(entry: EntryPoint) -> Sequence[Any]:
    try:
        loaded = entry.load()
        rows = loaded if isinstance(loaded, list | tuple) else (loaded,)
        for row in rows:
            row.name, row.id, row.config, row.about  # noqa: B018 - what a row has
    except Exception as error:  # whatever the package's own code raises
        raise UsageError(f"{_said(entry)} cannot be loaded ({error!r}); mend or uninstall it") from error
    return rows


def _said(entry: EntryPoint) -> str:
    package = "" if entry.dist is None else f" of {entry.dist.name}"
    return f"the model {entry.value}{package}"


@functools.cache
def announced_kinds() -> dict[str, type]:
    """The dataclasses that the configs of these rows are made of, by their names."""
    found: dict[str, type] = {}
    for row in announced():
        _collect(row.config, found)
    return found


def _collect(part: Any, found: dict[str, type]) -> None:
    if dataclasses.is_dataclass(part) and not isinstance(part, type):
        found[type(part).__name__] = type(part)
        for field in dataclasses.fields(part):
            _collect(getattr(part, field.name), found)
