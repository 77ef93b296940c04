"""Weights on disk: safetensors, with the model's name, config and training facts in the metadata."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from lichen.errors import BadCheckpoint
from lichen.image.files import write_atomically
from lichen.lab.models.config import ModelConfig, from_json, to_json
from lichen.lab.models.model import Model
from lichen.runtime.weights import weights_files
from lichen.runtime.weights_file import ABOUT, WeightsFile, WeightsInfo, read_weights, weights_info


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
    write_atomically(path, save(stored, {ABOUT: json.dumps(about)}), overwrite=overwrite)


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
    stored = read_weights(path)
    state = {name: torch.from_numpy(stored.floats(name)) for name in stored.entries}
    config = _config(stored)
    try:
        with Unfilled():
            model = config.build()
        model.load_state_dict(state)
    except (RuntimeError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[-1].strip()
        said = f"its tensors do not fit its config ({first})"
        raise BadCheckpoint(f"{path}: {said}; train or download it anew") from error
    if model.post_filter is not None and not model.post_filter.sane:
        raise BadCheckpoint(f"{path}: the numbers of its filters are out of all range; train or download it anew")
    model.eval().requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Checkpoint(stored.name, model, config, stored.hash, facts=stored.facts, path=path)


def _config(stored: WeightsFile) -> ModelConfig:
    """The config of a weights file. Raises `BadCheckpoint`."""
    try:
        config: ModelConfig = from_json(stored.config)
    except (BadCheckpoint, KeyError, TypeError, ValueError, RecursionError) as error:
        said = f"{stored.path}: its config is none of this version ({error})"
        raise BadCheckpoint(f"{said}; upgrade Lichen, or train or download it anew") from error
    return config


def available_weights() -> list[WeightsInfo]:
    """The weights that need no naming: those of $LICHEN_WEIGHTS, then the package's; files of others are left out."""
    found = []
    for path in weights_files(None):
        with contextlib.suppress(BadCheckpoint):
            found.append(weights_info(path))
    return found
