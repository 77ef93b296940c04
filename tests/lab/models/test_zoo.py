"""The rows that can be named, and the budget of the default."""

from __future__ import annotations

from lichen.lab.evaluation.counts import count
from lichen.lab.models.zoo import ZOO, row


def test_ids_and_names_are_unique():
    assert len({r.id for r in ZOO}) == len({r.name for r in ZOO}) == len(ZOO)
    assert {r.name: r.id for r in ZOO}["lichen"] == 1


def test_the_default_model_keeps_its_budget():
    """At most 20 kMAC/pixel to decode and 40 to encode, hyper and prior included."""
    counts = count(row("lichen").config)
    assert counts.decode <= 20_000
    assert counts.encode <= 40_000
    assert counts.hyper_synthesis.mac_per_pixel + counts.prior.mac_per_pixel <= 2_000  # runs in fixed point
