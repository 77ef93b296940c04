"""The integer frequencies behind every coded symbol, and nothing that could differ between machines.

Four kinds: Gaussians, or logistic ones, about 0 for each of 64 scales (frozen, read from files); the same about 1/4,
for trellis latents (`coding.trellis`; frozen likewise); Gaussians whose mean lies between integers, for serial models
(derived from a frozen normal distribution by integer arithmetic alone); and learned densities, whose integers are
stored with a model's weights. All sum to 2^24 and end with an escape. See docs/format.md.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lichen.coding.trellis import FIRST, Price

PRECISION = 24  # frequencies of a table sum to 2^24
FRACTIONS = 33  # a mean's fraction as 0 ... 32 units of 1/64; negative ones mirror the symbols
_NODE_BITS = 20  # fractional bits of a position between two nodes of the normal distribution
_MASS_BITS = 40  # of its probabilities

Frequencies = NDArray[np.uint32]


@dataclass(frozen=True)
class Tables:
    """Frequency tables by index: `radii` (n,) has R of each, with symbols -R ... R and then the escape."""

    radii: NDArray[np.int32]
    frequencies: Callable[[int], Frequencies]
    models: dict[tuple[str, int], Any] = field(default_factory=dict)  # made so far, by range coder and index


def _stored(name: str) -> dict[str, NDArray[Any]]:
    path = resources.files("lichen.coding") / name
    with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
        return dict(stored)


@functools.cache
def load_tables(shape: str = "gaussian") -> tuple[Frequencies, ...]:
    """The frequencies for each scale index of a `gaussian` or `logistic` distribution about 0."""
    stored = _stored(f"{shape}_tables.npz")
    return tuple(np.split(stored["frequencies"], np.cumsum(stored["sizes"])[:-1]))


@functools.cache
def zero_mean(shape: str = "gaussian") -> Tables:
    """Distributions about 0, by scale index."""
    tables = load_tables(shape)
    radii = np.array([(len(f) - 2) // 2 for f in tables], dtype=np.int32)
    return Tables(radii, tables.__getitem__)


@functools.cache
def trellis(shape: str) -> Tables:
    """By scale index: distributions about 0 below `FIRST`, from there on those of symbols k at k - 1/4."""
    plain, stored = load_tables(shape), _stored(f"{shape}_trellis.npz")
    own = tuple(np.split(stored["frequencies"], np.cumsum(stored["sizes"])[:-1]))
    tables = (*plain[:FIRST], *own)
    radii = np.array([(len(f) - 2) // 2 for f in tables], dtype=np.int32)
    return Tables(radii, tables.__getitem__)


@functools.cache
def trellis_price(shape: str) -> Price:
    """What the search reckons with: bits by scale indices and symbols, (n,) each; of an escape about what it costs."""
    tables = trellis(shape)
    widest = int(tables.radii.max())
    bits = np.empty((len(tables.radii), 2 * widest + 1), np.float32)
    for index, radius in enumerate(tables.radii):
        own = PRECISION - np.log2(tables.frequencies(index))
        excess = np.abs(np.arange(-widest, widest + 1)) - radius
        bits[index] = own[-1] + 2 * np.log2(2.0 * np.maximum(excess, 1)) + 1
        bits[index, widest - radius : widest + radius + 1] = own[:-1]
    return lambda scale_index, symbols: bits[scale_index, np.clip(symbols, -widest, widest) + widest]


@functools.cache
def normal() -> dict[str, NDArray[np.int64]]:
    """The frozen normal distribution: its `upper` tail (n,) at nodes, in 2^-40; and, for each scale:

    `nodes` for 1/64, in 2^-20, the `radii`, and the `steps` of the mean's fraction (in 1/64).
    """
    return {name: values.astype(np.int64) for name, values in _stored("normal.npz").items()}


def _mass_below(points: NDArray[np.int64], scale: int) -> NDArray[np.int64]:
    """P(X < points / 64) in 2^-40 under scale index `scale`, by integer interpolation."""
    upper = normal()["upper"]
    place = np.minimum(np.abs(points) * normal()["nodes"][scale], (len(upper) - 1 << _NODE_BITS) - 1)
    node, share = place >> _NODE_BITS, place & ((1 << _NODE_BITS) - 1)
    tail = upper[node] + ((upper[node + 1] - upper[node]) * share >> _NODE_BITS)
    mass: NDArray[np.int64] = np.where(points > 0, (1 << _MASS_BITS) - tail, tail)
    return mass


def fractional_mean_frequencies(index: int) -> Frequencies:
    """Frequencies for scale index // 33 and a mean of (index % 33) / 64."""
    scale, fraction = divmod(index, FRACTIONS)
    radius = int(normal()["radii"][scale])
    edges = np.arange(-radius, radius + 2, dtype=np.int64) * 64 - 32 - fraction
    mass = np.diff(_mass_below(edges, scale))
    mass = np.append(mass, (1 << _MASS_BITS) - mass.sum())
    half = 1 << _MASS_BITS - PRECISION - 1
    frequencies = np.maximum(mass + half >> _MASS_BITS - PRECISION, 1)
    frequencies[radius] += 2**PRECISION - frequencies.sum()  # the centre takes the rounding
    result: Frequencies = frequencies.astype(np.uint32)
    return result


@functools.cache
def fractional_mean() -> Tables:
    """Gaussians about a fraction: index = scale index * 33 + |fraction| in 1/64."""
    return Tables(np.repeat(normal()["radii"], FRACTIONS).astype(np.int32), fractional_mean_frequencies)


def per_channel(frequencies: NDArray[np.int64]) -> Tables:
    """Those of a learned density (C, 2R + 2): index = channel."""
    radius = (frequencies.shape[1] - 2) // 2
    radii = np.full(len(frequencies), radius, dtype=np.int32)
    return Tables(radii, lambda index: frequencies[index].astype(np.uint32))


def fractions_of(mean: NDArray[np.float64], scale: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Means (n,), multiples of 2^-12, and scale indices (n,) -> their whole parts and fractions, -32 ... 32 in 1/64.

    Wide Gaussians need a coarser fraction: it is rounded (half up) to the scale's step.
    """
    step = normal()["steps"][scale]
    units = np.floor(mean * 64 / step + 0.5).astype(np.int64) * step
    whole = units + 32 >> 6
    return whole, units - (whole << 6)
