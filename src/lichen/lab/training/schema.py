"""TOML read into frozen dataclasses by the types of their fields; errors name the line and the nearest valid key."""

from __future__ import annotations

import dataclasses
import difflib
import enum
import tomllib
import types
import typing
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from lichen.errors import BadRecipe, UsageError

T = TypeVar("T")
Place = tuple[str, ...]  # keys from the outermost table inwards
_PLAIN: dict[Any, tuple[type, ...]] = {int: (int,), float: (int, float), str: (str,), bool: (bool,), Path: (str,)}


class InvalidEntry(Exception):
    """A key or value of a recipe that is not valid; `place` is where it stands, () for the whole file."""

    def __init__(self, place: Place, message: str) -> None:
        super().__init__(message)
        self.place = place


@dataclass(frozen=True)
class Change:
    """A value given on the command line that takes the place of a recipe's; `said` is what was given, for errors."""

    place: Place
    value: Any
    said: str

    @staticmethod
    def of(text: str) -> Change:
        """From `key=value`, where the key may be dotted and the value is TOML or a bare word. Raises `UsageError`."""
        key, sign, value = text.partition("=")
        place = tuple(part.strip() for part in key.split("."))
        if not sign or not all(place):
            raise UsageError(f"--set takes key=value, such as quantiser=noise, not {text!r}")
        try:
            parsed = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            parsed = value.strip()
        return Change(place, parsed, f"--set {text}")

    def apply(self, data: dict[str, Any]) -> None:
        """Put the value into a recipe's data. Raises `InvalidEntry` where a part of the key is no table."""
        table: Any = data
        for depth, key in enumerate(self.place[:-1], 1):
            table = table.setdefault(key, {})
            if not isinstance(table, dict):
                raise InvalidEntry(self.place[:depth], f"{'.'.join(self.place[:depth])} is not a table")
        table[self.place[-1]] = self.value

    def concerns(self, place: Place) -> bool:
        """Whether an error at a place is about this value."""
        length = min(len(place), len(self.place))
        return length > 0 and place[:length] == self.place[:length]


def near(key: str, valid: Iterable[str]) -> str:
    """The end of an error message for an unknown key: the nearest valid one, or all of them."""
    valid = sorted(valid)
    found = difflib.get_close_matches(key, valid, n=1)
    return f"; did you mean {found[0]!r}?" if found else f"; there are: {', '.join(valid)}"


def line_of(text: str, place: Place) -> int | None:
    """The line, from 1, on which the key at `place` begins; None where it is absent.

    It follows the longest valid beginning of the file that lacks the key.
    """
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
    """An instance of the dataclass `kind` from a TOML table. Raises `InvalidEntry`."""
    fields = {f.name: f for f in dataclasses.fields(kind) if f.init}  # type: ignore[arg-type]
    values = _values(kind, data, place)
    for name, field in fields.items():
        missing = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if missing and name not in values:
            raise InvalidEntry(place, f"{name!r} is missing" + (f" in [{'.'.join(place)}]" if place else ""))
    return _make(kind, values, place)


def override(part: T, data: dict[str, Any], place: Place = ()) -> T:
    """A copy of a dataclass instance with some fields replaced, at any depth. Raises `InvalidEntry`.

    Where a field may hold one of several classes, `kind = "Name"` puts that class there, with its defaults.
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
    """What `data` changes: the present part, or a new one of the class that it names."""
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
    """Build; a `UsageError`, whose message begins with the field's name, becomes an `InvalidEntry` with a place."""
    try:
        return kind(**values)
    except UsageError as error:
        first = str(error).split(maxsplit=1)[0]
        raise InvalidEntry((*place, first) if first in values else place, str(error)) from error


def _value(hint: Any, value: Any, place: Place) -> Any:
    """`value` as the type of a field. Raises `InvalidEntry`."""
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else ()
    if options:
        hint = next(option for option in options if option is not types.NoneType)
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, dict):
            raise InvalidEntry(place, f"{place[-1]} is a table: write [{'.'.join(place)}]")
        return read(typing.cast(Any, hint), value, place)
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        members = {as_toml(member.value): member for member in hint}
        if as_toml(value) not in members:
            raise InvalidEntry(place, f"{place[-1]} cannot be {value!r}{near(str(value), value_names(hint))}")
        return members[as_toml(value)]
    if typing.get_origin(hint) is dict and isinstance(value, dict):
        return value
    if typing.get_origin(hint) is tuple:
        return _tuple(typing.get_args(hint), value, place)
    wanted = _PLAIN.get(hint)
    if wanted is None or not isinstance(value, wanted) or (isinstance(value, bool) and hint is not bool):
        raise InvalidEntry(place, f"{place[-1]} must be of type {getattr(hint, '__name__', hint)}, not {value!r}")
    return hint(value)


def value_names(kind: type[enum.Enum]) -> list[str]:
    """The values of an enum as a recipe has them, without quotes."""
    return [as_toml(member.value).strip('"') for member in kind]


def as_toml(value: Any) -> str:
    """A plain value as a recipe has it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(as_toml, value))}]"
    return f'"{value}"' if isinstance(value, str) else f"{value}"


def _tuple(kinds: tuple[Any, ...], value: Any, place: Place) -> tuple[Any, ...]:
    items = value if isinstance(value, list) else [value]
    kinds = (kinds[0],) * len(items) if kinds[-1] is Ellipsis else kinds
    if len(kinds) != len(items):
        raise InvalidEntry(place, f"{place[-1]} must be a list of {len(kinds)}, not {value!r}")
    return tuple(_value(kind, item, place) for kind, item in zip(kinds, items, strict=True))


def load_toml(path: Path) -> tuple[str, dict[str, Any]]:
    """The text of a TOML file and its data. Raises `BadRecipe`."""
    try:
        text = path.read_text(encoding="utf-8")
        return text, tomllib.loads(text)
    except OSError as error:
        raise BadRecipe(f"{path}: cannot be read ({error.strerror})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadRecipe(f"{path}: not valid TOML ({error})") from error


def located(path: Path, text: str, wrong: InvalidEntry, changes: Sequence[Change] = ()) -> BadRecipe:
    """The error as a person reads it: file and line, or the option of the command line, then what is wrong."""
    for change in changes:
        if change.concerns(wrong.place):
            return BadRecipe(f"{change.said}: {wrong}")
    line = line_of(text, wrong.place) if wrong.place else None
    return BadRecipe(f"{path}{f', line {line}' if line else ''}: {wrong}")


def plain(value: Any) -> Any:
    """A recipe as plain data for JSON: enums by value, paths as file names, dataclasses as dicts, None as null."""
    if dataclasses.is_dataclass(value):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    return value.name if isinstance(value, Path) else value
