"""Graphs of a config and the weights that fill them, run by ONNX Runtime."""

from __future__ import annotations

import functools
import json
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lichen.errors import BadCheckpoint, UsageError
from lichen.runtime import fixed_point
from lichen.runtime.threads import threads
from lichen.runtime.weights_file import WeightsFile

PACKAGED = Path(__file__).parents[1] / "graphs"
Array = NDArray[Any]
_REMEDY = "install Lichen anew, or set `engine` to torch"
_NO_MEMORY = "allocate memory", "bad_alloc", "bad allocation"  # in ONNX Runtime's messages
_FACTS = {  # what a manifest says
    *("model", "id", "configs", "stride", "hyper_stride", "latents", "hyper_latents", "features", "family", "memory"),
    *("hyper_skip", "adaptation", "centroids", "steps", "post_filter_side", "halos", "tensors", "weights"),
}


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
        self._bundle, self._weights = bundle, weights
        self._sessions: dict[str, Any] = {}
        self._lock = threading.Lock()
        self._fills: dict[str, dict[str, Array]] = {}

    def run(self, name: str, **inputs: Array) -> list[Array]:
        """The outputs of a graph, for its inputs by name. Raises `UsageError` as loading it, and `MemoryError`."""
        session, wanted = self._session(name)
        try:
            outputs: list[Array] = session.run(None, {key: inputs[key] for key in wanted})
        except Exception as error:  # those of ONNX Runtime have no base of their own
            if any(said in str(error) for said in _NO_MEMORY):
                raise MemoryError(str(error)) from error
            raise
        return outputs

    def _session(self, name: str) -> tuple[Any, list[str]]:
        with self._lock:
            if name not in self._sessions:
                session, kept = self._loaded(name)
                self._sessions[name] = session, [entry.name for entry in session.get_inputs()], kept
            session, wanted, _ = self._sessions[name]
            return session, wanted

    def _loaded(self, name: str) -> tuple[Any, Any]:
        """What runs a graph, and its weights, which must live as long. Raises `UsageError` for a damaged one."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads()
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # others use the machine too
        options.log_severity_level = 3
        fills = self._bundle.manifest["weights"][name]
        values = [
            onnxruntime.OrtValue.ortvalue_from_numpy(self._filled(kind, source)) for kind, source in fills.values()
        ]
        if values:
            options.add_external_initializers(list(fills), values)
        path = self._bundle.folder / f"{name}.onnx"
        try:
            return onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"]), values
        except Exception as error:  # those of ONNX Runtime have no base of their own
            if any(said in str(error) for said in _NO_MEMORY):
                raise MemoryError(str(error)) from error
            raise UsageError(f"{path}: ONNX Runtime cannot load it ({error}); {_REMEDY}") from error

    def _filled(self, kind: str, source: str) -> Array:
        """A weight of a graph: a tensor of the file as it is, or of a layer in fixed point."""
        if kind == "plain":
            return self._weights.floats(source)
        if kind == "table.table":
            return fixed_point.on_grid(self._weights.floats(f"{source}.table"))
        if source not in self._fills:
            self._fills[source] = self._layer(kind.partition(".")[0], source)
        return self._fills[source][kind.partition(".")[2]]

    def _layer(self, kind: str, source: str) -> dict[str, Array]:
        weight, bias = self._weights.floats(f"{source}.weight"), f"{source}.bias"
        exact, bits = fixed_point.stepped(weight)
        given = self._weights.floats(bias) if bias in self._weights.entries else np.zeros(len(weight), np.float32)
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
