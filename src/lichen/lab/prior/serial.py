"""Serial models: every latent may look at all before it, and files are nevertheless written in few steps.

What a file holds is round(y) (the mean stays inside the density), so wherever y is known, y_hat is known
beforehand and one pass gives all beliefs: in training, in estimates and when writing. Only a reader goes
step by step, and looks at each step's windows alone.
"""

from __future__ import annotations

from torch import Tensor

from lichen.lab.prior.context import Beliefs, Coder, Context
from lichen.lab.prior.families import EntropyParameters, Gaussian
from lichen.lab.prior.masked import FixedPointMasked, neighbours
from lichen.lab.prior.schedules import Cell, Wavefront
from lichen.lab.prior.sources import Neighbourhood


class SerialModel(Context):
    """Causal local context (Minnen 2018): trained as one teacher-forced part, coded as a wavefront."""

    def __init__(self, source: Neighbourhood, latents: int, family: Gaussian) -> None:
        super().__init__()
        self.schedule, self.source = Wavefront(), source
        self.latents, self.family = latents, family

    def walk(self, coder: Coder, features: Tensor, level: Tensor, y: Tensor | None = None) -> tuple[Tensor, Beliefs]:
        if y is None:
            return self._read(coder, features)
        everything = Cell(slice(None))
        known = coder.quantize(y)
        mean, raw = self.source.at(self.source(features, known, None), everything)
        if not coder.sequential:
            belief = EntropyParameters(mean, raw, self.family)
            return everything.back(coder.code(everything.of(y), belief), y.shape[2:]), [(everything, belief)]
        flat = everything.of(y)
        for (cell,) in self.schedule.parts(y.shape[2], y.shape[3], y.device):
            belief = EntropyParameters(mean[:, cell.positions], raw[:, cell.positions], self.family)
            coder.code(flat[:, cell.positions], belief)
        return known, []

    def _read(self, coder: Coder, features: Tensor) -> tuple[Tensor, Beliefs]:
        height, width = features.shape[2:]
        gather = self.source.gather
        if not isinstance(gather, FixedPointMasked):
            raise ValueError("files are read with a prior frozen to fixed point")
        index = neighbours(gather.mask, height, width)
        common = features.permute(0, 2, 3, 1).flatten(1, 2)
        flat = features.new_zeros(len(features), height * width + 1, self.latents)  # the last is what lies outside
        for (cell,) in self.schedule.parts(height, width, features.device):
            local = gather.gathered(flat, index[cell.positions])
            mean, raw = self.source.join(local, common[:, cell.positions])
            belief = EntropyParameters(mean, raw, self.family)
            flat[:, cell.positions] = coder.code(None, belief)
        return Cell(slice(None)).back(flat[:, :-1], features.shape[2:]), []
