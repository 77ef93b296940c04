"""The walk: how latents are predicted and coded, part after part.

One pass serves training, estimation, writing and reading; the coder that is handed in decides which
(design: one walk = schedule x sources x coder). Nothing here knows of bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from lichen.prior.density import Belief
from lichen.prior.parts import Cell, Part, Schedule
from lichen.transforms.blocks import SLOPE, LevelTable, Pointwise, zero_

Beliefs = list[tuple[Cell, Belief]]  # each cell and what was believed of its latents


class Coder(Protocol):
    """What the walk needs: the three coders of `lichen.coding.coders` provide it."""

    def code(self, y: Tensor | None, belief: Belief) -> Tensor:
        """Code the latents y (B, n, c) of a cell, or read them when y is None; gives y_hat (B, n, c)."""
        ...


class Source(nn.Module):
    """What a part is predicted from: `forward(features, known)` (B, F, h, w), (B, M, h, w) -> (B, S, h, w).

    `predict` maps that to 2M parameters; the walk evaluates it only where a cell needs it.
    """

    predict: Pointwise


class HyperOnly(Source):
    """Source of a part that sees the hyper-latent only: the features as they are."""

    def __init__(self, features: int, latents: int) -> None:
        super().__init__()
        self.predict = zero_(Pointwise(features, 2 * latents))

    def forward(self, features: Tensor, known: Tensor) -> Tensor:
        return features


class HyperAndLocal(Source):
    """Source of a part that also sees what is decoded around it.

    features (B, F, h, w) and known latents (B, M, h, w), zero where unknown -> (B, hidden, h, w). The
    neighbourhood is a depthwise 5 x 5 over a 1 x 1 mixture of channels. `known` holds nothing of the
    part to be coded, so the kernel needs no mask.
    """

    def __init__(self, features: int, latents: int, local: int, hidden: int) -> None:
        super().__init__()
        self.gather = nn.Sequential(Pointwise(latents, local), nn.Conv2d(local, local, 5, padding=2, groups=local))
        self.mix = nn.Sequential(Pointwise(features + local, hidden), nn.LeakyReLU(SLOPE))
        self.predict = zero_(Pointwise(hidden, 2 * latents))

    def forward(self, features: Tensor, known: Tensor) -> Tensor:
        seen: Tensor = self.mix(torch.cat([features, self.gather(known)], dim=1))
        return seen


class ContextModel(nn.Module):
    """Predicts and codes y, given features of the hyper-latent: a schedule and a source per part.

    `base_raw` (levels, M) is where log2 of the scales starts; the sources predict the difference.
    """

    def __init__(self, schedule: Schedule, sources: Sequence[Source], base_raw: Tensor) -> None:
        super().__init__()
        latents = base_raw.shape[1]
        if len(sources) != schedule.steps:
            raise ValueError(f"{schedule.steps} parts need as many sources, not {len(sources)}")
        self.schedule = schedule
        self.sources = nn.ModuleList(sources)
        self.latents = latents
        self.base_raw = LevelTable(base_raw)

    def walk(self, coder: Coder, features: Tensor, level: Tensor, y: Tensor | None = None) -> tuple[Tensor, Beliefs]:
        """Code y (B, M, h, w), or read it when y is None; gives y_hat and each cell's belief."""
        height, width = features.shape[-2:]
        known = features.new_zeros(features.shape[0], height, width, self.latents).permute(0, 3, 1, 2)
        beliefs: Beliefs = []
        for step, part in enumerate(self.schedule.parts(height, width, features.device)):
            known, added = self.code_part(step, part, coder, features, known, level, y)
            beliefs += added
        return known, beliefs

    def code_part(
        self, step: int, part: Part, coder: Coder, features: Tensor, known: Tensor, level: Tensor, y: Tensor | None
    ) -> tuple[Tensor, Beliefs]:
        """Code the cells of one part, predicted from `known`; gives it with them, in place where nothing learns."""
        base = self.base_raw(level)[:, None, :, 0, 0]
        source: Source = self.sources[step]  # type: ignore[assignment]
        seen = source(features, known)
        known = known.clone() if torch.is_grad_enabled() else known
        beliefs: Beliefs = []
        for cell in part:
            belief = self._believe(source, seen, cell, base)
            cell.put_(known, coder.code(None if y is None else cell.of(y), belief))
            beliefs.append((cell, belief))
        return known, beliefs

    def _believe(self, source: Source, seen: Tensor, cell: Cell, base: Tensor) -> Belief:
        """The parameters of a cell: mean and raw, (B, n, c)."""
        channels = torch.arange(self.latents, device=seen.device)[cell.channels]
        rows = torch.cat([channels, channels + self.latents])
        mean, raw = source.predict.rows(cell.at(seen), rows).chunk(2, dim=2)
        return Belief(mean, raw + base[:, :, cell.channels])


class Prior(nn.Module):
    """All that encoder and decoder must compute alike: from z_hat to the parameters of y's coder.

    `synthesis` maps (z_hat, level) to features. z itself is believed a Gaussian whose mean and scale
    are learned for each channel and quality level.
    """

    def __init__(self, synthesis: nn.Module, context: ContextModel, hyper_latents: int, levels: int) -> None:
        super().__init__()
        self.synthesis = synthesis
        self.context = context
        self.hyper_mean = LevelTable(torch.zeros(levels, hyper_latents))
        self.hyper_raw = LevelTable(torch.zeros(levels, hyper_latents))

    def walk(
        self,
        coder: Coder,
        level: Tensor,
        shape: tuple[int, int],
        y: Tensor | None = None,
        z: Tensor | None = None,
    ) -> tuple[Tensor, Beliefs]:
        """Code z (B, Z, *shape), then y; or read both when they are None. Gives y_hat and the beliefs of y.

        `level` is (B,), the quality as a position between trained levels.
        """
        z_hat = self.code_hyper(coder, level, shape, z)
        return self.context.walk(coder, self.synthesis(z_hat, level), level, y)

    def code_hyper(self, coder: Coder, level: Tensor, shape: tuple[int, int], z: Tensor | None) -> Tensor:
        """Code z (B, Z, *shape), or read it when it is None; gives z_hat."""
        mean, raw = (table(level)[:, None, :, 0, 0] for table in (self.hyper_mean, self.hyper_raw))
        size = (-1, shape[0] * shape[1], -1)
        cell = Cell(slice(None))
        z_hat: Tensor = coder.code(None if z is None else cell.of(z), Belief(mean.expand(size), raw.expand(size)))
        z_hat = z_hat.unflatten(1, shape)
        return z_hat.permute(0, 3, 1, 2)


def merge(beliefs: Beliefs, like: Tensor) -> Belief:
    """One belief (B, M, h, w) of the cells' beliefs; `like` is y."""
    mean, raw = (like.new_zeros(like.permute(0, 2, 3, 1).shape).permute(0, 3, 1, 2) for _ in range(2))
    for cell, belief in beliefs:
        cell.put_(mean, belief.mean.to(like.dtype))
        cell.put_(raw, belief.raw.to(like.dtype))
    return Belief(mean, raw)
