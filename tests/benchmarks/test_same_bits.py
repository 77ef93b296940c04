"""The matrix of settings: clean on a prior in fixed point, and not on one with a float path in it."""

from __future__ import annotations

import contextlib
import copy
import dataclasses

import pytest
import torch
from torch import nn

from benchmarks import same_bits
from benchmarks.same_bits import Case, cases_of, compare
from lichen.lab.fixed_point.float32 import Float32Pointwise
from lichen.runtime import tiles


class Floating(nn.Module):
    """A convolution of the prior in float32, where its fixed-point module should be."""

    def __init__(self, exact: Float32Pointwise) -> None:
        super().__init__()
        self.exact = exact
        self.weight = nn.Parameter(exact.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(x.float().permute(0, 2, 3, 1), self.weight[:, :, 0, 0]).permute(0, 3, 1, 2)


@pytest.fixture
def cases(tiny, monkeypatch):
    monkeypatch.setattr(tiles, "CODING_SIDE", 2)
    every = same_bits.settings
    monkeypatch.setattr(same_bits, "settings", lambda tiled: [every(tiled)[i] for i in (0, 3, 6, 7)])
    return cases_of("tiny", tiny.engine, (200, 150))


def planted(case: Case) -> Case:
    prior = copy.deepcopy(case.prior)
    prior.guard = contextlib.nullcontext  # or there is no autocast inside
    name = next(n for n, m in prior.synthesis.named_modules() if isinstance(m, Float32Pointwise))
    holder, _, last = name.rpartition(".")
    setattr(prior.synthesis.get_submodule(holder), last, Floating(prior.synthesis.get_submodule(name)))
    return dataclasses.replace(case, prior=prior)


def test_fixed_point_is_the_same_under_every_setting(cases):
    assert len(cases) == 4  # with and without tiles, rounded and trellis-coded
    for case in cases:
        pairs, wrong = compare(case, every=True)
        assert pairs == 16 and wrong == []


def test_a_planted_float_path_is_caught(cases):
    for case in cases:
        assert compare(planted(case), every=True)[1]
