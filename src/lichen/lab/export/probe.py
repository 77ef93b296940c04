"""The graph of sums whose results are known (`runtime.probe`), of the layers that priors are made of."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lichen.lab.export.graphs import Graph
from lichen.lab.fixed_point.float32 import Float32Depthwise, Float32Pointwise
from lichen.runtime.probe import Layer, layers


class Probe(nn.Module):
    """A fixed-point layer of each kind, each with its own input (1, Cin, h, w): the results (1, Cout, h, w).

    The widest is also evaluated by rows, as the last layers of sources are: (1, h w, Cout).
    """

    def __init__(self) -> None:
        super().__init__()
        for name, layer in layers().items():
            self.add_module(name, _fixed_point(layer))

    def forward(self, narrow: Tensor, wide: Tensor, near: Tensor, far: Tensor) -> tuple[Tensor, ...]:
        given = {"narrow": narrow, "wide": wide, "near": near, "far": far}
        results = [self.get_submodule(name)(x) for name, x in given.items()]
        last = self.get_submodule("wide")
        assert isinstance(last, Float32Pointwise)
        points = last.prepared(wide).flatten(2).permute(0, 2, 1)
        return *results, last.rows(points, torch.arange(len(last.weight)))


def _fixed_point(layer: Layer) -> nn.Module:
    outputs, width = layer.weight.shape[:2]
    groups = 1 if layer.kernel == 1 else outputs
    conv = nn.Conv2d(width * groups, outputs, layer.kernel, padding=layer.kernel // 2, groups=groups)
    conv.load_state_dict({"weight": torch.from_numpy(layer.weight), "bias": torch.from_numpy(layer.bias)})
    return Float32Pointwise(conv) if layer.kernel == 1 else Float32Depthwise(conv)


def probe_graph() -> Graph:
    """The probe, to be exported beside the graphs of a config."""
    inputs = {name: torch.from_numpy(layer.x) for name, layer in layers().items()}
    return Graph(Probe().eval(), inputs, {}, (*(f"{name}_results" for name in layers()), "rows"))
