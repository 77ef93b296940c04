"""The processor of this machine: its name and what it multiplies in, as far as its system says."""

from __future__ import annotations

import functools
import platform
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


def processor_name() -> str:
    """The name of the processor, or of its kind where the system does not say more."""
    if _INFO.exists():
        for line in _INFO.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
