"""The range decoder as docs/format.md states it, in plain integers: another person's decoder would work."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from lichen.coding.rangecoder import SymbolWriter
from lichen.coding.tables import fractional_mean_frequencies, fractions_of, load_tables, normal, zero_mean


class Decoder:
    """Section 2.1 of docs/format.md, word for word."""

    def __init__(self, payload: bytes) -> None:
        padded = payload + bytes(-len(payload) % 4)
        self.words = [int.from_bytes(padded[i : i + 4], "little") for i in range(0, len(padded), 4)]
        self.low, self.range, self.point = 0, 2**64 - 1, 0
        for _ in range(2):
            self.take_word()

    def take_word(self) -> None:
        self.point = (self.point << 32 | (self.words.pop(0) if self.words else 0)) % 2**64

    def entry(self, frequencies: list[int]) -> int:
        scale = self.range >> 24
        place = (self.point - self.low) % 2**64 // scale
        start = entry = 0
        while start + frequencies[entry] <= place:
            start += frequencies[entry]
            entry += 1
        self.low = (self.low + scale * start) % 2**64
        self.range = scale * frequencies[entry]
        if self.range < 2**32:
            self.low, self.range = (self.low << 32) % 2**64, self.range << 32
            self.take_word()
        return entry

    def block(self, index: list[int]) -> list[int]:
        """The symbols of one block, given the scale index of each."""
        order = sorted(range(len(index)), key=lambda i: index[i])  # stable
        tables = [[int(f) for f in table] for table in load_tables()]
        radius = [(len(tables[index[i]]) - 2) // 2 for i in order]
        symbols = [self.entry(tables[index[i]]) - r for i, r in zip(order, radius, strict=True)]
        escaped = [j for j, r in enumerate(radius) if symbols[j] == r + 1]
        lengths = [2 ** (23 - k) for k in range(21)]
        lengths.append(2**24 - sum(lengths))
        digits = [self.entry(lengths) + 1 for _ in escaped]
        values = [1 if n == 1 else 2 ** (n - 1) + self.entry([2 ** (25 - n)] * 2 ** (n - 1)) for n in digits]
        for j, v in zip(escaped, values, strict=True):
            size = (v - 1) // 2 + radius[j] + 1
            symbols[j] = -size if v % 2 == 0 else size
        result = [0] * len(index)
        for i, symbol in zip(order, symbols, strict=True):
            result[i] = symbol
        return result


def test_what_the_writer_writes_is_read_by_the_letter_of_the_format():
    rng = np.random.default_rng(0)
    index = rng.integers(4, 40, 400).astype(np.uint8)
    symbols = np.round(rng.normal(0, 0.2 * 1.13 ** index.astype(float))).astype(np.int32)
    symbols[::50] = [-3000, 2999, 1, -700, 5, 90, -1, 77]
    writer = SymbolWriter()
    writer.write(symbols[:250], index[:250], zero_mean())
    writer.write(symbols[250:], index[250:], zero_mean())
    decoder = Decoder(writer.finish())
    assert decoder.block(index[:250].tolist()) + decoder.block(index[250:].tolist()) == symbols.tolist()


def table_by_the_letter(scale: int, fraction: int) -> list[int]:
    """Section 2.2 of docs/format.md."""
    stored = {name: [int(v) for v in values] for name, values in normal().items()}
    tails, nodes, radius = stored["upper"], stored["nodes"][scale], stored["radii"][scale]
    top = (len(tails) - 1) * 2**20 - 1

    def below(x: int) -> int:
        place = min(abs(x) * nodes, top)
        k, r = place // 2**20, place % 2**20
        tail = tails[k] + (tails[k + 1] - tails[k]) * r // 2**20
        return 2**40 - tail if x > 0 else tail

    edges = [below(64 * s - 32 - abs(fraction)) for s in range(-radius, radius + 2)]
    mass = [high - low for low, high in itertools.pairwise(edges)]
    mass.append(2**40 - sum(mass))
    frequencies = [max((m + 2**15) // 2**16, 1) for m in mass]
    frequencies[radius] += 2**24 - sum(frequencies)
    return frequencies


@pytest.mark.parametrize(("scale", "fraction"), [(0, 0), (5, 32), (20, 7), (40, 31), (63, 16)])
def test_tables_with_the_mean_inside(scale, fraction):
    assert fractional_mean_frequencies(33 * scale + fraction).tolist() == table_by_the_letter(scale, fraction)


def test_a_mean_falls_apart_by_the_letter():
    means = np.array([0.0, 0.5, -0.5, 1.49, -7.77, 100.3, -0.0078125])
    for scale in (0, 30, 63):
        step = int(normal()["steps"][scale])
        whole, fraction = fractions_of(np.round(means * 4096) / 4096, np.full(len(means), scale, np.uint8))
        for mean, w, f in zip(np.round(means * 4096) / 4096, whole, fraction, strict=True):
            units = step * math.floor(64 * mean / step + 0.5)
            assert w == (units + 32) // 64 and f == units - 64 * w and -32 <= f <= 32
