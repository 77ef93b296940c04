"""From a trained prior to the one that codes files: `to_fixed_point` replaces each layer by its fixed-point module."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol, TypeVar, runtime_checkable

from torch import nn

from lichen.errors import BadCheckpoint
from lichen.lab.fixed_point import functions, layers, swin  # noqa: F401 - they register their modules
from lichen.lab.fixed_point.float32 import careful_sums
from lichen.lab.fixed_point.registry import HasFixedPoint, builder_of

_AS_IS = (nn.PixelShuffle, nn.PixelUnshuffle, nn.Identity, nn.ReLU)  # exact on any grid
M = TypeVar("M", bound=nn.Module)


@runtime_checkable
class Guarded(Protocol):
    """A module whose walks run within a context of its choice."""

    guard: Callable[[], AbstractContextManager[None]]


def to_fixed_point(module: M) -> M:
    """A copy of `module` whose leaf layers are fixed point, in float64; the original is untouched.

    What is in a module whose `float32` is true is carried in float32 (`fixed_point.float32`), but for parts whose own
    is false. Composite modules keep their own `forward`, which may add, slice, mask, concatenate and reshape (all
    exact on the grid) but not multiply. Raises `BadCheckpoint` for a layer that has no fixed-point module, a weight
    that is not finite, or sums that could leave 2^53.
    """
    fixed = copy.deepcopy(module).requires_grad_(False).eval()
    float32 = bool(getattr(fixed, "float32", False))
    _replace(fixed, float32)
    if float32 and isinstance(fixed, Guarded):
        fixed.guard = careful_sums
    return fixed


def _replace(module: nn.Module, float32: bool) -> None:
    for name, child in list(module.named_children()):
        own = bool(getattr(child, "float32", float32))
        fixed = _fixed_point_of(child, own)
        if fixed is None:
            _replace(child, own)
        else:
            setattr(module, name, fixed)


def _fixed_point_of(module: nn.Module, float32: bool) -> nn.Module | None:
    """The fixed-point module of a leaf layer, or None when the module is made of other modules."""
    if isinstance(module, HasFixedPoint):
        return module.fixed_point()
    if (builder := builder_of(module, float32)) is not None:
        return builder(module)
    if isinstance(module, _AS_IS):
        return module
    if next(module.children(), None) is None:
        carried = "float32" if float32 else "float64"
        raise BadCheckpoint(f"{type(module).__name__} has no fixed-point module in {carried} (lab.fixed_point)")
    return None
