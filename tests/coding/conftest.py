"""All tests of this folder run under both range coders."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.coding.backends import needs_constriction, under


@pytest.fixture(scope="module", autouse=True, params=["python", pytest.param("constriction", marks=needs_constriction)])
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    with under(request.param):
        yield request.param
