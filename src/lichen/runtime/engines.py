"""Where the codec finds what runs a model: its engine, its weights and its id. The lab is imported when it is called.

Only `load_engine` and `check_device` load `lichen.lab.engine`, and with it PyTorch.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from lichen.bitstream.fields import Header
from lichen.errors import BadFile, UnknownWeights, UnsupportedFile
from lichen.runtime.memory import typed_memory_errors
from lichen.runtime.weights import find_by_hash, find_tuned

if TYPE_CHECKING:
    from lichen.lab.engine.engine import Engine
    from lichen.lab.models.checkpoint import WeightsInfo
    from lichen.options import Tune


class Engines:
    """The engines of a codec, each loaded once: of the weights that it encodes with, and of those that files name.

    `extra` is a weights file, or a folder that is searched first; `device` is cpu or cuda. Raises `UsageError` for
    another device, `DeviceError` where there is no CUDA.
    """

    def __init__(self, extra: Path | None, device: str) -> None:
        check_device(device)
        self._extra, self._device = extra, device
        self._lock = threading.Lock()
        self._loaded: dict[bytes, Engine] = {}

    def to_encode(self, model: str, tune: Tune) -> Engine:
        """The engine of a model's weights. Raises `UnknownWeights`, `BadCheckpoint`, `UsageError`."""
        engine = load_engine(find_tuned(model, tune, self._extra), self._device)
        self._loaded[engine.checkpoint.hash] = engine
        return engine

    def to_decode(self, header: Header) -> Engine:
        """The engine of a file's weights. Raises `UnsupportedFile`, `UnknownWeights`, `BadCheckpoint`, `BadFile`."""
        name = model_name(header.model)
        if name is None:
            raise UnsupportedFile(
                f"the file's model {header.model} is unknown (known: {known_models()}); upgrade Lichen"
            )
        with self._lock:
            engine = self._loaded.get(header.weights)
            if engine is None:
                engine = load_engine(find_by_hash(header.weights, self._extra), self._device)
                self._loaded[header.weights] = engine
        if engine.checkpoint.name != name:
            raise BadFile("the file's model and weights do not belong together: it is damaged; get it anew")
        return engine


def load_engine(path: Path, device: str) -> Engine:
    """The engine of a weights file, on cpu or cuda. Raises `UnknownWeights`, `BadCheckpoint`, `DeviceError`."""
    from lichen.lab.engine.engine import Engine, find_device

    return Engine.load(path, find_device(device))


def check_device(name: str) -> None:
    """Raises `UsageError` for another name than cpu or cuda, `DeviceError` where there is no CUDA."""
    from lichen.lab.engine.engine import find_device

    find_device(name)


@contextlib.contextmanager
def computing() -> Iterator[None]:
    """While engines work: no gradients are kept, and an allocation that fails becomes `OutOfMemory`."""
    import torch

    with typed_memory_errors(), torch.inference_mode():
        yield


def check_model(name: str) -> None:
    """Raises `UnknownWeights` where no model has this name, with those that there are."""
    from lichen.lab.models.zoo import row

    row(name)


def model_id(name: str) -> int:
    """What the header of a file states for the model of this name."""
    from lichen.lab.models.zoo import row

    return row(name).id


def model_name(number: int) -> str | None:
    """The inverse of `model_id`; None for a number that this version does not know."""
    from lichen.lab.models.zoo import name_of

    return name_of(number)


def known_models() -> str:
    """The numbers and names of all models, for messages."""
    from lichen.lab.models.zoo import ZOO

    return ", ".join(f"{row.id} {row.name}" for row in ZOO)


def info_of_weights(wanted: bytes) -> WeightsInfo | None:
    """What the weights with this hash say of themselves; None where they are not found."""
    from lichen.lab.models.checkpoint import listed

    try:
        return listed(find_by_hash(wanted))
    except UnknownWeights:
        return None
