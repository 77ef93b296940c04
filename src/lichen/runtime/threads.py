"""How many threads compute, of this process and its pictures together, whatever engine runs."""

from __future__ import annotations

import functools
import os
import sys

_asked = 0


def set_threads(count: int) -> None:
    """Compute with so many threads of the CPU from now on; 0 leaves it as it is."""
    global _asked  # noqa: PLW0603 - a process has one
    if count:
        _asked = count
        apply_to_torch()


def threads() -> int:
    """How many were asked for; 0: as many as the engine takes."""
    return _asked


def apply_to_torch() -> None:
    """Let PyTorch, where it is loaded, compute with the threads that were asked for."""
    torch = sys.modules.get("torch")
    if torch is not None and _asked:
        torch.set_num_threads(_asked)


@functools.cache
def alone_after_forks() -> None:
    """From now on processes that are forked from this one compute with one thread.

    PyTorch's other threads do not come with them, and it would wait for them for ever.
    """
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=lambda: set_threads(1))


def shared_threads(device: str) -> int:
    """The threads that pictures can share; one for a graphics card, whose memory is not estimated."""
    if device != "cpu":
        return 1
    torch = sys.modules.get("torch")
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return _asked or (available if torch is None else int(torch.get_num_threads()))
