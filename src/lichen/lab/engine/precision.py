"""In which numbers transforms code: bfloat16 where the processor multiplies in it, else float32.

Only transforms, which are free to differ between machines; priors are exact everywhere (`lab.fixed_point`).
"""

from __future__ import annotations

import contextlib
import functools

import torch


@functools.cache
def native_bfloat16() -> bool:
    """Whether this processor has products of bfloat16 (AVX512-BF16, AMX). Elsewhere PyTorch emulates them, slowly."""
    # Not part of PyTorch's promises: another version may lack it.
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return supported is not None and bool(supported())


def coding_precision(device: torch.device, tolerant: bool) -> contextlib.AbstractContextManager[object]:
    """A context in which to run a transform; `tolerant`: bfloat16 changes its pixels by a rounding only."""
    if tolerant and device.type == "cpu" and native_bfloat16():
        return torch.autocast("cpu", torch.bfloat16)
    return contextlib.nullcontext()
