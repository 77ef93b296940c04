"""Sums of known results: what runs graphs inexactly is found before it decides a bit."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from lichen.codec import Codec
from lichen.errors import InexactEngine
from lichen.lab.engine import torch_engine
from lichen.lab.export.probe import probe_graph
from lichen.options import EngineName
from lichen.runtime import graphs
from lichen.runtime.fixed_point import stepped
from lichen.runtime.graphs import Bundle, Graphs, digest_of, packaged
from lichen.runtime.probe import INPUT_UNIT, WEIGHT_UNIT, layers
from tests.small import scene

SHAPES = {"narrow": (24, 64), "wide": (32, 320)}


def test_sums_come_near_the_limit_and_are_what_integers_give():
    for name, layer in layers().items():
        weight, x = layer.weight / WEIGHT_UNIT, layer.x[0] / INPUT_UNIT
        assert np.array_equal(stepped(layer.weight)[0], layer.weight) and np.array_equal(weight, np.rint(weight)), name
        longest = np.abs(weight).sum(axis=(1, 2, 3)).max() * np.abs(x).max()
        assert 2**22 < longest < 2**24 and np.abs(layer.results()).max() < 1000
        if layer.kernel == 1:
            sums = weight[:, :, 0, 0].astype(np.int64) @ x.astype(np.int64).reshape(len(x), -1)
            units = np.rint(sums / 4 + layer.bias[:, None] * 4096)  # 2^-14 to the grid, 2^-12
            assert np.array_equal(layer.results().reshape(units.shape), units / 4096)


def test_the_lab_computes_them():
    graph = probe_graph()
    *found, rows = graph.module(*graph.inputs.values())
    for layer, result in zip(layers().values(), found, strict=True):
        assert np.array_equal(result.numpy(), layer.results())
    assert np.array_equal(rows.permute(0, 2, 1).flatten().numpy(), layers()["wide"].results().ravel())


def products_of(model, layer):
    """The place and the node of a layer's products."""
    nodes = enumerate(model.graph.node)
    return next((i, node) for i, node in nodes if node.op_type == "Conv" and node.input[1] == f"{layer}.weight")


def in_bfloat16(layer):
    """Inputs of its products are rounded to 8 bits, as fast multiplications do."""

    def change(model):
        place, products = products_of(model, layer)
        name = products.input[0]
        products.input[0] = f"{name}_again"
        for node in (
            helper.make_node("Cast", [f"{name}_short"], [f"{name}_again"], to=TensorProto.FLOAT),
            helper.make_node("Cast", [name], [f"{name}_short"], to=TensorProto.BFLOAT16),
        ):
            model.graph.node.insert(place, node)

    return change


def fused(model):
    """The widest layer becomes one operation that begins its sums at the offset, as optimisers make of Add."""
    nodes, (outputs, inputs) = model.graph.node, SHAPES["wide"]
    _, products = products_of(model, "wide")
    turned = next(node for node in nodes if node.op_type == "Transpose" and node.input[0] == products.output[0])
    offset = next(node for node in nodes if node.op_type == "Sub" and node.input[0] == turned.output[0])
    for name, sizes in (("flat", (81, inputs)), ("matrix", (outputs, inputs)), ("map", (1, 9, 9, outputs))):
        model.graph.initializer.append(numpy_helper.from_array(np.array(sizes, np.int64), name))
    place = list(nodes).index(offset)
    for node in (
        helper.make_node("Reshape", ["sums", "map"], [offset.output[0]]),
        helper.make_node("Gemm", ["points", "weights", "begin"], ["sums"], transB=1),
        helper.make_node("Neg", ["wide.minus_offset"], ["begin"]),
        helper.make_node("Reshape", ["wide.weight", "matrix"], ["weights"]),
        helper.make_node("Reshape", ["pixels", "flat"], ["points"]),
        helper.make_node("Transpose", [products.input[0]], ["pixels"], perm=[0, 2, 3, 1]),
    ):
        nodes.insert(place, node)
    for node in (products, turned, offset):
        nodes.remove(node)


WRONG = {"a fused offset": fused, **{f"{layer} in bfloat16": in_bfloat16(layer) for layer in layers()}}


@pytest.fixture
def with_probe(monkeypatch):
    """Puts a probe in place of the one in the box."""

    def put(data):
        whole = Bundle.graph
        monkeypatch.setattr(Bundle, "graph", lambda self, name: data if name == "probe" else whole(self, name))

    return put


@pytest.mark.parametrize("change", WRONG.values(), ids=WRONG)
def test_wrong_sums_are_an_error_of_ours(with_probe, change):
    model = onnx.load(str(graphs.PACKAGED / "lichen" / "probe.onnx"), load_external_data=False)
    codec = Codec(engine=EngineName.ONNX)
    data = codec.encode(scene(48, 32))
    change(model)
    with_probe(model.SerializeToString())
    fresh = Codec(engine=EngineName.ONNX)
    for work in (lambda: fresh.encode(scene(48, 32)), lambda: fresh.decode(data)):
        with pytest.raises(InexactEngine, match="set `engine` to torch, or install another version"):
            work()
    assert isinstance(Codec(engine=EngineName.TORCH).engine, torch_engine.TorchEngine)


def test_sums_are_tried_once(monkeypatch):
    tried = []
    plain = Graphs._try_sums
    monkeypatch.setattr(Graphs, "_try_sums", lambda self: (tried.append(1), plain(self)))
    codec = Codec(engine=EngineName.ONNX)
    codec.decode(codec.encode(scene(48, 32)))
    assert len(tried) == 1


def test_manifests_know_their_graphs():
    for bundle in packaged():
        assert set(bundle.manifest["digests"]) == set(bundle.manifest["weights"])
        for name, digest in bundle.manifest["digests"].items():
            assert digest_of((bundle.folder / f"{name}.onnx").read_bytes()) == digest
