"""Waiting for another thread in such a way that Ctrl-C is felt at once."""

from __future__ import annotations

from concurrent.futures import Future, wait
from typing import TypeVar

_LOOK_SECONDS = 0.1
T = TypeVar("T")


def awaited(future: Future[T]) -> T:
    """Its result, waited for with short looks.

    In one long wait Ctrl-C was now and then felt only when it was over, as if it had come between Python's look for
    signals and the wait.
    """
    while not wait([future], _LOOK_SECONDS).done:
        pass
    return future.result()
