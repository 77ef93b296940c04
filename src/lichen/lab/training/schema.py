"""TOML read into frozen dataclasses, by the types of their fields. Errors name the line and the nearest valid key."""

from __future__ import annotations

import dataclasses
import difflib
import enum
import tomllib
import types
import typing
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

from lichen.errors import BadRecipe, UsageError

T = TypeVar("T")
Place = tuple[str, ...]  # keys from the outermost table inwards
_PLAIN: dict[Any, tuple[type, ...]] = {int: (int,), float: (int, float), str: (str,), bool: (bool,), Path: (str,)}


class InvalidEntry(Exception):
    """A value that does not fit, and where it stands."""

    def __init__(self, place: Place, message: str) -> None:
        super().__init__(message)
        self.place = place


def near(key: str, valid: Iterable[str]) -> str:
    """`; did you mean 'x'?`, or all that there are."""
    valid = sorted(valid)
    found = difflib.get_close_matches(key, valid, n=1)
    return f"; did you mean {found[0]!r}?" if found else f"; there are: {', '.join(valid)}"


def line_of(text: str, place: Place) -> int | None:
    """The line, from 1, on which `place` begins: after the longest sound start of the file without it."""
    lines, begin = text.splitlines(), 1
    for count in range(1, len(lines) + 1):
        try:
            data = tomllib.loads("\n".join(lines[:count]))
        except tomllib.TOMLDecodeError:
            continue
        if _has(data, place):
            return begin
        begin = count + 1
    return None


def _has(data: Any, place: Place) -> bool:
    for key in place:
        if not isinstance(data, dict) or key not in data:
            return False
        data = data[key]
    return True


def read(kind: type[T], data: dict[str, Any], place: Place = ()) -> T:
    """An instance of a dataclass from a table. Raises `InvalidEntry`."""
    fields = {f.name: f for f in dataclasses.fields(kind) if f.init}  # type: ignore[arg-type]
    values = _values(kind, data, place)
    for name, field in fields.items():
        missing = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if missing and name not in values:
            raise InvalidEntry(place, f"{name!r} is missing" + (f" in [{'.'.join(place)}]" if place else ""))
    return _make(kind, values, place)


def override(part: T, data: dict[str, Any], place: Place = ()) -> T:
    """A copy of a dataclass with some fields replaced, at any depth. Raises `InvalidEntry`.

    Where a field holds one of several kinds, `kind = "Name"` puts that kind there, with its defaults.
    """
    hints = typing.get_type_hints(type(part))
    fields = {f.name for f in dataclasses.fields(part)}  # type: ignore[arg-type]
    nested, plain = {}, {}
    for key, value in data.items():
        if key not in fields:
            raise InvalidEntry((*place, key), f"unknown key {key!r}{near(key, fields)}")
        current = getattr(part, key)
        if dataclasses.is_dataclass(current) and isinstance(value, dict):
            inner = _of_kind(current, hints[key], value, (*place, key))
            rest = {k: v for k, v in value.items() if k != "kind"}
            nested[key] = override(inner, rest, (*place, key))
        else:
            plain[key] = value
    values = _values(type(part), plain, place) | nested
    kept = {name: getattr(part, name) for name in fields}
    return _make(type(part), kept | values, place)


def _of_kind(current: Any, hint: Any, data: dict[str, Any], place: Place) -> Any:
    """What `data` is to change: the present part, or a fresh one of the kind it names."""
    wanted = data.get("kind", type(current).__name__)
    if wanted == type(current).__name__:
        return current
    kinds = {kind.__name__: kind for kind in typing.get_args(hint) or (hint,)}
    if wanted not in kinds:
        raise InvalidEntry((*place, "kind"), f"unknown kind {wanted!r}{near(str(wanted), kinds)}")
    try:
        return kinds[wanted]()
    except TypeError as error:
        raise InvalidEntry((*place, "kind"), f"{wanted} has no defaults; it cannot be put in by a recipe") from error


def _values(kind: type, data: dict[str, Any], place: Place) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    names = {f.name for f in dataclasses.fields(kind) if f.init}
    for key in data:
        if key not in names:
            raise InvalidEntry((*place, key), f"unknown key {key!r}{near(key, names)}")
    return {key: _value(hints[key], value, (*place, key)) for key, value in data.items()}


def _make(kind: type[T], values: dict[str, Any], place: Place) -> T:
    """Build, and turn a refusal, which begins with the field's name, into one with a place."""
    try:
        return kind(**values)
    except UsageError as error:
        first = str(error).split(maxsplit=1)[0]
        raise InvalidEntry((*place, first) if first in values else place, str(error)) from error


def _value(hint: Any, value: Any, place: Place) -> Any:
    """`value` as the type that a field wants. Raises `InvalidEntry`."""
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else ()
    if options:
        hint = next(option for option in options if option is not types.NoneType)
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, dict):
            raise InvalidEntry(place, f"{place[-1]} is a table: write [{'.'.join(place)}]")
        return read(typing.cast(Any, hint), value, place)
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        names = {str(member.value): member for member in hint}
        if value not in names:
            raise InvalidEntry(place, f"{place[-1]} cannot be {value!r}{near(str(value), names)}")
        return names[value]
    if typing.get_origin(hint) is dict and isinstance(value, dict):
        return value
    if typing.get_origin(hint) is tuple:
        return _tuple(typing.get_args(hint), value, place)
    wanted = _PLAIN.get(hint)
    if wanted is None or not isinstance(value, wanted) or (isinstance(value, bool) and hint is not bool):
        raise InvalidEntry(place, f"{place[-1]} must be of type {getattr(hint, '__name__', hint)}, not {value!r}")
    return hint(value)


def _tuple(kinds: tuple[Any, ...], value: Any, place: Place) -> tuple[Any, ...]:
    items = value if isinstance(value, list) else [value]
    kinds = (kinds[0],) * len(items) if kinds[-1] is Ellipsis else kinds
    if len(kinds) != len(items):
        raise InvalidEntry(place, f"{place[-1]} must be a list of {len(kinds)}, not {value!r}")
    return tuple(_value(kind, item, place) for kind, item in zip(kinds, items, strict=True))


def load_toml(path: Path) -> tuple[str, dict[str, Any]]:
    """The text of a TOML file and what it says. Raises `BadRecipe`."""
    try:
        text = path.read_text(encoding="utf-8")
        return text, tomllib.loads(text)
    except OSError as error:
        raise BadRecipe(f"{path}: cannot be read ({error.strerror})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadRecipe(f"{path}: not valid TOML ({error})") from error


def located(path: Path, text: str, wrong: InvalidEntry) -> BadRecipe:
    """The error as a person reads it: file, line, what is wrong."""
    line = line_of(text, wrong.place) if wrong.place else None
    return BadRecipe(f"{path}{f', line {line}' if line else ''}: {wrong}")


def plain(value: Any) -> Any:
    """A recipe as plain data for JSON: enums by value, paths as file names, dataclasses as dicts, nothing as null."""
    if dataclasses.is_dataclass(value):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    return value.name if isinstance(value, Path) else value
