"""What a browser needs to code: weights, their graphs and the frozen tables, by an index with their hashes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from lichen.runtime.graphs import Bundle
from lichen.runtime.weights import weights_files
from lichen.runtime.weights_file import WeightsFile, read_weights, tune_of

INDEX, FORMAT = "models.json", 1
_TABLES = {
    "scores": "scores.npz",
    "gaussian": "gaussian_tables.npz",
    "logistic": "logistic_tables.npz",
    "gaussian_trellis": "gaussian_trellis.npz",
    "logistic_trellis": "logistic_trellis.npz",
}


@dataclass(frozen=True)
class Models:
    """The bytes of an index, and the files that it names, by their paths on a site."""

    index: bytes
    files: dict[str, Path]

    @staticmethod
    def available() -> Models:
        """All weights that Lichen finds and has graphs for. Raises `BadCheckpoint`, `UsageError`."""
        found = [read_weights(path) for path in weights_files(None)]
        pairs = [(weights, Bundle.of_config(weights.config_digest)) for weights in found]
        return Models.of((weights, bundle) for weights, bundle in pairs if bundle is not None)

    @staticmethod
    def of(pairs: Iterable[tuple[WeightsFile, Bundle]]) -> Models:
        """Weights with the graphs of their configs. Raises `BadCheckpoint` and `UsageError` where they do not fit."""
        files: dict[str, Path] = {}
        models: dict[str, dict[str, Any]] = {}
        for weights, bundle in pairs:
            bundle.check(weights)
            models.setdefault(weights.hash.hex(), _entry(files, weights, bundle))
        folder = Path(str(resources.files("lichen.coding")))
        tables = {name: _asset(files, f"tables/{file}", folder / file) for name, file in _TABLES.items()}
        index = {"format": FORMAT, "models": list(models.values()), "tables": tables}
        return Models((json.dumps(index, indent=1) + "\n").encode(), files)


def _entry(files: dict[str, Path], weights: WeightsFile, bundle: Bundle) -> dict[str, Any]:
    name, folder = weights.hash.hex(), bundle.folder
    graphs = sorted(bundle.manifest["weights"])
    for graph in graphs:
        bundle.graph(graph)  # checked against its manifest
    return {
        "hash": name,
        "model": bundle.manifest["id"],
        "name": weights.name,
        "rates": int(weights.config["rates"].get("count", 1)),
        "trained_for": tune_of(weights.config).value,
        "weights": _asset(files, f"models/{name}/weights.safetensors", weights.path),
        "manifest": _asset(files, f"models/{name}/manifest.json", folder / "manifest.json"),
        "graphs": {g: _asset(files, f"models/{name}/{g}.onnx", folder / f"{g}.onnx") for g in graphs},
    }


def _asset(files: dict[str, Path], place: str, path: Path) -> dict[str, Any]:
    files[place], data = path, path.read_bytes()
    return {"path": place, "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
