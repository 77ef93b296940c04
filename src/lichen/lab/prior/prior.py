"""All that encoder and decoder must compute alike: z and its density, the hyper synthesis, the context model."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import ClassVar

from torch import Tensor, nn

from lichen.lab.prior.schedules import Cell
from lichen.lab.prior.walk import Coder, ContextModel, Correction, Walked, walk_latents


class HyperPrior(nn.Module):
    """The density of z: `forward(rate_level, positions)` gives its entropy parameters, (B, positions, channels)."""

    channels: int
    float32: ClassVar[bool] = False  # a few numbers for each channel: in files always in double precision


class Prior(nn.Module):
    """From z_hat to the entropy parameters of y.

    `synthesis` maps (z_hat, rate_level) to features; `hyper_prior` gives the density of z. In files networks are
    fixed point in float64, or with `float32` in that, and walk within a `guard`.
    """

    guard: Callable[[], AbstractContextManager[None]] = staticmethod(nullcontext)

    def __init__(
        self, synthesis: nn.Module, context: ContextModel, hyper_prior: HyperPrior, float32: bool = False
    ) -> None:
        super().__init__()
        self.float32 = float32
        self.synthesis, self.context, self.hyper_prior = synthesis, context, hyper_prior

    def walk(
        self,
        coder: Coder,
        rate_level: Tensor,
        shape: tuple[int, int],
        y: Tensor | None = None,
        z: Tensor | None = None,
        *,
        trellis: bool = False,
        correct: Correction | None = None,
    ) -> Walked:
        """Code z (B, Z, *shape), then y (B, M, h, w); or read both when they are None.

        `rate_level` is (B,), the quality as a position between trained levels. With `trellis` y is trellis-coded; an
        encoder may `correct` what is left of it between steps (`walk`). Raises `UsageError` for models without trellis.
        """
        with self.guard():
            z_hat = self.code_hyper(coder, rate_level, shape, z)
            features = self.synthesis(z_hat, rate_level)
            return walk_latents(self.context, coder, features, rate_level, y=y, trellis=trellis, correct=correct)

    def code_hyper(self, coder: Coder, rate_level: Tensor, shape: tuple[int, int], z: Tensor | None) -> Tensor:
        """Code z (B, Z, *shape), or read it when it is None; gives z_hat."""
        everything = Cell(slice(None))
        parameters = self.hyper_prior(rate_level, shape[0] * shape[1])
        symbols = coder.code(parameters, None if z is None else everything.of(z))
        return everything.back(parameters.centre + symbols, shape)
