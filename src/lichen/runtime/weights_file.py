"""Weights files read by numpy alone: their tensors by name, and what they say of themselves."""

from __future__ import annotations

import hashlib
import json
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
_TYPES = {"F16": "<f2", "F32": "<f4", "F64": "<f8", "I64": "<i8", "I32": "<i4", "U8": "u1"}
_HEADER_BYTES_MAX = 10_000_000


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

    def tensor(self, name: str) -> NDArray[Any]:
        """The tensor of this name, as it is stored. Raises `BadCheckpoint` where there is none."""
        if name not in self.entries:
            raise BadCheckpoint(f"{self.path}: has no tensor {name}; train or download it anew")
        kind, shape, first, last = self.entries[name]
        count = (last - first) // np.dtype(kind).itemsize
        return np.frombuffer(self.data, kind, count=count, offset=first).reshape(shape)

    def floats(self, name: str) -> NDArray[np.float32]:
        """The same in float32."""
        return self.tensor(name).astype(np.float32)


def read_weights(path: Path) -> WeightsFile:
    """Read a weights file whole. Raises `UnknownWeights` where it cannot be read, `BadCheckpoint` for other files."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UnknownWeights(f"{path}: cannot be read ({error.strerror}); check the path") from error
    try:
        header = _header(data)
        about = json.loads(header.pop("__metadata__")[ABOUT])
        entries = _entries(header, 8 + struct.unpack("<Q", data[:8])[0], len(data))
        name, config, facts = str(about["name"]), migrate_config(about["config"]), dict(about["facts"])
    except (KeyError, TypeError, ValueError, AttributeError, struct.error) as error:
        raise BadCheckpoint(f"{path}: not a Lichen weights file ({error}); train or download it anew") from error
    digest = hashlib.sha256(data).digest()[:HASH_BYTES]
    return WeightsFile(path, name, config, facts, digest, entries, data)


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
            about = json.loads(_header(data + file.read(size))["__metadata__"][ABOUT])
        return WeightsInfo(path, str(about["name"]), hash_of(path), tune_of(about["config"]))
    except (OSError, KeyError, TypeError, ValueError, AttributeError, struct.error) as error:
        raise BadCheckpoint(f"{path}: not a Lichen weights file ({error}); train or download it anew") from error


def tune_of(config: dict[str, Any]) -> Tune:
    """What weights of this config (as JSON) are trained for."""
    return Tune.MS_SSIM if "MsSsim" in str(config["rates"]["kind"]) else Tune.PSNR


def config_digest(config: Any) -> str:
    """Sixteen hexadecimal digits that name a config (as JSON)."""
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:16]


def _header(data: bytes) -> dict[str, Any]:
    size = struct.unpack("<Q", data[:8])[0]
    if size > min(_HEADER_BYTES_MAX, len(data) - 8):
        raise ValueError("its header is cut")
    header = json.loads(data[8 : 8 + size])
    if not isinstance(header, dict):
        raise ValueError("its header is no table")
    return header


def _entries(header: dict[str, Any], start: int, end: int) -> dict[str, tuple[str, tuple[int, ...], int, int]]:
    """Where tensors lie, by today's names; each must fit its shape and lie between these bytes of the file."""
    found: dict[str, tuple[str, tuple[int, ...], int, int]] = {}
    for name, entry in header.items():
        kind, shape = _TYPES[entry["dtype"]], tuple(int(side) for side in entry["shape"])
        first, last = (int(offset) for offset in entry["data_offsets"])
        count = int(np.prod(shape, dtype=np.int64)) if shape else 1
        fits = last - first == count * np.dtype(kind).itemsize and start + last <= end
        if min((0, first, *shape)) < 0 or not fits:
            raise ValueError(f"tensor {name} does not fit its shape")
        today = migrate_name(name)
        if today is not None:
            found[today] = (kind, shape, start + first, start + last)
    return found
