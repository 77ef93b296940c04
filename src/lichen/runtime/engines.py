"""Where the codec finds what runs a model: its engine, its weights and its id.

Models that have graphs in the box need no PyTorch. The lab is imported when it is called: `lab` is the only door to it.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import itertools
import sys
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lichen.bitstream.fields import Header
from lichen.errors import BadFile, DeviceError, UnknownWeights, UnsupportedFile, UsageError
from lichen.extras import install_command
from lichen.options import EngineName, Tune
from lichen.runtime.engine import Engine
from lichen.runtime.graphs import packaged
from lichen.runtime.memory import typed_memory_errors
from lichen.runtime.processor import native_bfloat16
from lichen.runtime.weights import find_by_hash, find_tuned
from lichen.runtime.weights_file import WeightsInfo, weights_info

if TYPE_CHECKING:
    from lichen.lab.models.checkpoint import Checkpoint

# Pixels of a job from which on PyTorch saves more than the second that importing it costs (results/speed.json).
ENCODED_WORTH, DECODED_WORTH = 8_000_000, 30_000_000


class Engines:
    """The engines of a codec, each loaded once: of the weights that it encodes with, and of those that files name.

    `extra` is a weights file, or a folder that is searched first; `device` is cpu or cuda. Raises `UsageError` for
    another device, `DeviceError` where there is no CUDA.
    """

    def __init__(self, extra: Path | None, device: str, wanted: EngineName) -> None:
        check_device(device)
        self._extra, self._device, self._wanted = extra, device, wanted
        self._lock = threading.Lock()
        self._loaded: dict[bytes, Engine] = {}

    def to_encode(self, model: str, tune: Tune) -> Engine:
        """The engine of a model's weights. Raises `UnknownWeights`, `BadCheckpoint`, `UsageError`."""
        engine = load_engine(find_tuned(model, tune, self._extra), self._device, self._wanted)
        self._loaded[engine.hash] = engine
        return engine

    def to_refine(self, engine: Engine) -> Engine:
        """The engine that searches for better latents, of the same weights. Raises `UsageError` without the lab."""
        if engine.refines:
            return engine
        return load_engine(engine.path, self._device, EngineName.TORCH)

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
                engine = load_engine(find_by_hash(header.weights, self._extra), self._device, self._wanted)
                self._loaded[header.weights] = engine
        if engine.name != name:
            raise BadFile("the file's model and weights do not belong together: it is damaged; get it anew")
        return engine


def load_engine(path: Path, device: str, wanted: EngineName) -> Engine:
    """The engine of a weights file, on cpu or cuda.

    Raises `UnknownWeights`, `BadCheckpoint`, `DeviceError`, and `UsageError` where the wanted engine cannot run it.
    """
    if wanted is EngineName.ONNX and device != "cpu":
        raise UsageError("exported graphs run on the CPU; leave out the device, or the engine")
    graphs_first = wanted is EngineName.ONNX or (wanted is EngineName.AUTO and not _torch_at_hand())
    if graphs_first and device == "cpu" and has_onnx():
        from lichen.runtime.onnx_engine import OnnxEngine

        engine = OnnxEngine.load(path)
        if engine is not None:
            return engine
    if wanted is EngineName.ONNX:
        missing = "there are no exported graphs of this model's config" if has_onnx() else "ONNX Runtime is missing"
        remedy = "leave `engine` out" if has_lab() else install_command("lab")
        raise UsageError(f"{path}: {missing}, so only PyTorch runs it: {remedy}")
    found: Engine = lab("lichen.lab.engine.torch_engine").load(path, device)
    return found


def torch_is_faster() -> bool:
    """Whether models run faster with PyTorch: it is installed, and multiplies in bfloat16, which graphs do not."""
    return has_lab() and native_bfloat16()


def _torch_at_hand() -> bool:
    """Whether PyTorch is faster, and costs no import any more."""
    return "torch" in sys.modules and torch_is_faster()


def suited(wanted: EngineName, device: str, pixels: Iterable[int], worth: int) -> EngineName:
    """The engine for a job: PyTorch where it is faster and the pictures have so many pixels that it is worth importing.

    `pixels` of each picture are counted only as far as it takes.
    """
    if wanted is not EngineName.AUTO or device != "cpu" or not torch_is_faster():
        return wanted
    enough = any(total >= worth for total in itertools.accumulate(pixels))
    return EngineName.TORCH if enough else wanted


def has_onnx() -> bool:
    """Whether ONNX Runtime is installed."""
    return importlib.util.find_spec("onnxruntime") is not None


def has_lab() -> bool:
    """Whether PyTorch is installed."""
    return importlib.util.find_spec("torch") is not None


def lab(module: str) -> Any:
    """A module of the lab. Raises `UsageError` where PyTorch is not installed."""
    if not has_lab():
        raise UsageError(f"this needs PyTorch, which is not installed: {install_command('lab')}")
    return importlib.import_module(module)


def check_device(name: str) -> None:
    """Raises `UsageError` for another name than cpu or cuda, `DeviceError` where there is no CUDA."""
    if name not in {"cpu", "cuda"}:
        raise UsageError(f"`device` must be cpu or cuda, not {name!r}")
    if name == "cuda" and not (has_lab() and importlib.import_module("torch").cuda.is_available()):
        raise DeviceError("there is no CUDA device; set `device` to cpu")


@contextlib.contextmanager
def computing() -> Iterator[None]:
    """While engines work: an allocation that fails becomes `OutOfMemory`, and numpy raises nothing of its own.

    A program that calls may have asked it to (`numpy.seterr(all="raise")`); in tables of tiny probabilities numbers
    vanish by design.
    """
    with typed_memory_errors(), np.errstate(all="ignore"):
        yield


def _with_graphs() -> dict[str, int]:
    """The models that run without the lab, and their ids."""
    return {bundle.manifest["model"]: int(bundle.manifest["id"]) for bundle in packaged()}


def check_model(name: str) -> None:
    """Raises `UnknownWeights` where no model has this name, with those that there are."""
    if name not in _with_graphs():
        lab("lichen.lab.models.zoo").row(name)


def model_id(name: str) -> int:
    """What the header of a file states for the model of this name."""
    known = _with_graphs().get(name)
    return int(lab("lichen.lab.models.zoo").row(name).id) if known is None else known


def model_name(number: int) -> str | None:
    """The inverse of `model_id`; None for a number that this version does not know, or cannot without the lab."""
    found = next((name for name, known in _with_graphs().items() if known == number), None)
    if found is None and has_lab():
        name: str | None = lab("lichen.lab.models.zoo").name_of(number)
        return name
    return found


def known_models() -> str:
    """The numbers and names of all models, for messages."""
    if not has_lab():
        listed = ", ".join(f"{number} {name}" for name, number in _with_graphs().items())
        return f"{listed}; others need PyTorch: {install_command('lab')}"
    return ", ".join(f"{row.id} {row.name}" for row in lab("lichen.lab.models.zoo").rows())


def load_checkpoint(path: Path) -> Checkpoint:
    """A weights file as a model of the lab. Raises `BadCheckpoint`, and `UsageError` without PyTorch."""
    found: Checkpoint = lab("lichen.lab.models.checkpoint").load_checkpoint(path)
    return found


def info_of_weights(wanted: bytes) -> WeightsInfo | None:
    """What the weights with this hash say of themselves; None where they are not found."""
    try:
        return weights_info(find_by_hash(wanted))
    except UnknownWeights:
        return None
