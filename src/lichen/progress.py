"""How far a long call is: told, in its own thread, to whoever listens."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True)
class Stage:
    """A part of the work on one picture: its name, and how much of it is done."""

    name: str
    done: int
    total: int


Listener = Callable[[Stage], None]
_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


@contextlib.contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """The listener hears of what runs within, in this thread."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def tell(name: str, done: int, total: int) -> None:
    """So many of a stage's parts are done; where it has only one there is nothing to tell."""
    listener = _listener.get()
    if listener is not None and total > 1:
        listener(Stage(name, done, total))
