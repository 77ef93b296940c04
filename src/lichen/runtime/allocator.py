"""The allocator of the C library: what a process has freed stays with it."""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # parameters of mallopt(3)
_KEPT_BYTES = (2**27, 2**25)  # larger pieces go back to the system when freed; the first that glibc agrees to


def keep_freed_memory() -> None:
    """Let glibc's allocator keep freed memory for this process's next use of it; nothing where there is no glibc.

    Each map of a wide transform otherwise comes fresh from the system and is zeroed page by page, which costs it a
    quarter of its time, and a training step a fifth (docs/decisions/0011). What is freed counts to
    the process until it ends. All threads share one arena: others give large pieces back whatever is asked.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is None:
        return
    for kept in _KEPT_BYTES:
        if mallopt(_M_MMAP_THRESHOLD, kept):  # else too much for an old glibc; asking for more would unset its own
            mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
            mallopt(_M_ARENA_MAX, 1)
            return
