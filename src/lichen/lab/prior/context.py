"""The walk: how latents are predicted and coded, part after part.

One pass serves training, estimation, writing and reading; the coder that is handed in decides which
(design: one walk = schedule x sources x coder). Nothing here knows of bytes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import ClassVar, Protocol

import torch
from torch import Tensor, nn

from lichen.lab.prior.adaptation import Adaptation, ScaleStatistics
from lichen.lab.prior.centroids import Centroids
from lichen.lab.prior.families import (
    OURS,
    AnyEntropyParameters,
    EntropyParameters,
    Family,
    joined,
    joined_parameters,
    parted,
)
from lichen.lab.prior.schedules import Cell, DualCheckerboard, FixedSchedule, Part, Schedule
from lichen.lab.transforms.blocks import SLOPE, LevelTable, Pointwise, zero_

Beliefs = list[tuple[Cell, AnyEntropyParameters]]  # each cell and what was believed of its latents
Seen = tuple[Tensor, ...]  # what a source has looked at, (B, S, h, w) each


class Coder(Protocol):
    """What the walk needs: the coders of `lichen.coding.coders` provide it."""

    @property
    def sequential(self) -> bool:
        """True in files: a serial model's steps must be coded one by one, and beliefs are not kept."""
        ...

    def code(self, y: Tensor | None, belief: AnyEntropyParameters) -> Tensor:
        """Code a block of latents y (B, n, c), or read it when y is None; gives y_hat (B, n, c)."""
        ...

    def quantize(self, y: Tensor) -> Tensor:
        """y_hat of a serial model, which codes round(y): known wherever y is."""
        ...


class Source(nn.Module):
    """What parts are predicted from.

    `forward(features, known, before)` looks at features (B, F, h, w) and known latents (B, M, h, w), zero
    where unknown; `before` is what this source saw for the part before, None if that had another source.
    (`HyperOnly` and `HyperAndLocal` show their last layer what it takes, `prepared` once for all cells.)
    `at(seen, cell)` then gives the parameters of a cell, and `refine` may better what was decoded.
    """

    predict: Pointwise
    windowed: ClassVar[bool] = True  # whether a window with a halo is enough

    def at(self, seen: Seen, cell: Cell) -> tuple[Tensor, Tensor]:
        """Mean and raw of a cell, (B, n, c) each: here by the rows of one last layer of 2M outputs."""
        latents = self.predict.weight.shape[0] // 2
        channels = torch.arange(latents, device=seen[0].device)[cell.channels]
        rows = torch.cat([channels, channels + latents])
        mean, raw = self.predict.rows(cell.at(seen[0]), rows).chunk(2, dim=2)
        return mean, raw

    def refine(self, seen: Seen, decoded: Tensor) -> Tensor:
        """What becomes of a cell's decoded latents (B, n, c)."""
        return decoded


class HyperOnly(Source):
    """Source of a part that sees the hyper-latent only: the features as they are."""

    def __init__(self, features: int, latents: int) -> None:
        super().__init__()
        self.predict = zero_(Pointwise(features, 2 * latents))

    def forward(self, features: Tensor, known: Tensor, before: Seen | None) -> Seen:
        return (self.predict.prepared(features),)


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

    def forward(self, features: Tensor, known: Tensor, before: Seen | None) -> Seen:
        return (self.predict.prepared(self.mix(torch.cat([features, self.gather(known)], dim=1))),)


class Context(nn.Module, ABC):
    """How y is coded, given features of the hyper-latent."""

    schedule: Schedule
    latents: int

    @abstractmethod
    def walk(self, coder: Coder, features: Tensor, level: Tensor, y: Tensor | None = None) -> tuple[Tensor, Beliefs]:
        """Code y (B, M, h, w), or read it when y is None; gives y_hat and each cell's belief, none in files."""


class ContextModel(Context):
    """Predicts and codes y, given features of the hyper-latent: a schedule and sources.

    Each source serves as many parts, one after the other, as there are parts for each source. `base_raw`
    (levels, M) is where the raw scales start, the sources predicting the difference; None is 0. Without `centroids`
    y_hat is mean + symbol. With `adaptation` what was decoded moves the scales of later parts.
    """

    schedule: FixedSchedule

    def __init__(
        self,
        schedule: FixedSchedule,
        sources: Sequence[Source],
        latents: int,
        base_raw: Tensor | None = None,
        family: Family = OURS,
        centroids: Centroids | None = None,
        adaptation: Adaptation | None = None,
    ) -> None:
        super().__init__()
        if schedule.steps % len(sources):
            raise ValueError(f"{schedule.steps} parts cannot be shared by {len(sources)} sources")
        self.schedule, self.parts_each = schedule, schedule.steps // len(sources)
        self.sources = nn.ModuleList(sources)
        self.latents = latents
        self.base_raw = None if base_raw is None else LevelTable(base_raw)
        self.family, self.centroids, self.adaptation = family, centroids, adaptation

    def walk(self, coder: Coder, features: Tensor, level: Tensor, y: Tensor | None = None) -> tuple[Tensor, Beliefs]:
        height, width = features.shape[-2:]
        exact = torch.promote_types(features.dtype, torch.float32)  # autocast features do not make y_hat coarse
        known = features.new_zeros(features.shape[0], height, width, self.latents, dtype=exact).permute(0, 3, 1, 2)
        beliefs: Beliefs = []
        seen: Seen | None = None
        tally = self.tally(features, exact)
        for step, part in enumerate(self.schedule.parts(height, width, features.device)):
            seen = None if step % self.parts_each == 0 else seen  # let go of before the next source looks
            seen = self.look(step, features, known, seen)
            tally = self.weighed(step, tally)
            known, added = self.code_part(step, part, coder, seen, known, level, y, tally)
            beliefs += [] if coder.sequential else added
        return known, beliefs

    def tally(self, like: Tensor, dtype: torch.dtype) -> ScaleStatistics | None:
        """What `code_part` counts in, for a map as large as `like` (B, F, h, w); None without adaptation."""
        return None if self.adaptation is None else ScaleStatistics.empty(like, self.latents, dtype)

    def weighed(self, step: int, tally: ScaleStatistics | None) -> ScaleStatistics | None:
        """The tally with what it moves the raw scales of this part by."""
        if self.adaptation is None or tally is None or step == 0:
            return tally
        weighed: ScaleStatistics = self.adaptation(step, tally)
        return weighed

    def look(self, step: int, features: Tensor, known: Tensor, before: Seen | None = None) -> Seen:
        """What the source of a part sees; `before` is what it saw for the part before, if at hand."""
        source = self._source(step)
        if step % self.parts_each and before is None:
            before = source(features, known, None)
        seen: Seen = source(features, known, before)
        return seen

    def code_part(
        self,
        step: int,
        part: Part,
        coder: Coder,
        seen: Seen,
        known: Tensor,
        level: Tensor,
        y: Tensor | None,
        tally: ScaleStatistics | None = None,
    ) -> tuple[Tensor, Beliefs]:
        """Code the cells of one part into `known`; gives it with them, in place where nothing learns.

        Their scales are moved as the `tally` says, and they are counted in it, in place.
        """
        source = self._source(step)
        base = None if self.base_raw is None else self.base_raw(level)[:, None, :, 0, 0]
        known = known.clone() if torch.is_grad_enabled() else known
        plain = [self._believe(source, seen, cell, base) for cell in part]
        width = known.shape[3]
        beliefs = [b if tally is None else tally.moves(b, cell, width) for b, cell in zip(plain, part, strict=True)]
        alone = isinstance(self.schedule, DualCheckerboard)  # its files have a block for each cell
        together = [slice(i, i + 1) for i in range(len(part))] if alone else [slice(len(part))]
        for block in together:
            wanted = None if y is None else joined([cell.of(y) for cell in part[block]])
            belief = joined_parameters(beliefs[block])
            decoded = coder.code(wanted, belief)
            if self.adaptation is not None and tally is not None and step < self.schedule.steps - 1:
                symbols = parted(decoded.detach() - belief.centre.detach(), [b.mean for b in beliefs[block]])
                for cell, unmoved, found in zip(part[block], plain[block], symbols, strict=True):
                    self.adaptation.count(tally, cell, unmoved, found, width)
            decoded = decoded if self.centroids is None else self.centroids(decoded, belief)
            for cell, values in zip(part[block], parted(decoded, [b.mean for b in beliefs[block]]), strict=True):
                cell.put_(known, source.refine(seen, values))
        return known, list(zip(part, beliefs, strict=True))

    def everywhere(self, features: Tensor, known: Tensor) -> Tensor:
        """All parts' parameters at all positions (B, P, h, w), given the same known latents: what depends on what."""
        maps: list[Tensor] = []
        for step, part in enumerate(self.schedule.parts(features.shape[2], features.shape[3], features.device)):
            seen = self.look(step, features, known)
            for cell in part:
                maps += self._source(step).at(seen, Cell(cell.channels))
        return Cell(slice(None)).back(torch.cat(maps, dim=2), features.shape[2:])

    @property
    def windowed(self) -> bool:
        """Whether parts can be coded window by window."""
        return all(isinstance(source, Source) and source.windowed for source in self.sources)

    def _source(self, step: int) -> Source:
        source = self.sources[step // self.parts_each]
        assert isinstance(source, Source)
        return source

    def _believe(self, source: Source, seen: Seen, cell: Cell, base: Tensor | None) -> EntropyParameters:
        """What is believed of a cell's latents, (B, n, c)."""
        mean, raw = source.at(seen, cell)
        return EntropyParameters(mean, raw if base is None else raw + base[:, :, cell.channels], self.family)


class HyperPrior(nn.Module):
    """The density of z: `forward(level, positions)` gives its belief, (B, positions, channels)."""

    channels: int
    float32: ClassVar[bool] = False  # a few numbers for each channel: in files always in double precision


class Prior(nn.Module):
    """All that encoder and decoder must compute alike: from z_hat to the parameters of y's coder.

    `synthesis` maps (z_hat, level) to features; `side` gives the belief of z from (level, positions).
    In files networks are fixed point in float64, or with `single` in float32, and walk within a `guard`.
    """

    guard: Callable[[], AbstractContextManager[None]] = staticmethod(nullcontext)

    def __init__(self, synthesis: nn.Module, context: Context, hyper_prior: HyperPrior, float32: bool = False) -> None:
        super().__init__()
        self.float32 = float32
        self.synthesis, self.context, self.hyper_prior = synthesis, context, hyper_prior

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
        with self.guard():
            z_hat = self.code_hyper(coder, level, shape, z)
            return self.context.walk(coder, self.synthesis(z_hat, level), level, y)

    def code_hyper(self, coder: Coder, level: Tensor, shape: tuple[int, int], z: Tensor | None) -> Tensor:
        """Code z (B, Z, *shape), or read it when it is None; gives z_hat."""
        everything = Cell(slice(None))
        belief = self.hyper_prior(level, shape[0] * shape[1])
        return everything.back(coder.code(None if z is None else everything.of(z), belief), shape)


def merge(beliefs: Beliefs, like: Tensor) -> EntropyParameters:
    """One belief (B, M, h, w) of the cells' beliefs; `like` is y."""
    mean, raw = (like.new_zeros(like.permute(0, 2, 3, 1).shape).permute(0, 3, 1, 2) for _ in range(2))
    for cell, belief in beliefs:
        cell.put_(mean, belief.mean.to(like.dtype))
        cell.put_(raw, belief.raw.to(like.dtype))
    return EntropyParameters(mean, raw, beliefs[0][1].family)
