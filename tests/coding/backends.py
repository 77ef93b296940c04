"""Both range coders, one at a time."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterator

import pytest

from lichen.coding.backend import VARIABLE, chosen

HAS_CONSTRICTION = importlib.util.find_spec("constriction") is not None
BACKENDS = ["python", "constriction"] if HAS_CONSTRICTION else ["python"]
needs_constriction = pytest.mark.skipif(not HAS_CONSTRICTION, reason="constriction is not installed")


@contextlib.contextmanager
def under(name: str) -> Iterator[None]:
    """Whatever is opened within codes by this backend."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, name)
        chosen.cache_clear()
        yield
    chosen.cache_clear()
