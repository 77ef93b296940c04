"""Weights on disk: safetensors, with the model's name, config and training facts in the metadata."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from lichen.errors import BadCheckpoint, UnknownWeights
from lichen.image.files import write_atomically
from lichen.lab.models.config import ModelConfig, from_json, to_json
from lichen.lab.models.model import Model
from lichen.runtime.migration import migrate_name
from lichen.runtime.weights import HASH_BYTES, weights_files
from lichen.runtime.weights_file import WeightsInfo, weights_info

_ABOUT = "lichen"  # the metadata entry: name, config and facts as JSON


@dataclass(frozen=True)
class Checkpoint:
    """A model read from a file, with the hash by which `.lic` files name it."""

    name: str
    model: Model
    config: ModelConfig
    hash: bytes
    facts: dict[str, Any]
    path: Path


def save_checkpoint(
    path: Path,
    name: str,
    config: ModelConfig,
    state: dict[str, Tensor],
    facts: dict[str, Any],
    *,
    half: bool = True,
    overwrite: bool = True,
) -> None:
    """Write weights, `state` by name and of any shape, beside `path`, then rename. Raises `OutputError`.

    With `half` transforms are stored in float16, and so are the convolutions of a prior in single precision, which
    rounds them to fewer bits; the rest in float32.
    """
    stored = {key: _stored(key, value, half, config.float32_prior) for key, value in state.items()}
    about = {"name": name, "config": to_json(config), "facts": facts}
    # One entry: safetensors writes several in no fixed order, and the file's hash is its name.
    write_atomically(path, save(stored, {_ABOUT: json.dumps(about)}), overwrite=overwrite)


def _stored(key: str, value: Tensor, half: bool, single: bool) -> Tensor:
    of_prior = single and key.startswith("prior.") and key.endswith(".weight")
    half = half and (of_prior or key.startswith(("analysis.", "synthesis.", "hyper_analysis.")))
    return value.detach().cpu().to(torch.float16 if half else torch.float32).contiguous()


class Unfilled(TorchFunctionMode):
    """Layers built within it draw no random weights, half of the time that building takes: they are loaded anyway."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in (nn.init.kaiming_uniform_, nn.init.uniform_):
            return args[0] if args else (kwargs or {})["tensor"]
        return func(*args, **(kwargs or {}))


def load_checkpoint(path: Path) -> Checkpoint:
    """Read weights and build their model, in evaluation mode. Raises `UnknownWeights`, `BadCheckpoint`."""
    try:
        before = path.stat()
        digest = hashlib.sha256(path.read_bytes()).digest()
        with safe_open(path, framework="pt") as file:
            name, config, facts = _about(path, file.metadata())
            names = {key: migrate_name(key) for key in file.keys()}  # noqa: SIM118
            state = {name: file.get_tensor(key).float() for key, name in names.items() if name is not None}
        if not os.path.samestat(before, path.stat()):  # its hash and its tensors may be of two files
            return load_checkpoint(path)
    except OSError as error:
        raise UnknownWeights(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise BadCheckpoint(f"{path}: not a Lichen weights file ({error}); train or download it anew") from error
    if not all(bool(torch.isfinite(tensor).all()) for tensor in state.values()):
        raise BadCheckpoint(f"{path}: has weights that are not finite; train or download it anew")
    try:
        with Unfilled():
            model = config.build()
        model.load_state_dict(state)
    except (RuntimeError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[-1].strip()
        raise BadCheckpoint(f"{path}: its tensors do not fit its config ({first})") from error
    if model.post_filter is not None and not model.post_filter.sane:
        raise BadCheckpoint(f"{path}: the numbers of its filters are out of all range; train or download it anew")
    model.eval().requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Checkpoint(name, model, config, digest[:HASH_BYTES], facts, path)


def _about(path: Path, metadata: dict[str, str] | None) -> tuple[str, ModelConfig, dict[str, Any]]:
    """Name, config and facts. Raises `BadCheckpoint`, `KeyError`, `TypeError`, `ValueError`."""
    about = json.loads((metadata or {})[_ABOUT])
    config = from_json(about["config"])
    if not isinstance(config, ModelConfig):
        raise BadCheckpoint(f"{path}: its config is not that of a model; train or download it anew")
    return about["name"], config, about["facts"]


def available_weights() -> list[WeightsInfo]:
    """The weights that need no naming: those of $LICHEN_WEIGHTS, then the package's; files of others are left out."""
    found = []
    for path in weights_files(None):
        with contextlib.suppress(BadCheckpoint):
            found.append(weights_info(path))
    return found
