"""Trellis-coded quantisation: frozen tables, states by parities, and a search that finds the cheapest path."""

from __future__ import annotations

import hashlib
import itertools
import math
from importlib import resources

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lichen.coding import tables, trellis
from lichen.coding.coders import Reader, Writer
from lichen.coding.scales import SCALE_MAX, SCALE_MIN, SCALES
from lichen.coding.table_index import zero_mean_index
from lichen.coding.tables import trellis_price as price

KINDS = {
    "gaussian": lambda x: 0.5 * math.erfc(-x / math.sqrt(2)),
    "logistic": lambda x: 1 / (1 + math.exp(-x * math.pi / math.sqrt(3))),
}
FROZEN = {
    "gaussian": "6bb0a4f27679b0f04039f3dce4b6e1c7b681fdebf86ad83acc25364bfe23382b",
    "logistic": "ba9196776e02ca8faf9ca46a648e3f4eb504eced8660aed70740a79c0955a601",
}


@pytest.mark.parametrize("kind", KINDS)
def test_tables_and_points_are_frozen(kind):
    stored = (resources.files("lichen.coding") / f"{kind}_trellis.npz").read_bytes()
    assert hashlib.sha256(stored).hexdigest() == FROZEN[kind]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("index", [10, 11, 20, 40, 63])
def test_a_table_is_the_mass_about_its_symbols(kind, index):
    below, scale = KINDS[kind], SCALE_MIN * (SCALE_MAX / SCALE_MIN) ** (index / (SCALES - 1))
    frequencies = tables.trellis(kind).frequencies(index) / 2**24
    radius = int(tables.trellis(kind).radii[index])
    exact = [below((k + 0.25) / scale) - below((k - 0.75) / scale) for k in range(-radius, radius + 1)]
    off = np.abs(frequencies[:-1] - exact)
    assert np.delete(off, radius).max() < 1e-7 and off[radius] < 1e-4  # the middle takes all rounding
    assert frequencies[-1] == pytest.approx(1 - sum(exact), abs=1e-7) and frequencies[-1] < 2.0**-17


@pytest.mark.parametrize("kind", KINDS)
def test_small_scales_have_the_tables_that_they_had(kind):
    for index in range(trellis.FIRST):
        assert np.array_equal(tables.trellis(kind).frequencies(index), tables.zero_mean(kind).frequencies(index))


def test_each_state_is_reached_from_two_and_by_both_lattices():
    for state in range(trellis.STATES):
        assert len(set(trellis.BEFORE[:, state].tolist())) == 2
        for which in (0, 1):
            assert trellis.NEXT[trellis.BEFORE[which, state], trellis.PARITY[which, state]] == state


def test_values_lie_on_the_two_lattices():
    symbols, index = np.array([0, 0, 1, 0, -2, 5, 3]), np.full(7, 63, np.uint8)  # points hardly move at this scale
    mirrored, state = [], 0
    for symbol in symbols:
        mirrored.append(state % 2 == 1)
        state = trellis.NEXT[state, symbol % 2]
    assert trellis.mirrored(symbols).tolist() == mirrored and any(mirrored) and not all(mirrored)
    expected = np.where(mirrored, 0.25 - symbols, symbols - 0.25)
    assert np.abs(trellis.values(symbols, index, "logistic") - expected).max() < 0.01


def test_chains_begin_anew_and_interleave():
    """Of 600 latents there are three chains: each third latent follows from the one three before."""
    symbols = np.random.default_rng(0).integers(-3, 4, 600)
    found = trellis.mirrored(symbols)
    for chain in range(3):
        assert np.array_equal(found[chain::3], trellis.mirrored(symbols[chain::3]))


def cost_of(symbols, residual, index, kind):
    error = residual - trellis.values(symbols, index, kind)
    return float(price(kind)(index, symbols).sum() + trellis.ERROR_BITS * np.square(error).sum())


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 5), st.sampled_from(list(KINDS)))
def test_the_search_finds_the_cheapest_path(seed, count, kind):
    """Of all paths over the symbols near enough to matter, by trying every one."""
    rng = np.random.default_rng(seed)
    index = rng.integers(trellis.FIRST, 24, count).astype(np.uint8)
    residual = rng.normal(0, 1.2, count).astype(np.float32)
    found = trellis.search(residual, index, kind, price(kind))
    near = [sorted({0, *range(math.floor(-abs(r)) - 2, math.ceil(abs(r)) + 3)}) for r in residual]
    least = min(cost_of(np.array(path), residual, index, kind) for path in itertools.product(*near))
    assert cost_of(found, residual, index, kind) == pytest.approx(least, abs=1e-3)


def test_many_chains_are_searched_as_one_alone(monkeypatch):
    rng = np.random.default_rng(1)
    count = 3 * trellis.CHAIN + 77  # chains of two lengths
    index, residual = rng.integers(10, 40, count).astype(np.uint8), rng.normal(0, 3, count).astype(np.float32)
    whole = trellis.search(residual, index, "logistic", price("logistic"))
    for chain in range(4):
        alone = trellis.search(residual[chain::4], index[chain::4], "logistic", price("logistic"))
        assert np.array_equal(whole[chain::4], alone)
    monkeypatch.setattr(trellis, "_AT_ONCE", 3)
    assert np.array_equal(trellis.search(residual, index, "logistic", price("logistic")), whole)


def test_half_a_step_is_worth_its_bits():
    """Errors are smaller than those of rounding, for about as many bits: what trellis coding is for."""
    rng = np.random.default_rng(2)
    index, scale = np.full(20000, 16, np.uint8), SCALE_MIN * (SCALE_MAX / SCALE_MIN) ** (16 / 63)
    residual = (rng.logistic(0, scale * math.sqrt(3) / math.pi, 20000)).astype(np.float32)
    symbols = trellis.search(residual, index, "logistic", price("logistic"))
    plain = tables.zero_mean("logistic").frequencies(16) / 2**24
    middle = int(tables.zero_mean("logistic").radii[16])
    rounded = np.rint(residual).astype(int)
    coded = np.abs(rounded) <= middle
    rounded_bits = -np.log2(plain[rounded[coded] + middle]).mean()
    trellis_bits = price("logistic")(index, symbols).mean()
    error = np.square(residual - trellis.values(symbols, index, "logistic")).mean()
    rounded_error = np.square(residual - rounded).mean()
    gain = rounded_bits - trellis_bits + 0.5 * math.log2(rounded_error / error)  # by 6 dB a bit
    assert gain > 0.06


@pytest.mark.parametrize("skip", [-1, 3])
def test_symbols_come_back(skip):
    rng = np.random.default_rng(3)
    index = rng.integers(0, 64, 5000).astype(np.uint8)
    residual = rng.normal(0, 1, 5000) * 2.0 ** rng.integers(-2, 22, 5000)  # escapes, and beyond what is clamped
    place = zero_mean_index(index, "logistic", skip, trellis_coded=True)
    writer = Writer()
    symbols = writer.write(place, residual)
    assert np.array_equal(Reader(writer.finish()).read(place), symbols)
    assert not symbols[index <= skip].any() and np.abs(symbols).max() >= 2**19


def test_none_and_one():
    nothing = np.zeros(0, np.int64)
    assert len(trellis.mirrored(nothing)) == 0
    assert len(trellis.search(np.zeros(0, np.float32), np.zeros(0, np.uint8), "gaussian", price("gaussian"))) == 0
    alone = trellis.search(np.array([0.8], np.float32), np.array([20], np.uint8), "gaussian", price("gaussian"))
    assert alone.tolist() == [1]
