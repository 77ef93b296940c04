"""Trellis-coded quantisation: which lattice each latent is rounded to, what a symbol stands for, and the search.

There are two lattices of step 1, at k - 1/4 and at 1/4 - k for symbols k: together points half a step apart. A state of
eight says which lattice a latent uses, and the parity of its symbol leads to the next state, so a decoder knows the
lattices from the symbols alone, after they are read. The encoder finds the path through the states that costs least
(Viterbi). Sources: Marcellin and Fischer 1990; JPEG 2000 part 2; dependent quantisation in VVC (H.266).

Only latents of scale index `FIRST` and above take part; those below are rounded. docs/format.md states every number.
numpy only.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

FIRST = 10  # the smallest scale index that takes part: sigma is about 0.4 steps
CHAIN = 256  # latents at most that one run through the states has
STATES = 8
NEXT = np.array([(0, 1), (2, 3), (5, 4), (7, 6), (1, 0), (3, 2), (4, 5), (6, 7)])  # by state, for even and odd symbols
OFFSET = 0.25  # of the lattices: symbol k stands for k - 1/4, or for its mirror image
POINTS = 3  # symbols of at most this size have points of their own
POINT_BITS = 12  # fractional bits of a point

# Bits that a squared error of one step weighs in the search. A rate-distortion optimum would have about 6 / ln 2; the
# analysis' latents are targets that pay in pixels, so the search stays nearer to them.
ERROR_BITS = 40.0
_LATTICES = np.arange(STATES) & 1  # odd states use the mirrored lattice
_AT_ONCE = 256  # chains that are searched together: what fits a processor's cache
_FAR = np.float32(1e9)

Symbols = NDArray[np.int64]
Floats = NDArray[np.float32]
Price = Callable[[NDArray[Any], NDArray[Any]], Floats]  # bits, by scale index and symbol


def _edges() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The two states (2, 8) before each state, and the parities (2, 8) of the symbols that lead from them to it."""
    before = [
        [(s, parity) for s in range(STATES) for parity in (0, 1) if NEXT[s, parity] == to] for to in range(STATES)
    ]
    found = np.array(before).transpose(1, 2, 0)  # which of the two, (state, parity), state
    return found[:, 0], found[:, 1]


def _eights() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Of eight symbols at once, by state and parities as bits (8, 256): their lattices as bits, and the state after."""
    state, eight = np.repeat(np.arange(STATES), 256), np.tile(np.arange(256), STATES)
    lattices = np.zeros_like(eight)
    for place in range(8):
        lattices |= (state & 1) << place
        state = NEXT[state, eight >> place & 1]
    return lattices.astype(np.uint8).reshape(STATES, 256), state.astype(np.uint8).reshape(STATES, 256)


BEFORE, PARITY = _edges()
_LATTICES_OF_EIGHT, _AFTER_EIGHT = _eights()
_PATH_OF_EDGE = 2 * _LATTICES[BEFORE] + PARITY  # of the four costs of a latent: 2 * lattice + parity


@functools.cache
def points(kind: str) -> Floats:
    """What a symbol k of the first lattice stands for beyond k - 1/4: (64, 7), by scale index and k + 3, |k| <= 3.

    Frozen (`scripts/make_tables.py`): half of the way to the mean of the distribution between k - 3/4 and k + 1/4.
    """
    with (resources.files("lichen.coding") / f"{kind}_trellis.npz").open("rb") as file, np.load(file) as stored:
        found: Floats = (stored["points"] / 2.0**POINT_BITS).astype(np.float32)
    return found


def taking_part(scale_index: NDArray[np.uint8]) -> Symbols:
    """The flat positions of the latents (n,) of a block whose scale index (n,) says that they take part, in order."""
    return np.flatnonzero(scale_index >= FIRST)


def mirrored(symbols: Symbols) -> NDArray[np.bool_]:
    """Which of the symbols (m,) of a block's trellis latents are of the mirrored lattice, from their parities.

    They make ceil(m / 256) chains, one latent of each chain after the other; every chain begins in state 0.
    """
    apart = max(-(-len(symbols) // CHAIN), 1)
    parities = np.zeros(-(-len(symbols) // (8 * apart)) * 8 * apart, np.uint8)
    parities[: len(symbols)] = symbols & 1
    eights = np.packbits(parities.reshape(-1, 8, apart), axis=1, bitorder="little")[:, 0]
    lattices, state = np.empty_like(eights), np.zeros(apart, np.uint8)
    for place, eight in enumerate(eights):
        lattices[place], state = _LATTICES_OF_EIGHT[state, eight], _AFTER_EIGHT[state, eight]
    return np.unpackbits(lattices[:, None], axis=1, bitorder="little").ravel()[: len(symbols)].astype(bool)


def values(symbols: Symbols, scale_index: NDArray[np.uint8], kind: str) -> NDArray[np.float64]:
    """What a block's trellis latents (m,) are away from their means, by their symbols and scale indices (m,).

    Multiples of 2^-12, exact.
    """
    own = points(kind)[scale_index, np.clip(symbols, -POINTS, POINTS) + POINTS]
    away = symbols - OFFSET + own.astype(np.float64)
    return np.where(mirrored(symbols), -away, away)


def search(residual: Floats, scale_index: NDArray[np.uint8], kind: str, price: Price) -> Symbols:
    """The symbols (m,) of a block's trellis latents that cost least, from y - mean and scale indices (m,).

    The cost is `price(scale index, symbol)` in bits + `ERROR_BITS` x squared error.
    """
    count = len(residual)
    apart = -(-count // CHAIN)
    chosen = np.empty(count, np.int64)
    for start in range(0, apart, _AT_ONCE):
        chains = np.arange(start, min(start + _AT_ONCE, apart))
        some = np.arange(0, count, apart)[:, None] + chains  # flat positions (length, chains); none beyond `count`
        inside = some < count
        place = np.minimum(some, count - 1).ravel()
        costs, symbols = _candidates(residual[place], scale_index[place], kind, price)
        path = _cheapest(costs.reshape(4, *some.shape), inside)
        chosen[some[inside]] = symbols[path.ravel(), np.arange(len(place))][inside.ravel()]
    return chosen


def _candidates(
    residual: Floats, scale_index: NDArray[np.uint8], kind: str, price: Price
) -> tuple[Floats, NDArray[np.int32]]:
    """Costs and symbols (4, m) of the best symbol of each lattice and parity: row 2 * lattice + parity."""
    costs, symbols, own = np.empty((4, len(residual)), np.float32), np.empty((4, len(residual)), np.int32), points(kind)
    for lattice in (0, 1):
        wanted = residual if lattice == 0 else -residual
        below = np.floor(wanted + OFFSET).astype(np.int32)
        for parity in (0, 1):
            low = below - (below + parity & 1)
            row = 2 * lattice + parity
            costs[row] = _FAR
            for symbol in (low, low + 2, *((np.zeros_like(low),) if parity == 0 else ())):
                away = symbol - np.float32(OFFSET) + own[scale_index, np.clip(symbol, -POINTS, POINTS) + POINTS]
                cost = price(scale_index, symbol) + np.float32(ERROR_BITS) * np.square(wanted - away, dtype=np.float32)
                better = cost < costs[row]
                costs[row] = np.where(better, cost, costs[row])
                symbols[row] = np.where(better, symbol, symbols[row])
    return costs, symbols


def _cheapest(costs: Floats, inside: NDArray[np.bool_]) -> Symbols:
    """The Viterbi search: costs (4, length, chains), and where there is a latent -> rows of the cheapest path."""
    length, chains = inside.shape
    total, ways = np.full((STATES, chains), _FAR, np.float32), np.empty((2, STATES, chains), np.float32)
    total[0] = 0
    second = np.empty((length, STATES, chains), bool)
    for place in range(length):
        np.take(total, BEFORE, axis=0, out=ways)
        ways += costs[:, place][_PATH_OF_EDGE]
        np.less(ways[1], ways[0], out=second[place])
        if place == length - 1 and not inside[place].all():  # chains that are one shorter stay as they are
            total = np.where(inside[place], ways.min(axis=0), total)
        else:
            np.minimum(ways[0], ways[1], out=total)
    return _traced(second, total.argmin(axis=0), inside)


def _traced(second: NDArray[np.bool_], state: Symbols, inside: NDArray[np.bool_]) -> Symbols:
    """Back from the last states (chains,): for each latent 2 * lattice + parity."""
    length, chains = inside.shape
    rows, each = np.empty((length, chains), np.int64), np.arange(chains)
    for place in range(length - 1, -1, -1):
        which = second[place, state, each].astype(np.int64)
        rows[place] = _PATH_OF_EDGE[which, state]
        before = BEFORE[which, state]
        state = before if inside[place].all() else np.where(inside[place], before, state)
    return rows
