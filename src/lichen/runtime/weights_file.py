"""Weights files read by numpy alone: their tensors by name, and what they say of themselves.

Both engines read them by this, so that they refuse the same files.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lichen.errors import BadCheckpoint, UnknownWeights
from lichen.options import Tune
from lichen.runtime.migration import migrate_config, migrate_name
from lichen.runtime.weights import HASH_BYTES, hash_of

ABOUT = "lichen"  # the metadata entry: name, config and facts as JSON
_TYPES = {"F16": "<f2", "BF16": "<u2", "F32": "<f4", "F64": "<f8"}
_HEADER_BYTES_MAX = 10_000_000
_SIDES_MAX = 8  # of a tensor's shape
_NOT_OURS = (KeyError, TypeError, ValueError, AttributeError, RecursionError, struct.error)  # of JSON that is not ours


@dataclass(frozen=True)
class WeightsFile:
    """A weights file in memory: its row's `name`, `config` and `facts` as JSON, and its tensors.

    Where each (any shape) lies in `data` is in `entries`.
    """

    path: Path
    name: str
    config: dict[str, Any]
    facts: dict[str, Any]
    hash: bytes
    entries: dict[str, tuple[str, tuple[int, ...], int, int]]  # type, shape, first and last byte
    data: bytes

    @property
    def config_digest(self) -> str:
        """Names the config, in today's words."""
        return config_digest(self.config)

    def floats(self, name: str) -> NDArray[np.float32]:
        """The tensor of this name (any shape) in float32. Raises `BadCheckpoint` where there is none."""
        if name not in self.entries:
            raise BadCheckpoint(f"{self.path}: has no tensor {name}; train or download it anew")
        kind, shape, first, last = self.entries[name]
        count = (last - first) // np.dtype(_TYPES[kind]).itemsize
        stored = np.frombuffer(self.data, _TYPES[kind], count=count, offset=first)
        if kind == "BF16":  # the upper half of a float32
            return (stored.astype(np.uint32) << np.uint32(16)).view(np.float32).reshape(shape)
        with np.errstate(over="ignore"):  # what float32 cannot hold is infinite, and refused when the file is read
            return stored.astype(np.float32).reshape(shape)


def read_weights(path: Path) -> WeightsFile:
    """Read a weights file whole, once: its hash is that of its tensors, whoever replaces it meanwhile.

    Raises `UnknownWeights` where it cannot be read, `BadCheckpoint` for other files and weights that are not finite.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UnknownWeights(f"{path}: cannot be read ({error.strerror}); check the path") from error
    try:
        header = _header(data)
        name, config, facts = _about(header.pop("__metadata__")[ABOUT])
        entries = _entries(header, 8 + struct.unpack("<Q", data[:8])[0], len(data))
    except _NOT_OURS as error:
        raise BadCheckpoint(f"{path}: not a Lichen weights file ({error}); train or download it anew") from error
    found = WeightsFile(
        path, name, config, facts, hash=hashlib.sha256(data).digest()[:HASH_BYTES], entries=entries, data=data
    )
    if not all(np.isfinite(found.floats(entry)).all() for entry in entries):
        raise BadCheckpoint(f"{path}: has weights that are not finite; train or download it anew")
    return found


@dataclass(frozen=True)
class WeightsInfo:
    """A weights file as a list shows it: its row's name, its hash, and what it was trained for."""

    path: Path
    name: str
    hash: bytes
    trained_for: Tune


def weights_info(path: Path) -> WeightsInfo:
    """What a weights file says of itself; its tensors are not read. Raises `BadCheckpoint`."""
    try:
        with path.open("rb") as file:
            data = file.read(8)
            size = min(struct.unpack("<Q", data)[0], _HEADER_BYTES_MAX)
            name, config, _ = _about(_header(data + file.read(size))["__metadata__"][ABOUT])
        return WeightsInfo(path, name, hash_of(path), tune_of(config))
    except (OSError, *_NOT_OURS) as error:
        raise BadCheckpoint(f"{path}: not a Lichen weights file ({error}); train or download it anew") from error


def tune_of(config: dict[str, Any]) -> Tune:
    """What weights of this config (as JSON) are trained for."""
    return Tune.MS_SSIM if "MsSsim" in str(config["rates"]["kind"]) else Tune.PSNR


def config_digest(config: Any) -> str:
    """Sixteen hexadecimal digits that name a config (as JSON), but for what its training started from."""
    if isinstance(transform := config.get("transform"), dict):
        config = {**config, "transform": {name: value for name, value in transform.items() if name != "start_atoms"}}
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:16]


def _header(data: bytes) -> dict[str, Any]:
    size = struct.unpack("<Q", data[:8])[0]
    if size > min(_HEADER_BYTES_MAX, len(data) - 8):
        raise ValueError("its header is cut")
    header = json.loads(data[8 : 8 + size], object_pairs_hook=_once)
    if not isinstance(header, dict):
        raise ValueError("its header is no table")
    return header


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON, each name of which is there once."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name is in its header twice")
    return found


def _about(text: str) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Name, config (in today's words) and facts of a metadata entry. Raises one of `_NOT_OURS`."""
    about = json.loads(text, object_pairs_hook=_once)
    name, config, facts = about["name"], about["config"], about["facts"]
    if not isinstance(name, str) or not isinstance(facts, dict):
        raise TypeError("its name is no text, or its facts are no table")
    if not isinstance(config, dict) or config.get("kind") != "ModelConfig":
        raise ValueError("its config is not that of a model")
    return name, migrate_config(config), facts


def _entries(header: dict[str, Any], start: int, end: int) -> dict[str, tuple[str, tuple[int, ...], int, int]]:
    """Where tensors lie, by today's names; each fits its shape, and together they fill these bytes of the file."""
    found: dict[str, tuple[str, tuple[int, ...], int, int]] = {}
    spans = []
    for name, entry in header.items():
        kind, shape, (first, last) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
        if any(type(number) is not int or number < 0 for number in (first, last, *shape)):
            raise ValueError(f"tensor {name} has a shape or a place that is none")
        if len(shape) > _SIDES_MAX or math.prod(side or 1 for side in shape) > end:
            raise ValueError(f"tensor {name} has a shape beyond the file")
        if last - first != math.prod(shape) * np.dtype(_TYPES[kind]).itemsize:
            raise ValueError(f"tensor {name} does not fit its shape")
        spans.append((first, last))
        today = migrate_name(name)
        if today in found:
            raise ValueError(f"tensor {today} is there twice")
        if today is not None:
            found[today] = (kind, shape, start + first, start + last)
    reached = 0
    for first, last in sorted(spans):
        if first != reached:
            raise ValueError("its tensors overlap, or leave bytes between")
        reached = last
    if start + reached != end:
        raise ValueError("it is cut, or longer than its tensors")
    return found
