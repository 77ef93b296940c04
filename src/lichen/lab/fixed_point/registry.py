"""The one registry of fixed-point modules: which class stands for which layer of a prior.

A package that has layers registers theirs here; `convert.to_fixed_point` looks them up. A module may instead make its
fixed-point module itself (`HasFixedPoint`), as those do whose meaning is not that of one layer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from torch import nn

Builder = Callable[[Any], nn.Module]
_FLOAT64: dict[type[nn.Module], Builder] = {}
_FLOAT32: dict[type[nn.Module], Builder] = {}


@runtime_checkable
class HasFixedPoint(Protocol):
    """A module that makes its fixed-point module itself."""

    def fixed_point(self) -> nn.Module:
        """The fixed-point module."""
        ...


def register(kind: type[nn.Module], builder: Builder, *, float32: bool = False) -> None:
    """Say what makes the fixed-point module of a layer of this kind, or of one that derives from it."""
    (_FLOAT32 if float32 else _FLOAT64)[kind] = builder


def builder_of(module: nn.Module, float32: bool) -> Builder | None:
    """What makes the fixed-point module of this layer; None where nothing is registered."""
    registered = _FLOAT32 if float32 else _FLOAT64
    return next((builder for kind, builder in registered.items() if isinstance(module, kind)), None)
