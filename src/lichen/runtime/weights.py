"""Weights files: where they are searched, and by which hash a `.lic` file names its own."""

from __future__ import annotations

import contextlib
import hashlib
import os
from functools import cache
from pathlib import Path

from lichen.errors import UnknownWeights, UsageError
from lichen.options import Tune

HASH_BYTES = 4  # of the sha256 of a weights file: what a .lic file carries
SEARCH_VARIABLE = "LICHEN_WEIGHTS"  # folders, separated like PATH
PACKAGED = Path(__file__).parents[1] / "weights"


def _folders(extra: Path | None) -> list[Path]:
    listed = os.environ.get(SEARCH_VARIABLE, "")
    folders = [Path(entry) for entry in listed.split(os.pathsep) if entry]
    return ([extra] if extra else []) + folders + [PACKAGED]


def weights_files(extra: Path | None) -> list[Path]:
    """All weights files in the search order: `weights`, $LICHEN_WEIGHTS, the package."""
    found: list[Path] = []
    for place in _folders(extra):
        found += [place] if place.is_file() else _weights_in(place)
    return found


def _weights_in(folder: Path) -> list[Path]:
    """By their names, so that a model's own come before those tuned for something."""
    return sorted((p for p in folder.glob("*.safetensors") if p.is_file()), key=lambda p: p.stem)


@cache
def _hashed(path: Path, modified_ns: int, size_bytes: int) -> bytes:
    return hashlib.sha256(path.read_bytes()).digest()[:HASH_BYTES]


def hash_of(path: Path) -> bytes:
    """By which `.lic` files name a weights file; read once as long as the file stays as it is. Raises `OSError`."""
    stat = path.stat()
    return _hashed(path.resolve(), stat.st_mtime_ns, stat.st_size)


def find_by_hash(wanted: bytes, extra: Path | None = None) -> Path:
    """The weights file with this hash. Raises `UnknownWeights` with the places searched."""
    for path in weights_files(extra):
        with contextlib.suppress(OSError):  # one that cannot be read hides no other
            if hash_of(path) == wanted:
                return path
    places = ", ".join(map(str, _folders(extra)))
    raise UnknownWeights(
        f"no weights with hash {wanted.hex()} in {places}; give them by `weights` or ${SEARCH_VARIABLE}"
    )


def find_by_name(name: str, extra: Path | None = None) -> Path:
    """The weights to encode with: `extra` itself if it is a file, NAME.safetensors in it, or in the search order.

    Raises `UnknownWeights`.
    """
    if extra is not None and not extra.exists():
        raise UnknownWeights(f"{extra}: no such weights file or folder; check `weights`")
    if extra is not None and extra.is_file():
        return extra
    folders = [extra] if extra is not None else _folders(None)
    for folder in folders:
        path = folder / f"{name}.safetensors"
        if path.is_file():
            return path
    places = ", ".join(map(str, folders))
    raise UnknownWeights(f"no weights {name!r} in {places}; train them, or give the file of others")


def find_named(text: str) -> Path:
    """A weights file by its path, or by the name of available weights. Raises `UnknownWeights`."""
    path = Path(text)
    return path if path.is_file() or path.suffix else find_by_name(text)


def find_tuned(name: str, tune: Tune, extra: Path | None = None) -> Path:
    """As `find_by_name`, of the model's weights those trained for `tune`. Raises `UnknownWeights`.

    Raises `UsageError` where `extra` is a file: it is one weights, whatever they were trained for.
    """
    if tune is Tune.PSNR:
        return find_by_name(name, extra)
    if extra is not None and extra.is_file():
        raise UsageError(f"{extra} is trained for one thing already: give a tune or a weights file, not both")
    try:
        return find_by_name(tune.weights(name), extra)
    except UnknownWeights as error:
        raise UnknownWeights(f"{error}, or leave the tune {tune.value} out") from error
