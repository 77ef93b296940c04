"""Window attention against a naive loop, at sizes that do not fit the window."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from lichen.lab.transforms.swin import WindowAttention


def naive(layer: WindowAttention, x: torch.Tensor) -> torch.Tensor:
    """Each position attends to those of its window that are real and not wrapped around."""
    window, heads = layer.window, layer.heads
    channels, height, width = x.shape
    depth = channels // heads
    q, k, v = F.conv2d(x[None], layer.qkv.weight, layer.qkv.bias)[0].reshape(3, heads, depth, height, width)
    shift = [layer.shift if side + -side % window > window else 0 for side in (height, width)]

    def cell(row, column):
        return ((row - shift[0]) // window, (column - shift[1]) // window)

    out = torch.zeros(heads, depth, height, width, dtype=x.dtype)
    places = [(r, c) for r in range(height) for c in range(width)]
    for row, column in places:
        near = [p for p in places if cell(*p) == cell(row, column)]
        for head in range(heads):
            bias = [
                layer.attend.bias[head, (row - r + window - 1) * (2 * window - 1) + column - c + window - 1]
                for r, c in near
            ]
            scores = torch.stack([q[head, :, row, column] @ k[head, :, r, c] / depth**0.5 for r, c in near])
            weights = torch.softmax(scores + torch.stack(bias), dim=0)
            out[head, :, row, column] = sum(w * v[head, :, r, c] for w, (r, c) in zip(weights, near, strict=True))
    return F.conv2d(out.reshape(1, channels, height, width), layer.project.weight, layer.project.bias)[0]


@pytest.mark.parametrize("shifted", [False, True])
@pytest.mark.parametrize("size", [(4, 8), (5, 7), (1, 9), (3, 3)])
@torch.no_grad()
def test_attention_is_that_of_the_naive_loop(size, shifted):
    torch.manual_seed(0)
    layer = WindowAttention(64, 4, shifted).double()
    torch.nn.init.normal_(layer.attend.bias)
    x = torch.randn(2, 64, *size, dtype=torch.float64)
    assert torch.allclose(layer(x)[1], naive(layer, x[1]), atol=1e-10)


@torch.no_grad()
def test_batch_neighbours_do_not_matter():
    layer = WindowAttention(32, 4, True).double()
    x = torch.randn(3, 32, 6, 9, dtype=torch.float64)
    assert torch.allclose(layer(x)[2], layer(x[2:])[0], atol=1e-12)
