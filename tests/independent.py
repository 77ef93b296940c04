"""A second decoder of `.lic` files, up to the latents, as docs/format.md says; it imports nothing of lichen.

The product carries fixed point in float64; here an activation is an int64 in units of 2^-12, and a sum one in units
of 2^-(12 + b). It reads the rows of section 4: `lichen` (the shipped weights of either tune), `lichen-hp`, `lichen-cb`.
"""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import dataclass
from decimal import Decimal
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.independent_bits import Decoder, File, Ints, Tables, need, parse, read_tables

Cell = tuple[NDArray[np.bool_], slice]  # where, and which channels

ONE = 2**12  # units of an activation
MOST = 2**23 - 1  # of an activation, in units: 2048 - 2^-12
MOST_SINGLE = 2**22 - 1  # in single precision: 1024 - 2^-12
TILE_SIDE = 4 * 48  # of a coding tile, in latents
FILTERED, TRELLIS = 2, 4  # flags
TRELLIS_FROM, CHAIN = 10, 256  # scale index, latents
FOLLOWING = ((0, 2, 5, 7, 1, 3, 4, 6), (1, 3, 4, 6, 0, 2, 5, 7))  # states, after even and odd symbols
PRIOR_STRENGTH = 6144  # information, of "the scale was right"
FOUR = (0, 1, 3, 2)  # of Quadtree: the channels, modulo 4, of phases 0 ... 3
TURNS = (0, 3, 1, 2)  # and what a phase is exclusive-ored with, step by step


def halved(x: Ints, bits: Any) -> Ints:
    """x / 2^bits, bits at least 1, rounded half to even."""
    whole, rest, half = x >> bits, x & (np.int64(1) << bits) - 1, np.int64(1) << bits - 1
    return np.asarray(whole + ((rest > half) | ((rest == half) & (whole & 1 == 1))), np.int64)


def clamped(x: Ints) -> Ints:
    return np.clip(x, -MOST, MOST)


def rounded(sums: Ints, bits: int) -> Ints:
    return clamped(halved(sums, bits))


def units(x: NDArray[Any], bits: int) -> Ints:
    """float32 numbers in units of 2^-bits, rounded half to even.

    Exact although in float64: it holds every float32, and times a power of two; `rint` is half to even (IEEE 754).
    """
    return np.rint(x.astype(np.float64) * 2.0**bits).astype(np.int64)


def of_24_bits(x: Ints) -> Ints:
    """As float32 holds it: an integer of more bits is rounded half to even (IEEE 754)."""
    return x.astype(np.float32).astype(np.int64)


def coarse(x: Ints, bits: Ints) -> Ints:
    """x rounded half to even to multiples of 2^bits, where bits are above 0."""
    return np.where(bits > 0, halved(x, np.maximum(bits, 1)) << np.maximum(bits, 0), x)


def leaky(x: Ints, single: bool) -> Ints:
    """LeakyReLU of slope 1/8; in single precision without a clamp."""
    return np.where(x < 0, halved(x, 3), x) if single else np.where(x < 0, rounded(clamped(x), 3), clamped(x))


def threshold(i: int) -> int:
    """Of a logarithmic scale; 28 digits leave no doubt about the nearest integer."""
    low, high = (Decimal(x).ln() / Decimal(2).ln() for x in ("0.11", "256"))
    return int((ONE * (low + (i + Decimal("0.5")) * (high - low) / 63)).to_integral_value())


THRESHOLDS = np.array([threshold(i) for i in range(63)], np.int64)


def scale_index(raw_scale: Ints) -> Ints:
    return np.asarray(np.searchsorted(THRESHOLDS, raw_scale, side="right"), np.int64)


LEVEL = "LevelHyperPrior"
RENAMED = {  # docs/format.md, section 4: names in older weights files
    "LevelSide": LEVEL,
    "LearnedSide": "LearnedHyperPrior",
    "gaussian": "family",
    "inside": "mean_in_cdf",
    "prior.hyper_mean.": "prior.hyper_prior.mean.",
    "prior.hyper_raw.": "prior.hyper_prior.raw.",
    "prior.side.": "prior.hyper_prior.",
    "picture_filter.": "post_filter.",
}
PARTS = {"raw": "raw_scale", "base_raw": "base_raw_scale", "raws": "raw_scales"}
RENAMED_OF_MODEL = {"side": "hyper_prior", "single": "float32_prior", "filter": "post_filter"}


def renamed(config: Any) -> Any:
    """A config with the current names of kinds and fields."""
    if isinstance(config, dict):
        names = RENAMED_OF_MODEL if config.get("kind") == "ModelConfig" else RENAMED
        return {names.get(key, key): renamed(RENAMED.get(v, v) if key == "kind" else v) for key, v in config.items()}
    return [renamed(item) for item in config] if isinstance(config, list) else config


def stored_tensors(data: bytes) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """What the bytes of a weights file say of themselves, and its tensors."""
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + size])
    about = json.loads(header.pop("__metadata__")["lichen"])
    tensors: dict[str, NDArray[Any]] = {}
    for name, entry in header.items():
        first, last = (8 + size + offset for offset in entry["data_offsets"])
        kind = {"F16": "<f2", "F32": "<f4"}[entry["dtype"]]
        old = next((prefix for prefix in RENAMED if prefix.endswith(".") and name.startswith(prefix)), "")
        parts = (RENAMED.get(old, "") + name.removeprefix(old)).split(".")
        tensor = np.frombuffer(data[first:last], kind).reshape(entry["shape"])
        tensors[".".join(PARTS.get(part, part) for part in parts)] = tensor
    return {**about, "config": renamed(about["config"])}, tensors


@dataclass
class Weights:
    """Of a weights file: the prior's tensors, the model's config, the first bytes of its hash. Maps are (h, w, C)."""

    tensors: dict[str, NDArray[Any]]
    config: dict[str, Any]
    hash: bytes
    raw_scales: NDArray[Any] | None = None  # of filters, (levels, K)

    @staticmethod
    def read(path: Path) -> Weights:
        data = path.read_bytes()
        about, stored = stored_tensors(data)
        tensors: dict[str, NDArray[Any]] = {}
        for name, tensor in stored.items():
            if name.startswith("prior."):
                need(tensor.dtype == np.float32 or name.endswith(".weight"), "the prior's tensors are float32")
                tensors[name[6:]] = tensor.astype(np.float32)
        return Weights(
            tensors, about["config"], hashlib.sha256(data).digest()[:4], stored.get("post_filter.raw_scales")
        )

    def layer(self, name: str) -> tuple[Ints, Ints, int]:
        """Weight and bias in units, and b, of a convolution."""
        weight = self.tensors[name + ".weight"]
        bits = 14
        while np.abs(units(weight, bits)).max() >= 2**15:
            bits -= 1
        need(bits > 0, "weights beyond all use")
        return units(weight, bits), clamped(units(self.tensors[name + ".bias"], 12)), bits

    @property
    def single(self) -> bool:
        return bool(self.config.get("float32_prior"))

    def single_layer(self, name: str) -> tuple[Ints, Ints, Ints, Ints]:
        """In single precision: weights in steps 2^-k of each output, biases in units, k, bits of sums of weights."""
        weight = self.tensors[name + ".weight"].astype(np.float64)
        largest = np.maximum(np.abs(weight).max(axis=(1, 2, 3)), 2.0**-24)
        need(bool((largest < 128).all()), "weights beyond all use")
        k = 9 - np.frexp(largest)[1].astype(np.int64)
        k -= np.rint(largest * 2.0**k) >= 512
        whole = np.rint(weight * 2.0 ** k[:, None, None, None]).astype(np.int64)
        sums = np.array([max(int(total - 1).bit_length(), 2) for total in np.abs(whole).sum(axis=(1, 2, 3))])
        return whole, np.clip(units(self.tensors[name + ".bias"], 12), -MOST_SINGLE, MOST_SINGLE), k, sums

    def pointwise(self, name: str, x: Ints) -> Ints:
        """A 1 x 1 convolution: (h, w, Cin) -> (h, w, Cout)."""
        if self.single:
            weight, bias, k, sums = self.single_layer(name)
            x = of_24_bits(x)
            above = np.frexp(np.maximum(np.abs(x).max(axis=2, keepdims=True), 1).astype(np.float64))[1]
            total = coarse(x, above.astype(np.int64) + sums.max() - 24) @ np.ascontiguousarray(weight[:, :, 0, 0].T)
            return np.clip(halved(total + (bias << k), k), -MOST_SINGLE, MOST_SINGLE)
        weight, bias, bits = self.layer(name)
        return rounded(clamped(x) @ np.ascontiguousarray(weight[:, :, 0, 0].T) + (bias << bits), bits)

    def depthwise(self, name: str, x: Ints, edge: bool) -> Ints:
        """A k x k convolution of each channel by itself; beyond the map its edge is repeated, or zeros are read."""
        bits: Any
        if self.single:
            weight, bias, bits, sums = self.single_layer(name)
            seen = coarse(np.clip(x, -128 * ONE, 128 * ONE), sums - 5)
        else:
            weight, bias, bits = self.layer(name)
            seen = clamped(x)
        side = weight.shape[2]
        padded = np.pad(seen, ((side // 2,), (side // 2,), (0,)), mode="edge" if edge else "constant")
        total = np.zeros_like(x) + (bias << bits)
        for row, column in np.ndindex(side, side):
            total += padded[row : row + x.shape[0], column : column + x.shape[1]] * weight[:, 0, row, column]
        most = MOST_SINGLE if self.single else MOST
        return np.clip(halved(total, bits), -most, most)

    def at(self, name: str, quality_index: int) -> Ints:
        """A level table at `quality_index` / 512."""
        table = clamped(units(self.tensors[name + ".table"], 12))
        need(quality_index <= (len(table) - 1) * 512, "a quality index beyond its model's")
        below = min(quality_index // 512, max(len(table) - 2, 0))
        low, high = table[below], table[min(below + 1, len(table) - 1)]
        return rounded(low * 512 + (high - low) * (quality_index - below * 512), 9)


def hyper_synthesis(weights: Weights, z_hat: Ints, quality_index: int) -> Ints:
    """(h, w, Z) -> features (4 h, 4 w, F)."""
    name = "synthesis.body."
    entered = weights.pointwise("synthesis.enter", z_hat) + weights.at("synthesis.level", quality_index)
    x = leaky(entered, weights.single)
    for place in range(1, 6):
        if place % 2:
            x = weights.depthwise(f"{name}{place}.0", x, edge=True)
            x = leaky(weights.pointwise(f"{name}{place}.1", x), weights.single)
        else:  # twice as large by a pixel shuffle
            height, width = x.shape[:2]
            cells = weights.pointwise(f"{name}{place}.0", x).reshape(height, width, -1, 2, 2)
            x = cells.transpose(0, 3, 1, 4, 2).reshape(2 * height, 2 * width, -1)
    return x


def parameters(weights: Weights, step: int, features: Ints, known: Ints) -> tuple[Ints, Ints]:
    """Mean and raw scale of all latents (h, w, M), as the source of this step sees them."""
    name, seen = f"context.sources.{step}.", features
    if step > 0:
        local = weights.depthwise(name + "gather.1", weights.pointwise(name + "gather.0", known), edge=False)
        seen = np.concatenate([features, local], axis=2)
        seen = leaky(weights.pointwise(name + "mix.0", seen), weights.single)
    mean, raw_scale = np.split(weights.pointwise(name + "predict", seen), 2, axis=2)
    return mean, raw_scale


def moved(weights: Weights, step: int, counts: Ints) -> Ints:
    """What raw scales of this step (from 1) are moved by (h, w, M), by scores and information counted (2, h, w, M)."""
    name = "context.adaptation."
    padded = np.pad(counts, ((0,), (1,), (1,), (0,)))
    rows = padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]
    score, information = rows[:, :, :-2] + 2 * rows[:, :, 1:-1] + rows[:, :, 2:]
    whole, rest = np.divmod(score * ONE, information + PRIOR_STRENGTH)
    twice = 2 * rest - information - PRIOR_STRENGTH  # above 0 where the rest is more than a half
    asked = np.clip(whole + ((twice > 0) | ((twice == 0) & (whole % 2 == 1))), -8 * ONE, 8 * ONE)
    hidden = leaky(weights.pointwise(f"{name}mixed.{step - 1}.0", asked), weights.single)
    own = weights.depthwise(f"{name}own.{step - 1}", asked, edge=False)
    return own + weights.pointwise(f"{name}mixed.{step - 1}.2", hidden)


def schedule(kind: str, height: int, width: int) -> list[list[list[Cell]]]:
    """Parts of blocks of cells."""
    rows, columns = np.mgrid[:height, :width]
    phase, odd, every = 2 * (rows % 2) + columns % 2, (rows + columns) % 2 == 1, slice(None)
    if kind == "Quadtree":
        return [[[(phase == own ^ turn, slice(FOUR[own], None, 4)) for own in range(4)]] for turn in TURNS]
    if kind == "DualCheckerboard":
        evens, odds = slice(0, None, 2), slice(1, None, 2)
        return [[[(~odd, evens)], [(odd, odds)]], [[(odd, evens)], [(~odd, odds)]]]
    need(kind in ("AllAtOnce", "Checkerboard"), f"the schedule {kind} is not that of section 4")
    return [[[(~odd, every)]], [[(odd, every)]]] if kind == "Checkerboard" else [[[(odd | ~odd, every)]]]


@dataclass
class Decoded:
    """Latents (h, w, C), in units of 2^-12; symbols 0 where skipped; what y's mean and scale index were."""

    file: File
    z_symbols: Ints
    z_hat: Ints
    y_symbols: Ints
    y_hat: Ints
    y_mean: Ints
    y_index: Ints
    escapes: int
    own: Ints | None = None  # steps of each principal filter, where the file states a filter


def read_scores(folder: Path, shape: dict[str, Any]) -> Ints:
    """Scores and information by scale index and |s|, (64, 256, 2): nothing where nothing is coded."""
    with np.load(folder / "scores.npz") as stored:
        table: Ints = stored[shape["kind"].lower()].astype(np.int64)
    table[: shape["skip"] + 1] = 0
    return table


def trellis_values(symbols: Ints, index: Ints, points: Ints) -> Ints:
    """Section 2.4: what is added to the means of a block's trellis latents (n), latent by latent."""
    chains = -(-len(symbols) // CHAIN)
    state, found = [0] * chains, np.zeros(len(symbols), np.int64)
    for place, (symbol, scale) in enumerate(zip(symbols.tolist(), index.tolist(), strict=True)):
        value = ONE * symbol - ONE // 4 + int(points[scale, min(max(symbol, -3), 3) + 3])
        own = state[place % chains]
        found[place] = -value if own % 2 else value
        state[place % chains] = FOLLOWING[symbol % 2][own]
    return found


def y_tables(folder: Path, kind: str, trellis: bool) -> tuple[Tables, Ints | None]:
    """The tables of y by scale index, and the points of trellis latents if there are some."""
    tables = read_tables(folder / f"{kind}_tables.npz")
    if not trellis:
        return tables, None
    path = folder / f"{kind}_trellis.npz"
    with np.load(path) as stored:
        points: Ints = stored["points"].astype(np.int64)
    return [*tables[:TRELLIS_FROM], *read_tables(path)], points


def read_y(weights: Weights, file: File, folder: Path, decoder: Decoder, features: Ints) -> list[Ints]:
    """Symbols, y_hat, means and scale indices, (h, w, M) each."""
    config, base = weights.config["context"], weights.at("context.base_raw_scale", file.quality_index)
    shift = np.zeros((64, 3), np.int64)
    if config.get("centroids"):
        shift[:, 1:] = np.clip(units(weights.tensors["context.centroids.table"], 12), -1792, 1792)  # 0.4375
    shape = config.get("family", {"kind": "Gaussian", "skip": 3, "scale": {"kind": "LogScale"}})
    need(shape["scale"]["kind"] == "LogScale" and not shape.get("mean_in_cdf"), "densities of another kind")
    tables, points = y_tables(folder, shape["kind"].lower(), bool(file.flags & TRELLIS))
    height, width = features.shape[:2]
    places = np.arange(height * width * len(base)).reshape(height, width, -1)
    symbols, y_hat, mean, index = maps = [np.zeros_like(places) for _ in range(4)]
    scores = read_scores(folder, shape) if config.get("adaptation") else None
    counts = np.zeros((2, height // 4, width // 4, len(base)), np.int64)
    for step, blocks in enumerate(schedule(config["schedule"]["kind"], height, width)):
        means, raw_scales = parameters(weights, step, features, y_hat)
        plain = indices = scale_index(raw_scales + base)
        if scores is not None and step > 0:
            indices = scale_index(raw_scales + base + moved(weights, step, counts).repeat(4, 0).repeat(4, 1))
        for top, left in product(range(0, height, TILE_SIDE), range(0, width, TILE_SIDE)):
            tile = slice(top, top + TILE_SIDE), slice(left, left + TILE_SIDE)
            for cells in blocks:
                here = np.concatenate([places[tile][where[tile]][:, own].ravel() for where, own in cells])
                mean.flat[here], index.flat[here] = means.flat[here], indices.flat[here]
                found = decoder.block(index.flat[here], tables, shape["skip"])
                more = np.sign(found) * shift[index.flat[here], np.minimum(np.abs(found), 2)]
                held = of_24_bits if weights.single else lambda x: x
                symbols.flat[here], y_hat.flat[here] = found, held(held(mean.flat[here] + found * ONE) + more)
                if points is not None:
                    own = here[index.flat[here] >= TRELLIS_FROM]
                    away = trellis_values(symbols.flat[own], index.flat[own], points)
                    y_hat.flat[own] = held(mean.flat[own] + held(away))
                if scores is not None:
                    row, column, channel = np.unravel_index(here, places.shape)
                    added = scores[plain.flat[here], np.minimum(np.abs(found), 255)].T
                    np.add.at(counts, (slice(None), row // 4, column // 4, channel), added)
    return maps


def decode(data: bytes, weights: Weights, tables: Path) -> Decoded:
    """The latents of a file's bytes; `tables` is the folder of the frozen tables. Raises `Damaged`."""
    file = parse(data)
    need(file.weights == weights.hash, "the file is of other weights")
    need(weights.config.get("hyper_prior", {"kind": LEVEL})["kind"] == LEVEL, "a z of another kind")
    height, width = -(-file.height // 64), -(-file.width // 64)
    decoder = Decoder(file.sections[1])
    mean, raw_scale = (weights.at(f"hyper_prior.{name}", file.quality_index) for name in ("mean", "raw_scale"))
    index = np.tile(scale_index(raw_scale), height * width)
    z = decoder.block(index, read_tables(tables / "gaussian_tables.npz"), 3).reshape(height, width, -1)
    features = hyper_synthesis(weights, mean + z * ONE, file.quality_index)
    symbols, y_hat, means, indices = read_y(weights, file, tables, decoder, features)
    own = read_filter(weights, file, decoder, tables) if file.flags & FILTERED else None
    return Decoded(file, z, mean + z * ONE, symbols, y_hat, means, indices, decoder.escapes, own)


def read_filter(weights: Weights, file: File, decoder: Decoder, tables: Path) -> Ints:
    """Section 6: how many steps of each principal filter, (K)."""
    need(weights.raw_scales is not None, "a filter, and weights without any")
    half_octaves = (-(-file.height // 64) * -(-file.width // 64)).bit_length() - 7
    raw_scale = units(weights.raw_scales[(file.quality_index + 256) // 512], 12) + half_octaves * (ONE // 2)
    return decoder.block(scale_index(raw_scale), read_tables(tables / "logistic_tables.npz"), 3)
