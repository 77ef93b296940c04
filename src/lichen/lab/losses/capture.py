"""Latents of models of other libraries, recorded by hooks where their Gaussians are evaluated.

with capture(model) as latents:
    out = model(x)
loss = rate_distortion(out, x) + alpha * correlation_loss(latents)
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from lichen.errors import UsageError
from lichen.lab.prior.latents import Latents

HOOKED = "GaussianConditional"  # CompressAI's class, and the classes that inherit from it
_SCALES = ("scales", "scale", "sigma", "sigmas", "stdev")
_MEANS = ("means", "mean", "mu", "loc")


class Captured:
    """The latents of one or more calls, as one: `y`, `mean` and `scale`, (B, C, h, w) each.

    Calls (slices, groups) are merged along channels. Reading them raises `UsageError` when nothing was recorded, or
    when calls differ in more than channels.
    """

    def __init__(self) -> None:
        self.calls: list[Latents] = []

    @property
    def y(self) -> Tensor:
        """Latents (B, C, h, w) of all calls."""
        return self._merged([call.y for call in self.calls])

    @property
    def mean(self) -> Tensor:
        """Their means (B, C, h, w)."""
        return self._merged([call.mean for call in self.calls])

    @property
    def scale(self) -> Tensor:
        """Their scales (B, C, h, w)."""
        return self._merged([call.scale for call in self.calls])

    def _merged(self, parts: list[Tensor]) -> Tensor:
        if not parts:
            raise UsageError(
                "no Gaussian was evaluated within capture(model): run the model inside the with-block; "
                "if it is compiled, never call it outside of one"
            )
        if len({(part.shape[0], *part.shape[2:]) for part in parts}) > 1:
            shapes = ", ".join(str(tuple(part.shape)) for part in parts)
            raise UsageError(f"the recorded calls differ in more than channels ({shapes}): capture one pass at a time")
        if len({part.device for part in parts}) > 1:
            raise UsageError("the recorded calls are on several devices: capture each replica, or use one process each")
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)


def _named(arguments: dict[str, Any], names: tuple[str, ...]) -> Tensor | None:
    return next((arguments[name] for name in names if isinstance(arguments.get(name), Tensor)), None)


def _read(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Latents:
    """The arguments of a call: y first, scales and means by name. Raises `UsageError`."""
    arguments = dict(inspect.signature(module.forward).bind(*args, **kwargs).arguments)
    y = next(iter(arguments.values()), None)
    scale, mean = _named(arguments, _SCALES), _named(arguments, _MEANS)
    if not isinstance(y, Tensor) or scale is None:
        raise UsageError(
            f"{type(module).__name__} was called with {', '.join(arguments)}: no latent or no scales there"
        )
    mean = torch.zeros_like(y) if mean is None else mean
    if not y.shape == scale.shape == mean.shape:
        shapes = ", ".join(str(tuple(part.shape)) for part in (y, mean, scale))
        raise UsageError(f"{type(module).__name__} has y, mean and scale of {shapes}: a mixture is not one Gaussian")
    bound = getattr(module, "lower_bound_scale", None)
    return Latents(y, mean, bound(scale) if callable(bound) else scale)


def _gaussians(model: nn.Module) -> list[nn.Module]:
    return [m for m in model.modules() if any(kind.__name__ == HOOKED for kind in type(m).__mro__)]


@contextmanager
def capture(model: nn.Module) -> Iterator[Captured]:
    """Record y, mean and scale of every module of class `GaussianConditional` that `model` evaluates in the block.

    They keep their gradients. The scale is read after the module's own lower bound; a missing mean is 0. The model is
    not changed, and the hooks are removed after the block, also after an exception. Blocks may be nested. Call a
    compiled model only inside such blocks (validate with the model itself): what `torch.compile` has once compiled
    without hooks runs without them ever after. Raises `UsageError` when the model has no such module.
    """
    gaussians = _gaussians(model)
    if not gaussians:
        raise UsageError(f"{type(model).__name__} has no module named {HOOKED}: it has no scale to normalise by")
    captured = Captured()

    def record(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], _: object) -> None:
        captured.calls.append(_read(module, args, kwargs))

    hooks = [module.register_forward_hook(record, with_kwargs=True) for module in gaussians]
    try:
        yield captured
    finally:
        for hook in hooks:
            hook.remove()
