"""The laws as functions that any test applies: causality by gradient, schedules, grids, threads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from lichen.lab.prior.entropy_parameters import EntropyParameters
from lichen.lab.prior.schedules import Step


class Given:
    """A coder that codes nothing: y_hat is the given latent itself, so that gradients pass."""

    sequential = False

    def __init__(self) -> None:
        self.calls = 0

    def code(self, parameters: EntropyParameters, y: Tensor | None, group: int = 0) -> Tensor:
        assert y is not None
        self.calls += 1
        return y - parameters.centre

    def quantize(self, y: Tensor) -> Tensor:
        return y


def mask_of(step: Step, shape: tuple[int, ...]) -> Tensor:
    """(1, M, h, w) int: how often the cells of a step hold each latent."""
    count = torch.zeros(1, *shape[-2:], shape[-3], dtype=torch.int32).permute(0, 3, 1, 2)
    for cell in step.cells:
        cell.put_(count, cell.of(count) + 1)
    return count


def leaks(parameters: EntropyParameters, steps: list[Step], y: Tensor) -> float:
    """The largest gradient of a step's entropy parameters with respect to latents y of its own or a later step.

    `parameters` (1, M, h, w) are those of all steps, made of y (1, M, h, w), which requires a gradient.
    """
    masks = [mask_of(step, y.shape) for step in steps]
    worst = 0.0
    for number, mask in enumerate(masks):
        forbidden = torch.stack(masks[number:]).sum(dim=0)
        weights = [torch.randn(parameters.mean.shape) * mask for _ in range(2)]
        value = (weights[0] * parameters.mean + weights[1] * parameters.raw_scale).sum()
        if value.requires_grad:
            (grad,) = torch.autograd.grad(value, y, retain_graph=True, allow_unused=True)
            worst = max(worst, 0.0 if grad is None else float((grad.abs() * forbidden).max()))
    return worst


def uses_context(parameters: EntropyParameters, y: Tensor) -> bool:
    """Whether any entropy parameter depends on y, which requires a gradient."""
    value = (parameters.mean + parameters.raw_scale).sum()
    if not value.requires_grad:
        return False
    (grad,) = torch.autograd.grad(value, y, retain_graph=True, allow_unused=True)
    return grad is not None and bool((grad != 0).any())


def distance_from_grid(*tensors: object) -> float:
    """How far the numbers of these tensors lie from multiples of 2^-12 at most, in units of it."""
    units = [t.double() * 2**12 for t in tensors if isinstance(t, Tensor) and t.numel()]
    return max((float((u - u.round()).abs().max()) for u in units), default=0.0)


@contextmanager
def threads(count: int) -> Iterator[None]:
    """PyTorch computes with so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
