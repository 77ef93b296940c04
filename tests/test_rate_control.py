"""Rate control with encoders that are made up: what is promised of a size and of a PSNR, and in how many trials."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lichen.errors import BadPicture
from lichen.rate_control import Measured, fit_size, reach_psnr


@dataclass
class Fake:
    """An encoder whose file at an index has that many bytes and that PSNR; it counts its calls."""

    sizes: list[int]
    psnrs_db: list[float] = field(default_factory=list)
    calls: int = 0

    def encode(self, index: int) -> bytes:
        self.calls += 1
        return bytes(self.sizes[index])

    def measure(self, index: int) -> Measured:
        return Measured(self.encode(index), self.psnrs_db[index])

    @property
    def top(self) -> int:
        return len(self.sizes) - 1


sizes = st.lists(st.integers(1, 400), min_size=1, max_size=300).map(sorted)
qualities = st.lists(st.floats(10, 60, allow_nan=False), min_size=300, max_size=300).map(sorted)


@given(sizes, st.integers(0, 500))
def test_the_largest_file_within_a_size(sizes, size_bytes):
    fake = Fake(sizes)
    if sizes[0] > size_bytes:
        with pytest.raises(BadPicture, match="smallest"):
            fit_size(fake.encode, fake.top, size_bytes)
        return
    found = len(fit_size(fake.encode, fake.top, size_bytes))
    best = max(size for size in sizes if size <= size_bytes)
    assert found <= size_bytes and found >= best - size_bytes // 500
    assert fake.calls <= 2 + math.ceil(math.log2(max(fake.top, 1)))


@given(sizes, st.integers(1, 500), st.integers(-50, 50))
def test_refined_files_fit_too(sizes, size_bytes, saved):
    fake = Fake(sizes)
    if sizes[0] > size_bytes:
        return
    refined = Fake([max(size - saved, 1) for size in sizes])
    assert len(fit_size(fake.encode, fake.top, size_bytes, refined.encode)) <= size_bytes
    assert refined.calls <= 2


@pytest.mark.parametrize(("saved", "limit", "expected"), [(-9, 139, 139), (-9, 148, 148), (0, 139, 139)])
def test_a_search_that_spends_bytes_is_not_a_reason_to_refuse(saved, limit, expected):
    """At low rates a refined file may be larger than the plain one, which fits."""
    fake, refined = Fake(list(range(139, 400))), Fake([size - saved for size in range(139, 400)])
    assert len(fit_size(fake.encode, fake.top, limit, refined.encode)) == expected


def test_what_refining_saves_is_spent_on_quality():
    fake, refined = Fake(list(range(100, 1100))), Fake([size * 9 // 10 for size in range(100, 1100)])
    plain, better = (fit_size(fake.encode, fake.top, 600, search) for search in (None, refined.encode))
    assert len(plain) == 600 and 590 <= len(better) <= 600


@given(sizes, qualities, st.floats(5, 65, allow_nan=False))
def test_the_smallest_file_of_a_psnr(sizes, psnrs, wanted_db):
    fake = Fake(sizes, psnrs[: len(sizes)])
    if fake.psnrs_db[-1] < wanted_db:
        with pytest.raises(BadPicture, match="ask for less"):
            reach_psnr(fake.measure, fake.top, wanted_db)
        return
    found = len(reach_psnr(fake.measure, fake.top, wanted_db))
    assert found == min(size for size, psnr in zip(sizes, fake.psnrs_db, strict=True) if psnr >= wanted_db)
    assert fake.calls <= 2 + math.ceil(math.log2(len(sizes)))


@given(sizes, qualities, st.floats(5, 65, allow_nan=False), st.integers(-20, 20), st.floats(-1, 1, allow_nan=False))
def test_refined_files_reach_it_too(sizes, psnrs, wanted_db, saved, lost_db):
    fake = Fake(sizes, psnrs[: len(sizes)])
    if fake.psnrs_db[-1] < wanted_db:
        return
    refined = Fake([max(size - saved, 1) for size in sizes], [psnr - lost_db for psnr in fake.psnrs_db])
    reached: dict[int, float] = {}

    def noted(encoder: Fake) -> Callable[[int], Measured]:
        def encode(index: int) -> Measured:
            made = encoder.measure(index)
            reached[len(made.data)] = max(reached.get(len(made.data), -math.inf), made.psnr_db)
            return made

        return encode

    found = reach_psnr(noted(fake), fake.top, wanted_db, noted(refined))
    assert reached[len(found)] >= wanted_db and refined.calls <= 2


def test_without_any_loss_there_is_nothing_to_give_back():
    lossless = Fake(list(range(100, 200)), [math.inf] * 100)
    refined = Fake([size - 3 for size in lossless.sizes], lossless.psnrs_db)
    assert len(reach_psnr(lossless.measure, lossless.top, 50, refined.measure)) == 97


def test_one_rate_has_one_file():
    fake = Fake([50], [30.0])
    assert len(fit_size(fake.encode, 0, 60)) == len(reach_psnr(fake.measure, 0, 25)) == 50
