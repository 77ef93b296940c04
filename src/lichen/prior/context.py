"""The walk: how latents are predicted and coded, part after part.

One pass serves training, estimation, writing and reading; the coder that is handed in decides which
(design: one walk = schedule x sources x coder). Nothing here knows of bytes.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from lichen.prior.density import Belief
from lichen.prior.parts import Part, Schedule
from lichen.transforms.blocks import SLOPE, LevelTable, Pointwise, zero_

Beliefs = list[tuple[Tensor, Belief]]  # for each part its mask (M, h, w) and what was believed


class Coder(Protocol):
    """What the walk needs: the three coders of `lichen.coding.coders` provide it."""

    def code(self, y: Tensor | None, belief: Belief, mask: Tensor) -> Tensor:
        """Code the latents where `mask` (C, h, w) is true; gives y_hat (B, C, h, w), 0 elsewhere.

        `y` is None when reading.
        """
        ...


class HyperOnly(nn.Module):
    """Source of a part that sees the hyper-latent only: features (B, F, h, w) -> (B, 2M, h, w)."""

    def __init__(self, features: int, latents: int) -> None:
        super().__init__()
        self.predict = zero_(Pointwise(features, 2 * latents))

    def forward(self, features: Tensor, known: Tensor) -> Tensor:
        out: Tensor = self.predict(features)
        return out


class HyperAndLocal(nn.Module):
    """Source of a part that also sees what is decoded around it.

    features (B, F, h, w) and known latents (B, M, h, w), zero where unknown -> (B, 2M, h, w). The
    neighbourhood is a depthwise 5 x 5 over a 1 x 1 mixture of channels. `known` holds nothing of the
    part to be coded, so the kernel needs no mask.
    """

    def __init__(self, features: int, latents: int, local: int, hidden: int) -> None:
        super().__init__()
        self.gather = nn.Sequential(Pointwise(latents, local), nn.Conv2d(local, local, 5, padding=2, groups=local))
        self.predict = nn.Sequential(
            Pointwise(features + local, hidden),
            nn.LeakyReLU(SLOPE),
            zero_(Pointwise(hidden, 2 * latents)),
        )

    def forward(self, features: Tensor, known: Tensor) -> Tensor:
        out: Tensor = self.predict(torch.cat([features, self.gather(known)], dim=1))
        return out


class ContextModel(nn.Module):
    """Predicts and codes y, given features of the hyper-latent: a schedule and a source per part.

    `base_raw` (levels, M) is where log2 of the scales starts; the sources predict the difference.
    """

    def __init__(self, schedule: Schedule, sources: list[nn.Module], base_raw: Tensor) -> None:
        super().__init__()
        latents = base_raw.shape[1]
        if len(sources) != schedule.steps:
            raise ValueError(f"{schedule.steps} parts need as many sources, not {len(sources)}")
        self.schedule = schedule
        self.sources = nn.ModuleList(sources)
        self.latents = latents
        self.base_raw = LevelTable(base_raw)

    def walk(self, coder: Coder, features: Tensor, level: Tensor, y: Tensor | None = None) -> tuple[Tensor, Beliefs]:
        """Code y (B, M, h, w), or read it when y is None; gives y_hat and each part's belief."""
        height, width = features.shape[-2:]
        known = features.new_zeros(features.shape[0], self.latents, height, width)
        base = self.base_raw(level)
        beliefs: Beliefs = []
        for part in self.schedule.parts(self.latents, height, width, features.device):
            belief = self._predict(part, features, known, base)
            known = known + coder.code(y, belief, part.mask)
            beliefs.append((part.mask, belief))
        return known, beliefs

    def _predict(self, part: Part, features: Tensor, known: Tensor, base: Tensor) -> Belief:
        mean, raw = self.sources[part.index](features, known).chunk(2, dim=1)
        return Belief(mean, raw + base)


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
        mean, raw = self.hyper_mean(level), self.hyper_raw(level)
        size = (-1, -1, *shape)
        everywhere = torch.ones(mean.shape[1], *shape, dtype=torch.bool, device=mean.device)
        z_hat = coder.code(z, Belief(mean.expand(size), raw.expand(size)), everywhere)
        return self.context.walk(coder, self.synthesis(z_hat, level), level, y)


def merge(beliefs: Beliefs) -> Belief:
    """One belief of the parts' beliefs, each taken where its part codes."""
    merged = beliefs[0][1]
    for mask, belief in beliefs[1:]:
        merged = Belief(torch.where(mask, belief.mean, merged.mean), torch.where(mask, belief.raw, merged.raw))
    return merged
