"""Exported graphs are their modules: on lively inputs, at several sizes, and today's export is what is in the box."""

from __future__ import annotations

import json

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from lichen.errors import UsageError
from lichen.lab.export.graphs import graphs_of
from lichen.lab.export.write import export
from lichen.lab.models.checkpoint import load_checkpoint
from lichen.lab.models.zoo import row
from lichen.runtime.graphs import Bundle, Fills, Graphs, _Session, packaged
from lichen.runtime.probe import tensors
from lichen.runtime.weights import find_by_name
from lichen.runtime.weights_file import read_weights

NAMES = ["lichen", "lichen-ms-ssim"]
EXACT = ("hyper_synthesis", "predict")
FUSED = {"Gemm", "MatMul", "FusedGemm", "FusedMatMul", "FusedConv"}


@pytest.fixture(scope="module", params=NAMES)
def shipped(request):
    path = find_by_name(request.param)
    weights = read_weights(path)
    bundle = Bundle.of_config(weights.config_digest)
    assert bundle is not None and bundle.folder.name == request.param
    return load_checkpoint(path), bundle, Graphs(bundle, weights)


def lively(name: str, shape: tuple[int, ...], seed: int) -> torch.Tensor:
    """Inputs as large as they get, on the grid where the prior is exact."""
    torch.manual_seed(seed)
    if name == "rate_level":
        return torch.tensor([seed * 511 / 512], dtype=torch.float64)
    if name == "counts":
        return torch.randint(-2000, 8000, shape).float()
    if name in {"features", "known", "z_hat"}:
        return torch.round(torch.randn(shape) * 8 * 4096) / 4096
    return torch.rand(shape) if name in {"x", "x_hat"} else torch.randn(shape)


@torch.no_grad()
@pytest.mark.parametrize("seed", [1, 3])
def test_graphs_are_their_modules(shipped, seed):
    checkpoint, _, graphs = shipped
    made = graphs_of(checkpoint.config, checkpoint.model)
    for name, graph in made.items():
        inputs = {}
        for key, example in graph.inputs.items():
            grown = list(example.shape)
            if key in graph.growing:
                units = graph.growing[key]
                grown[-2:] = [units[0] * (2 + seed), units[1] * (4 - seed)]
            inputs[key] = lively(key, tuple(grown), seed)
        wanted = graph.module(*inputs.values())
        wanted = wanted if isinstance(wanted, tuple) else (wanted,)
        found = graphs.run(name, **{key: value.numpy() for key, value in inputs.items()})
        for ours, theirs in zip(found, wanted, strict=True):
            if name.startswith(EXACT):
                assert np.array_equal(ours, theirs.numpy()), name
            else:
                assert np.allclose(ours, theirs.numpy(), atol=2e-3 * max(1, float(theirs.abs().max()))), name


def test_no_product_begins_at_its_offset(shipped):
    """A Gemm, or a Conv with a bias, may begin its sums at the bias, where they are not exact."""
    _, bundle, _ = shipped
    for path in bundle.folder.glob("*.onnx"):
        nodes = onnx.load(str(path), load_external_data=False).graph.node
        if path.stem.startswith(EXACT):
            assert not [n for n in nodes if n.op_type in {"Gemm", "MatMul"}]
            assert not [n for n in nodes if n.op_type == "Conv" and len(n.input) > 2]


@pytest.mark.parametrize("level", ["ORT_ENABLE_BASIC", "ORT_ENABLE_EXTENDED", "ORT_ENABLE_ALL"])
def test_no_optimiser_makes_one_that_does(shipped, level, tmp_path, monkeypatch):
    _, bundle, graphs = shipped
    made = onnxruntime.SessionOptions

    def options():
        asked = made()
        asked.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
        asked.optimized_model_filepath = str(tmp_path / "optimised.onnx")
        return asked

    monkeypatch.setattr(onnxruntime, "SessionOptions", options)
    for name in ["probe", *(name for name in bundle.manifest["weights"] if name.startswith(EXACT))]:
        fills = Fills(tensors()) if name == "probe" else graphs._fills
        _Session.of(bundle, name, fills)
        nodes = onnx.load(str(tmp_path / "optimised.onnx"), load_external_data=False).graph.node
        kinds = {node.op_type for node in nodes}
        assert "Conv" in kinds and not kinds & {"Gemm", "MatMul", "FusedGemm", "FusedMatMul", "FusedConv"}, (
            name,
            kinds,
        )
        assert not [node for node in nodes if node.op_type == "Conv" and len(node.input) > 2 and node.input[2]]


def test_graphs_hold_no_weights():
    for bundle in packaged():
        for path in bundle.folder.glob("*.onnx"):
            assert path.stat().st_size < 60_000, path
    assert {bundle.folder.name for bundle in packaged()} == set(NAMES)


def test_what_cannot_be_exported_is_said():
    with pytest.raises(UsageError, match="lab's engine"):
        graphs_of(row("minnen-hp").config)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_graphs_in_the_box_are_those_of_today(name, tmp_path):
    export(find_by_name(name), tmp_path, lambda line: None)
    (bundle,) = (b for b in packaged() if b.folder.name == name)
    assert json.loads((tmp_path / "manifest.json").read_text()) == bundle.manifest
    for path in bundle.folder.glob("*.onnx"):
        assert path.read_bytes() == (tmp_path / path.name).read_bytes(), path.name
