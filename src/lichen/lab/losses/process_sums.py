"""Sums over the processes of `torch.distributed`, with gradient; where it does not run, over the one process."""

from __future__ import annotations

import torch
from torch import Tensor, distributed


class _AllReduce(torch.autograd.Function):
    """Sum over processes, of values and of gradients; any shape."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor) -> Tensor:
        total = x.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *grads: Tensor) -> Tensor:
        total = grads[0].contiguous().clone()
        distributed.all_reduce(total)
        return total


def process_count() -> int:
    """How many processes train together."""
    running = distributed.is_available() and distributed.is_initialized()
    return distributed.get_world_size() if running else 1


def sum_over_processes(x: Tensor) -> Tensor:
    """The sum of x, of any shape and the same in all processes, over them; its gradient is summed likewise."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return x
    total: Tensor = _AllReduce.apply(x)
    return total
