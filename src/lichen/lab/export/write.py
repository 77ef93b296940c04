"""Writing the graphs of a config: ONNX files without weights, and a manifest that says what fills them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lichen.image.files import write_atomically
from lichen.lab.engine.activations import estimate_memory
from lichen.lab.engine.halos import prior_halos, transform_halos
from lichen.lab.export.graphs import Graph, WithWeights, graphs_of
from lichen.lab.export.probe import probe_graph
from lichen.lab.fixed_point.float32 import Float32Depthwise, Float32Pointwise
from lichen.lab.fixed_point.layers import FixedPointLevelTable
from lichen.lab.models.checkpoint import load_checkpoint
from lichen.lab.models.config import ModelConfig, to_json
from lichen.lab.models.zoo import row
from lichen.lab.prior.context import ParallelModel
from lichen.runtime.graphs import digest_of
from lichen.runtime.weights_file import config_digest, read_weights

OPSET = 20
EXTERNAL = "weights"  # where graphs say that their weights lie: they are given when a graph is loaded
_KINDS = {Float32Pointwise: "pointwise", Float32Depthwise: "depthwise", FixedPointLevelTable: "table"}


def export(weights_path: Path, folder: Path, say: Callable[[str], None]) -> None:
    """Write the graphs and `manifest.json` of a weights file's config into a folder.

    Raises `UnknownWeights`, `BadCheckpoint`, `UsageError` and `OutputError`.
    """
    config, stored = load_checkpoint(weights_path).config, read_weights(weights_path)
    folder.mkdir(parents=True, exist_ok=True)
    weights: dict[str, dict[str, Any]] = {}
    digests: dict[str, str] = {}
    for name, graph in {**graphs_of(config), "probe": probe_graph()}.items():
        data, filled = exported(graph)
        write_atomically(folder / f"{name}.onnx", data, overwrite=True)
        weights[name], digests[name] = filled, digest_of(data)
        say(f"{name}: {len(data)} bytes, {len(filled)} weights")
    model = row(stored.name)
    configs = sorted({stored.config_digest, config_digest(to_json(config))})
    named = {"model": model.name, "id": model.id, "configs": configs}
    manifest = {**named, **facts(config), "weights": weights, "digests": digests}
    write_atomically(folder / "manifest.json", (json.dumps(manifest, indent=1) + "\n").encode(), overwrite=True)


def exported(graph: Graph) -> tuple[bytes, dict[str, list[str]]]:
    """A graph as ONNX, and what fills each of its weights: how it is prepared, and of which tensor or layer."""
    import onnx

    state = {**dict(graph.module.named_parameters()), **dict(graph.module.named_buffers())}
    names, tensors = list(state), [tensor.detach().clone() for tensor in state.values()]
    rows, columns = torch.export.Dim("rows", min=1, max=4096), torch.export.Dim("columns", min=1, max=4096)
    shapes = tuple(_axes(graph, name, rows, columns) for name in graph.inputs)
    with torch.enable_grad():  # the plain path of layers that have a faster one for PyTorch
        program = torch.onnx.export(
            WithWeights(graph.module, names),
            (tuple(graph.inputs.values()), tensors),
            dynamo=True,
            dynamic_shapes=(shapes, [None] * len(names)),
            input_names=[*graph.inputs, *names],
            output_names=list(graph.outputs),
            opset_version=OPSET,
            external_data=False,
            optimize=True,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    fills = {name: fill_of(graph.module, name) for name in names}
    used = {name for node in model.graph.node for name in node.input}
    _without_weights(onnx, model, graph, {name: state[name] for name in names if name in used})
    return model.SerializeToString(deterministic=True), {name: fills[name] for name in names if name in used}


def _axes(graph: Graph, name: str, rows: Any, columns: Any) -> dict[int, Any] | None:
    if name not in graph.growing:
        return None
    down, across = graph.growing[name]
    last = graph.inputs[name].dim()
    return {last - 2: down * rows if down > 1 else rows, last - 1: across * columns if across > 1 else columns}


def _without_weights(onnx: Any, model: Any, graph: Graph, weights: dict[str, torch.Tensor]) -> None:
    """Weights, exported as inputs, become initialisers whose values are given when the graph is loaded."""
    inputs = [entry for entry in model.graph.input if entry.name in graph.inputs]
    types = {entry.name: entry.type.tensor_type.elem_type for entry in model.graph.input}
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    for name, value in weights.items():
        tensor = onnx.TensorProto(name=name, data_type=types[name], data_location=onnx.TensorProto.EXTERNAL)
        tensor.dims.extend(value.shape)
        size = value.numel() * value.element_size()
        for key, said in (("location", EXTERNAL), ("offset", "0"), ("length", str(size))):
            tensor.external_data.add(key=key, value=said)
        model.graph.initializer.append(tensor)
    for node in model.graph.node:
        node.ClearField("doc_string")
        del node.metadata_props[:]
    del model.graph.value_info[:]
    del model.metadata_props[:]
    model.ClearField("producer_version")


def fill_of(module: nn.Module, name: str) -> list[str]:
    """How a weight is prepared, and of what: a layer of the prior in fixed point, or a tensor as it is."""
    owner, _, own = name.rpartition(".")
    layer = module.get_submodule(owner)
    root = "prior." if name.startswith(("synthesis.", "context.")) and _in_prior(module) else ""
    kind = _KINDS.get(type(layer))
    if kind is None:
        return ["plain", root + name]
    return [f"{kind}.{own}", root + owner]


def _in_prior(module: nn.Module) -> bool:
    return any(type(child) in _KINDS for child in module.modules())


def facts(config: ModelConfig) -> dict[str, Any]:
    """What the codec must know of a config beside its graphs."""
    model = config.build().eval().requires_grad_(False)
    context, halos, prior = model.prior.context, transform_halos(model), prior_halos(model)
    assert isinstance(context, ParallelModel) and halos is not None and prior is not None
    memory, family = estimate_memory(model), context.family
    steps = context.schedule.steps(4, 4, torch.device("cpu"))
    return {
        "stride": model.stride,
        "hyper_stride": model.hyper_stride,
        "latents": context.latents,
        "hyper_latents": model.prior.hyper_prior.channels,
        "features": config.features,
        "family": {"tables": family.tables, "skip": family.skip},
        "hyper_skip": 3,
        "adaptation": context.adaptation is not None,
        "centroids": context.centroids is not None,
        "steps": [
            [[*(cell.phase or (0, 0)), cell.channels.start or 0, cell.channels.step or 1] for cell in s.cells]
            for s in steps
        ],
        "post_filter_side": None if model.post_filter is None else model.post_filter.side,
        "halos": {
            "analysis": halos.analysis,
            "hyper_analysis": halos.hyper_analysis,
            "synthesis": halos.synthesis,
            "prior_synthesis": prior.synthesis,
            "prior_context": prior.context,
        },
        "memory": {"widest": memory.widest, "latents": memory.latents},
        "tensors": {name: list(tensor.shape) for name, tensor in model.state_dict().items()},
    }
