"""Graphs of a config and the weights that fill them, run by ONNX Runtime."""

from __future__ import annotations

import functools
import hashlib
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lichen.errors import BadCheckpoint, InexactEngine, UsageError
from lichen.runtime import fixed_point, probe
from lichen.runtime.threads import threads
from lichen.runtime.weights_file import WeightsFile

PACKAGED = Path(__file__).parents[1] / "graphs"
Array = NDArray[Any]
_REMEDY = "install Lichen anew, or set `engine` to torch"
_NO_MEMORY = "allocate memory", "bad_alloc", "bad allocation"  # in ONNX Runtime's messages
_FACTS = {  # what a manifest says
    *("model", "id", "configs", "stride", "hyper_stride", "latents", "hyper_latents", "features", "family", "memory"),
    *("hyper_skip", "adaptation", "centroids", "steps", "post_filter_side", "halos", "tensors", "weights", "digests"),
}
_EXACT = "hyper_synthesis", "predict"  # how the names of graphs begin that decide bits
_INEXACT = "ONNX Runtime's sums are not exact on this machine, so its files would not be the same everywhere"


class Tensors(Protocol):
    """Tensors by name: a weights file, or the probe's."""

    @property
    def entries(self) -> Mapping[str, Any]:
        """Their names."""
        ...

    def floats(self, name: str) -> NDArray[np.float32]:
        """The tensor of this name (any shape)."""
        ...


@dataclass(frozen=True)
class Bundle:
    """The exported graphs of a config, in a folder, and what its `manifest` says (`lab.export`)."""

    folder: Path
    manifest: dict[str, Any]

    @staticmethod
    def of_config(digest: str) -> Bundle | None:
        """The packaged bundle of the config of this digest; None where there is none. Raises `UsageError`."""
        return next((bundle for bundle in packaged() if digest in bundle.manifest["configs"]), None)

    @staticmethod
    def of_folder(folder: Path) -> Bundle:
        """The bundle in a folder. Raises `UsageError` where its manifest is damaged."""
        path = folder / "manifest.json"
        try:
            manifest = json.loads(path.read_text())
            missing = _FACTS - manifest.keys()
        except (OSError, ValueError, AttributeError, RecursionError) as error:
            raise UsageError(f"{path}: cannot be read ({error}); {_REMEDY}") from error
        if missing:
            raise UsageError(f"{path}: does not say {', '.join(sorted(missing))}; {_REMEDY}")
        return Bundle(folder, manifest)

    def graph(self, name: str) -> bytes:
        """A graph as ONNX. Raises `UsageError` where it is not the one that the manifest is of."""
        path = self.folder / f"{name}.onnx"
        try:
            data = path.read_bytes()
        except OSError as error:
            raise UsageError(f"{path}: cannot be read ({error.strerror}); {_REMEDY}") from error
        if digest_of(data) != self.manifest["digests"].get(name):
            raise UsageError(f"{path}: is not the graph that its manifest is of; {_REMEDY}")
        return data

    def check(self, weights: WeightsFile) -> None:
        """Raises `BadCheckpoint` for weights without exactly the tensors of this config."""
        wanted, given = self.manifest["tensors"], weights.entries
        unlike = [name for name in wanted if name in given and list(given[name][1]) != wanted[name]]
        found = [
            *(f"no {name}" for name in wanted if name not in given),
            *(f"{name} of another shape" for name in unlike),
        ]
        found += [f"an unknown {name}" for name in given if name not in wanted]
        if found:
            said = f"its tensors do not fit its config ({found[0]})"
            raise BadCheckpoint(f"{weights.path}: {said}; train or download it anew")


def digest_of(graph: bytes) -> str:
    """By which a manifest knows a graph."""
    return hashlib.sha256(graph).hexdigest()


@functools.cache
def packaged() -> tuple[Bundle, ...]:
    """The bundles in the box. Raises `UsageError` where the installation is damaged."""
    return tuple(Bundle.of_folder(path.parent) for path in sorted(PACKAGED.glob("*/manifest.json")))


class Graphs:
    """A bundle's graphs with the weights of a file; each is loaded when it is first run, and safe to share.

    Raises `BadCheckpoint` for weights whose tensors are not those of the graphs.
    """

    def __init__(self, bundle: Bundle, weights: WeightsFile) -> None:
        bundle.check(weights)
        self._bundle, self._fills = bundle, Fills(weights)
        self._sessions: dict[str, _Session] = {}
        self._lock = threading.Lock()
        self._probed = False

    def run(self, name: str, **inputs: Array) -> list[Array]:
        """The outputs of a graph, for its inputs by name.

        Raises `UsageError` and `InexactEngine` when it is first run, and `MemoryError`.
        """
        return self._session(name).run(inputs)

    def _session(self, name: str) -> _Session:
        with self._lock:
            if name.startswith(_EXACT) and not self._probed:
                self._try_sums()
            if name not in self._sessions:
                self._sessions[name] = _Session.of(self._bundle, name, self._fills)
            return self._sessions[name]

    def _try_sums(self) -> None:
        """Raises `InexactEngine` where sums of known results come out otherwise."""
        layers = probe.layers()
        session = _Session.of(self._bundle, "probe", Fills(probe.tensors()))
        *found, rows = session.run({name: layer.x for name, layer in layers.items()})
        results = {name: layer.results() for name, layer in layers.items()}
        wanted = [*results.values(), results["wide"].reshape(1, len(layers["wide"].weight), -1).transpose(0, 2, 1)]
        if not all(np.array_equal(*pair) for pair in zip([*found, rows], wanted, strict=True)):
            raise InexactEngine(f"{_INEXACT}; set `engine` to torch, or install another version of onnxruntime")
        self._probed = True


@dataclass(frozen=True)
class _Session:
    """A graph that is loaded, the names of its inputs, and its weights, which must live as long."""

    session: Any
    inputs: list[str]
    weights: list[Any]

    @staticmethod
    def of(bundle: Bundle, name: str, fills: Fills) -> _Session:
        """A graph of a bundle with its weights. Raises `UsageError` for a damaged one, and `MemoryError`."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads()
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # others use the machine too
        options.enable_cpu_mem_arena = False  # each session's would keep its peak
        options.log_severity_level = 3
        wanted = bundle.manifest["weights"][name]
        values = [onnxruntime.OrtValue.ortvalue_from_numpy(fills.filled(*place)) for place in wanted.values()]
        if values:
            options.add_external_initializers(list(wanted), values)
        data = bundle.graph(name)
        try:
            session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # those of ONNX Runtime have no base of their own
            _raise_for_memory(error)
            raise UsageError(f"{name} in {bundle.folder}: cannot be loaded ({error}); {_REMEDY}") from error
        return _Session(session, [entry.name for entry in session.get_inputs()], values)

    def run(self, inputs: Mapping[str, Array]) -> list[Array]:
        """Its outputs. Raises `MemoryError`."""
        try:
            outputs: list[Array] = self.session.run(None, {key: inputs[key] for key in self.inputs})
        except Exception as error:
            _raise_for_memory(error)
            raise
        return outputs


def _raise_for_memory(error: Exception) -> None:
    if any(said in str(error) for said in _NO_MEMORY):
        raise MemoryError(str(error)) from error


class Fills:
    """What fills the weights of graphs: tensors as they are, or those of layers in fixed point."""

    def __init__(self, tensors: Tensors) -> None:
        self._tensors = tensors
        self._layers: dict[str, dict[str, Array]] = {}

    def filled(self, kind: str, source: str) -> Array:
        """A weight of a graph, as its manifest says. Raises `BadCheckpoint`."""
        if kind == "plain":
            return self._tensors.floats(source)
        if kind == "table.table":
            return fixed_point.on_grid(self._tensors.floats(f"{source}.table"))
        if source not in self._layers:
            self._layers[source] = self._layer(kind.partition(".")[0], source)
        return self._layers[source][kind.partition(".")[2]]

    def _layer(self, kind: str, source: str) -> dict[str, Array]:
        weight, bias = self._tensors.floats(f"{source}.weight"), f"{source}.bias"
        exact, bits = fixed_point.stepped(weight)
        given = self._tensors.floats(bias) if bias in self._tensors.entries else np.zeros(len(weight), np.float32)
        minus_offset = fixed_point.minus_offset(given)
        if kind == "pointwise":
            return {
                "weight": exact.astype(np.float32),
                "minus_offset": minus_offset,
                "coarseness": fixed_point.coarseness(bits),
            }
        if kind != "depthwise":
            raise BadCheckpoint(f"{source}: layers of kind {kind} are unknown; upgrade Lichen")
        return {
            "weight": exact.astype(np.float32),
            "minus_offset": minus_offset[:, None, None],
            "rounder": fixed_point.depthwise_rounder(bits)[:, None, None],
        }
