"""Every key of a recipe with its default and its meaning, from the dataclasses that recipes are read into."""

from __future__ import annotations

import dataclasses
import enum
import inspect
import re
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from lichen.lab.models.zoo import row
from lichen.lab.training.recipe import Recipe
from lichen.lab.training.schema import Place, as_toml, plain, value_names

_ENTRY = re.compile(r"(\w+): (.*)")
_MODEL = "lichen"  # whose config is listed


@dataclass(frozen=True)
class KeyInfo:
    """A key of a recipe: its dotted name, its default as TOML ("" where there is none), and what it means."""

    name: str
    default: str
    meaning: str


def recipe_keys() -> list[KeyInfo]:
    """All keys of a recipe, those of its tables with them, but `config`'s."""
    return list(_keys(Recipe, ()))


def config_keys() -> list[KeyInfo]:
    """The keys of [config] with the values of the default model; their meaning is that of its config's classes."""
    return list(_values(row(_MODEL).config, ("config",)))


def _keys(kind: type, place: Place) -> Iterator[KeyInfo]:
    meanings, hints = _meanings(kind), typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        name = (*place, field.name)
        table = _table(hints[field.name])
        meaning = meanings[field.name] + _choices(hints[field.name], meanings[field.name])
        yield KeyInfo(".".join(name), "" if table else _default(field), meaning)
        if table:
            yield from _keys(table, name)


def _meanings(kind: type) -> dict[str, str]:
    """What a dataclass's docstring says of its fields: paragraphs `name: text`, further lines indented."""
    found: dict[str, str] = {}
    name = ""
    for line in inspect.cleandoc(kind.__doc__ or "").splitlines():
        entry = _ENTRY.fullmatch(line)
        if entry and entry[1] in kind.__annotations__:
            name, found[entry[1]] = entry[1], entry[2]
        elif line.startswith("    ") and name:
            found[name] += " " + line.strip()
        else:
            name = ""
    return found


def _table(hint: Any) -> type | None:
    """The dataclass that a field holds, None for plain values."""
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    return next((option for option in options if isinstance(option, type) and dataclasses.is_dataclass(option)), None)


def _choices(hint: Any, meaning: str) -> str:
    """The values of an enum, where its meaning does not name them all."""
    if not (isinstance(hint, type) and issubclass(hint, enum.Enum)):
        return ""
    names = value_names(hint)
    return "" if all(name in meaning for name in names) else f" One of {', '.join(names)}."


def _default(field: dataclasses.Field[Any]) -> str:
    value = field.default
    if field.default_factory is not dataclasses.MISSING:
        value = field.default_factory()
    if value is dataclasses.MISSING or value is None or value == {}:
        return ""
    return as_toml(value.value if isinstance(value, enum.Enum) else value)


def _values(part: Any, place: Place) -> Iterator[KeyInfo]:
    for field in dataclasses.fields(part):
        value, name = getattr(part, field.name), (*place, field.name)
        if dataclasses.is_dataclass(value):
            yield KeyInfo(".".join((*name, "kind")), as_toml(type(value).__name__), "")
            yield from _values(value, name)
        elif value is not None:
            yield KeyInfo(".".join(name), as_toml(plain(value)), "")
