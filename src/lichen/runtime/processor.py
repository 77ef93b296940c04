"""What the processor of this machine multiplies in, as far as its system says."""

from __future__ import annotations

import functools
from pathlib import Path

_INFO = Path("/proc/cpuinfo")
_BFLOAT16 = {"avx512_bf16", "amx_bf16"}


@functools.cache
def native_bfloat16() -> bool:
    """Whether it has products of bfloat16; False where the system does not say (anywhere but on Linux on x86)."""
    try:
        words = _INFO.read_text().split()
    except OSError:
        return False
    return not _BFLOAT16.isdisjoint(words)
