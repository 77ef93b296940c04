"""Symbols <-> bytes: frozen tables, escapes, and any sequence."""

from __future__ import annotations

import contextlib
import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lichen.coding.rangecoder import SymbolReader, SymbolWriter
from lichen.coding.scales import SCALE_MAX, SCALE_MIN, SCALES, THRESHOLDS
from lichen.coding.table_index import SYMBOL_MAX
from lichen.coding.tables import load_tables, zero_mean
from lichen.errors import BadFile
from lichen.lab.prior.families import scale_index

FROZEN = {
    "gaussian": "ad726b58f2d5d0dfd7271b1fa91abc80008361c6bfb45758682cfdfd318303db",
    "logistic": "0f402449c4e0d50533c0afd662c2f2c7049718ef09bce479d8b6fe7e1d0a041a",
}


@pytest.mark.parametrize("shape", FROZEN)
def test_tables_are_frozen(shape):
    tables = load_tables(shape)
    assert hashlib.sha256(np.concatenate(tables).astype("<u4").tobytes()).hexdigest() == FROZEN[shape]
    assert len(tables) == SCALES
    assert all(int(t.sum()) == 2**24 and t.min() >= 1 for t in tables)


def test_thresholds_are_frozen():
    digest = hashlib.sha256(np.array(THRESHOLDS, dtype="<i8").tobytes()).hexdigest()
    assert digest == "46b6c166d75489865952cba7bbc62a2f80a66f27f82b1e3fce4c1135829edf26"


def test_scale_index_is_the_nearest_scale():
    import torch

    raw_scales = torch.linspace(-5, 10, 4001, dtype=torch.float64)
    raw_scales = torch.round(raw_scales * 4096) / 4096
    scales = np.log2(SCALE_MIN) + np.arange(SCALES) * np.log2(SCALE_MAX / SCALE_MIN) / (SCALES - 1)
    nearest = np.abs(raw_scales.numpy()[:, None] - scales).argmin(axis=1)
    assert np.abs(scale_index(raw_scales).numpy().astype(int) - nearest).max() <= 1
    assert (scale_index(raw_scales).numpy() == nearest).mean() > 0.999


def test_scale_index_counts_thresholds_for_every_raw():
    import torch

    units = torch.arange(THRESHOLDS[0] - 40_000, THRESHOLDS[-1] + 40_000)
    counted = torch.bucketize(units, torch.tensor(THRESHOLDS), right=True)
    assert torch.equal(scale_index(units.double() / 4096).long(), counted)
    assert torch.equal(scale_index(units.float() / 4096).long(), counted)  # of a prior in single precision
    clamped = scale_index(torch.tensor([-2048.0, 2048.0], dtype=torch.float64))
    assert clamped.tolist() == [0, SCALES - 1]


def test_golden_bytes():
    """The format's bytes for a fixed input; they change only with the format version."""
    writer = SymbolWriter()
    symbols = np.array([0, -3, 7, 1, -40, 100000, -SYMBOL_MAX, 2, 0, 0], dtype=np.int32)
    index = np.array([10, 30, 45, 10, 20, 63, 0, 5, 5, 30], dtype=np.uint8)
    writer.write(symbols, index, zero_mean())
    assert writer.finish().hex() == "fffffffff4e6fffdf473880c253092074a3e6fb60a3dcb7f0000b0f6"


symbol = st.one_of(st.integers(-3, 3), st.integers(-2000, 2000), st.integers(-SYMBOL_MAX, SYMBOL_MAX))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.lists(st.tuples(symbol, st.integers(0, SCALES - 1)), max_size=60), max_size=4))
def test_any_sequence_comes_back(calls):
    writer = SymbolWriter()
    for call in calls:
        pairs = np.array(call, dtype=np.int64).reshape(-1, 2)
        writer.write(pairs[:, 0].astype(np.int32), pairs[:, 1].astype(np.uint8), zero_mean())
    reader = SymbolReader(writer.finish())
    for call in calls:
        pairs = np.array(call, dtype=np.int64).reshape(-1, 2)
        assert reader.read(pairs[:, 1].astype(np.uint8), zero_mean()).tolist() == pairs[:, 0].tolist()


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=64))
def test_arbitrary_bytes_give_symbols_or_our_error(payload):
    index = np.tile(np.arange(SCALES, dtype=np.uint8), 8)
    with contextlib.suppress(BadFile):
        assert len(SymbolReader(payload).read(index, zero_mean())) == len(index)
