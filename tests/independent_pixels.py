"""Pixels of `.lic` files from their latents, as section 5 of docs/format.md says; it imports nothing of lichen.

`tests.independent` decodes a file of the rows `lichen`, `lichen-hp` and `lichen-cb` to its latents, exactly; this makes
the picture of them. The product computes in float32 and this in float64, so that samples may differ by a rounding.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.independent import ONE, Weights, decode, stored_tensors
from tests.independent_bits import File, Ints

Map = NDArray[np.float64]  # (h, w, C)
Bytes = NDArray[np.uint8]
Tensors = dict[str, Map]

GREY = 1  # the flag


def read_synthesis(path: Path) -> Tensors:
    """The tensors of a weights file that make pixels: `gains.backward_log`, `synthesis` and `post_filter`."""
    _, stored = stored_tensors(path.read_bytes())
    wanted, latents = ("gains.backward_log.", "synthesis.", "post_filter."), "post_filter.raw_scales"
    named = {name: tensor for name, tensor in stored.items() if name.startswith(wanted) and name != latents}
    return {name: tensor.astype(np.float64) for name, tensor in named.items()}


def at_rate_level(table: Map, quality_index: int) -> Map:
    """(levels, C) -> (C), between two rows."""
    below = min(quality_index // 512, max(len(table) - 2, 0))
    above = min(below + 1, len(table) - 1)
    found: Map = table[below] + (table[above] - table[below]) * (quality_index / 512 - below)
    return found


def leaky(x: Map) -> Map:
    """LeakyReLU of slope 1/8."""
    return np.asarray(np.where(x < 0, x / 8, x), np.float64)


def convolved(tensors: Tensors, name: str, x: Map) -> Map:
    """A k x k cross-correlation, k odd, that reads zeros beyond the map; depthwise where it has one input channel."""
    weight, side = tensors[name + ".weight"], tensors[name + ".weight"].shape[2]
    padded = np.pad(x, ((side // 2,), (side // 2,), (0,)))
    total = np.zeros((*x.shape[:2], len(weight))) + tensors.get(name + ".bias", 0.0)
    for row, column in np.ndindex(side, side):
        seen, tap = padded[row : row + x.shape[0], column : column + x.shape[1]], weight[:, :, row, column]
        total += seen * tap[:, 0] if weight.shape[1] == 1 else seen @ tap.T
    return total


def shuffled(x: Map, factor: int) -> Map:
    """(h, w, C factor^2) -> (factor h, factor w, C)."""
    height, width = x.shape[:2]
    cells = x.reshape(height, width, -1, factor, factor).transpose(0, 3, 1, 4, 2)
    return cells.reshape(factor * height, factor * width, -1)


def through(tensors: Tensors, stage: str, x: Map) -> Map:
    """All residual blocks of a stage, `synthesis.<stage>.0`, `.1`, ...: as many as there are."""
    number = 0
    while any(name.startswith(f"{stage}.{number}.") for name in tensors):
        block = f"{stage}.{number}."
        if block + "first.weight" in tensors:  # a dense block
            change = convolved(tensors, block + "second", leaky(convolved(tensors, block + "first", x)))
        else:
            hidden = convolved(tensors, block + "expand", convolved(tensors, block + "spatial", x))
            change = convolved(tensors, block + "project", leaky(hidden))
        x, number = x + change, number + 1
    return x


def synthesised(tensors: Tensors, y_hat: Map, quality_index: int) -> Map:
    """(4 h, 4 w, M) in steps of the quantiser -> (64 h, 64 w, 3), black 0 and white 1, neither clamped nor cut."""
    y = y_hat * np.exp(at_rate_level(tensors["gains.backward_log.table"], quality_index))
    deep = convolved(tensors, "synthesis.enter", y) + at_rate_level(tensors["synthesis.level.table"], quality_index)
    deep = through(tensors, "synthesis.coarse", deep)
    deep = shuffled(convolved(tensors, "synthesis.up.0", deep), 2)
    deep = through(tensors, "synthesis.fine", through(tensors, "synthesis.dense", deep))
    deep = shuffled(convolved(tensors, "synthesis.leave", deep), 8)
    return shuffled(convolved(tensors, "synthesis.linear", y), 16) + deep + 0.5


def filtered(tensors: Tensors, x: Map, file: File, own: Ints) -> Map:
    """Section 6: by the whole numbers `own` (K) of principal filters."""
    hyper_latents = -(-file.height // 64) * -(-file.width // 64)
    steps = tensors["post_filter.steps"][(file.quality_index + 256) // 512]
    step = 2.0 ** (steps - (hyper_latents.bit_length() - 7) / 2)
    weight = tensors["post_filter.filters"]
    side, change = weight.shape[2], np.tensordot(own * step, weight.reshape(len(own), 3, *weight.shape[1:]), 1)
    padded = np.pad(x, ((side // 2,), (side // 2,), (0,)), mode="edge")
    total = x + own * step @ tensors["post_filter.offsets"]
    for row, column in np.ndindex(side, side):
        total += padded[row : row + len(x), column : column + x.shape[1]] @ change[:, :, row, column].T
    return np.asarray(total)


def pixels(file: File, y_hat: Ints, tensors: Tensors, own: Ints | None = None) -> Bytes:
    """The picture of latents in units of 2^-12 and a filter's numbers: (H, W, 3), or (H, W, 1) of a greyscale file."""
    whole = synthesised(tensors, y_hat / ONE, file.quality_index)
    x = (whole if own is None else filtered(tensors, whole, file, own))[: file.height, : file.width]
    samples = np.rint(255 * np.clip(x, 0, 1)).astype(np.int64)
    if file.flags & GREY:
        samples = (samples.sum(axis=2, keepdims=True) + 1) // 3
    return samples.astype(np.uint8)


def decode_pixels(data: bytes, path: Path, tables: Path) -> Bytes:
    """The picture of a file's bytes, its alpha left out: `path` is its weights, `tables` the frozen tables' folder."""
    decoded = decode(data, Weights.read(path), tables)
    return pixels(decoded.file, decoded.y_hat, read_synthesis(path), decoded.own)
