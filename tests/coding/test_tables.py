"""Frozen frequencies: what they are, that they sum up, and that they do not change."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lichen.coding.rangecoder import SymbolReader, SymbolWriter
from lichen.coding.scales import LINEAR_THRESHOLDS, SCALE_MAX, SCALE_MIN, SCALES
from lichen.coding.tables import (
    FRACTIONS,
    fractional_mean,
    fractional_mean_frequencies,
    fractions_of,
    normal,
    per_channel,
)
from lichen.lab.prior.families import LinearScale

RATIO = (SCALE_MAX / SCALE_MIN) ** (1 / (SCALES - 1))


def test_the_normal_distribution_is_frozen():
    stored = b"".join(normal()[name].astype("<i8").tobytes() for name in ("upper", "nodes", "radii", "steps"))
    assert hashlib.sha256(stored).hexdigest() == "2bf75402fe8096191d0f80721b85371c99be9a8b66d572bf774f39bd406a1771"


def test_linear_thresholds_are_frozen():
    assert (
        hashlib.sha256(np.array(LINEAR_THRESHOLDS, "<i8").tobytes()).hexdigest()
        == "545946f5543149b774d55585041a5402031664a4bc3cf9162c4a46841e5451b5"
    )


@pytest.mark.parametrize("scale", range(0, SCALES, 7))
@pytest.mark.parametrize("fraction", [0, 1, 13, 32])
def test_shifted_tables_are_gaussians_about_a_fraction(scale, fraction):
    frequencies = fractional_mean_frequencies(scale * FRACTIONS + fraction).astype(float) / 2**24
    assert frequencies.sum() == 1 and frequencies.min() >= 2.0**-24
    radius = fractional_mean().radii[scale * FRACTIONS]
    edges = (np.arange(-radius, radius + 2) - 0.5 - fraction / 64) / (SCALE_MIN * RATIO**scale)
    exact = np.diff([0.5 * math.erfc(-edge / math.sqrt(2)) for edge in edges])
    off = np.abs(frequencies[:-1] - exact)
    assert np.delete(off, radius).max() < 1e-7 and off[radius] < 3e-6  # the centre takes all rounding
    assert 1 - exact.sum() < 2.0**-17


@settings(max_examples=200, deadline=None)
@given(st.integers(-(2**23), 2**23), st.integers(0, SCALES - 1))
def test_a_mean_is_whole_and_fraction(units, scale):
    mean = np.array([units / 4096])
    whole, fraction = fractions_of(mean, np.array([scale], np.uint8))
    step = int(normal()["steps"][scale])
    assert -32 <= fraction[0] < 32 and fraction[0] % step == 0
    assert abs(whole[0] + fraction[0] / 64 - mean[0]) <= step / 128


def test_coarser_fractions_cost_next_to_nothing():
    """A mean within half a step of the true one costs (step / 128)^2 / (6 sigma^2) nats on average."""
    sigma = SCALE_MIN * RATIO ** np.arange(SCALES)
    bits = (normal()["steps"] / 128) ** 2 / 3 / (2 * sigma**2) / math.log(2)
    assert bits.max() < 1.3e-3 and bits[sigma > 0.3].max() < 5e-4


def test_learned_tables_code_any_symbol():
    rng = np.random.default_rng(0)
    frequencies = rng.integers(1, 1000, (5, 2 * 7 + 2))
    frequencies[:, 7] += 2**24 - frequencies.sum(axis=1)
    symbols, index = rng.integers(-30, 31, 400).astype(np.int32), rng.integers(0, 5, 400)
    writer = SymbolWriter()
    writer.write(symbols, index, per_channel(frequencies))
    assert np.array_equal(SymbolReader(writer.finish()).read(index, per_channel(frequencies)), symbols)


def test_a_linear_scale_finds_its_nearest():
    import torch

    sigma = SCALE_MIN * RATIO ** np.arange(SCALES)
    raw = torch.from_numpy(np.round(np.geomspace(0.01, 500, 2000) * 4096) / 4096)
    nearest = np.abs(np.log(np.maximum(raw.numpy(), 0.01))[:, None] - np.log(sigma)).argmin(axis=1)
    found = LinearScale().index(raw).numpy().astype(int)
    assert np.abs(found - nearest).max() <= 1 and (found == nearest).mean() > 0.99
    assert LinearScale().index(torch.tensor([-3.0]).double()) == 0
