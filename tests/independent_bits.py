"""The first half of the second decoder: sections and range coder (docs/format.md, 1 and 2); nothing of lichen."""

from __future__ import annotations

import struct
import zlib
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Tables = list[list[int]]  # for each, where its entries begin, and last 2^24


class Damaged(Exception):
    """The bytes are no file that this decoder reads."""


def need(fact: bool, what: str) -> None:
    if not fact:
        raise Damaged(what)


@dataclass
class File:
    """Section 1: a header and the payloads of sections by kind."""

    model: int
    weights: bytes
    width: int
    height: int
    quality_index: int
    flags: int
    sections: dict[int, bytes] = field(default_factory=dict)


class Cursor:
    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, count: int) -> bytes:
        need(self.at + count <= len(self.data), "the file is cut")
        self.at += count
        return self.data[self.at - count : self.at]

    def varint(self) -> int:
        value = shift = 0
        while (byte := self.take(1)[0]) >= 128:
            value |= (byte & 127) << shift
            shift += 7
        need(byte > 0 or shift == 0, "a number is not in its shortest form")
        return value | byte << shift


def parse(data: bytes) -> File:
    cursor = Cursor(data)
    need(cursor.take(4) == b"\x8bLC\x01", "not a .lic file of version 1")
    model, weights = cursor.varint(), cursor.take(4)
    width, height, quality_index, flags = (cursor.varint() for _ in range(4))
    need(min(width, height) > 0 and max(width, height) < 2**24 and flags < 8, "an impossible header")
    file = File(model, weights, width, height, quality_index, flags)
    start, check, more = 0, 0, True
    while more:
        tag = cursor.take(1)[0]
        kind, more = tag & 127, tag > 127
        payload = cursor.take(cursor.varint())
        check = zlib.crc32(data[start : cursor.at], check)  # all bytes so far but earlier checks
        need(int.from_bytes(cursor.take(4), "little") == check, "a check does not match")
        need(kind not in file.sections and (kind % 2 == 0 or kind in (1, 3)), f"section {kind} may not be there")
        file.sections[kind], start = payload, cursor.at
    need(cursor.at == len(data) and 1 in file.sections, "no latents, or bytes after the last section")
    return file


def starts_of(frequencies: Any) -> list[int]:
    starts = [0, *np.cumsum(frequencies, dtype=np.int64).tolist()]
    need(starts[-1] == 2**24, "a table does not sum to 2^24")
    return starts


def read_tables(path: Path) -> Tables:
    """The frozen tables of one shape."""
    with np.load(path) as stored:
        return [starts_of(part) for part in np.split(stored["frequencies"], np.cumsum(stored["sizes"])[:-1])]


ESCAPES = starts_of([2 ** (23 - k) for k in range(21)] + [8])


class Decoder:
    """Section 2.1, and the blocks of section 2. `escapes` counts what it met."""

    def __init__(self, payload: bytes) -> None:
        padded = payload + bytes(-len(payload) % 4)
        self.words: Iterator[int] = iter(struct.unpack(f"<{len(padded) // 4}I", padded))
        self.low, self.range, self.escapes = 0, 2**64 - 1, 0
        self.point = next(self.words, 0) << 32 | next(self.words, 0)

    def _place(self) -> int:
        place = (self.point - self.low) % 2**64 // (self.range >> 24)
        need(place < 2**24, "the payload is damaged")
        return place

    def _accept(self, start: int, frequency: int) -> None:
        scale = self.range >> 24
        self.low, self.range = (self.low + scale * start) % 2**64, scale * frequency
        if self.range < 2**32:
            self.low, self.range = (self.low << 32) % 2**64, self.range << 32
            self.point = (self.point << 32) % 2**64 | next(self.words, 0)

    def entry(self, starts: list[int]) -> int:
        found = bisect_right(starts, self._place()) - 1
        self._accept(starts[found], starts[found + 1] - starts[found])
        return found

    def uniform(self, bits: int) -> int:
        """One of 2^bits entries of equal frequency."""
        value = self._place() >> 24 - bits
        self._accept(value << 24 - bits, 1 << 24 - bits)
        return value

    def block(self, index: Ints, tables: Tables, skip: int) -> Ints:
        """The symbols of latents of these scale indices; 0 where one is skipped."""
        symbols, escaped = np.zeros(len(index), np.int64), []
        order = np.argsort(index, kind="stable")
        for place in order[index[order] > skip].tolist():
            starts = tables[index[place]]
            radius = (len(starts) - 3) // 2  # 2 R + 2 entries and an end
            symbols[place] = self.entry(starts) - radius
            if symbols[place] == radius + 1:
                escaped.append((place, radius))
        digits = [self.entry(ESCAPES) for _ in escaped]
        for (place, radius), below in zip(escaped, digits, strict=True):
            value = (1 << below) + (self.uniform(below) if below else 0)
            size = (value - 1) // 2 + radius + 1
            symbols[place] = size if value % 2 else -size
        self.escapes += len(escaped)
        return symbols
