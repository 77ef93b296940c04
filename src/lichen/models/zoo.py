"""THE ONE TABLE: every model by name, with the permanent id that its files carry.

To add a model, add a row with an id never used before; ids are not reused.
"""

from __future__ import annotations

from dataclasses import dataclass

from lichen.errors import UnknownWeights
from lichen.models.config import Context, ModelConfig, Rates
from lichen.models.transform_configs import FastHyper, FastTransform
from lichen.prior.parts import AllAtOnce, Checkerboard, DualCheckerboard


@dataclass(frozen=True)
class Row:
    """A model: its name, the id in files, its config and a line about it."""

    name: str
    id: int
    config: ModelConfig
    about: str


_FAST = FastTransform(coarse=256, encoder_depth=(3, 4), decoder_depth=(4, 6), encoder_dense=2, decoder_dense=1)


def _fast(context: Context) -> ModelConfig:
    return ModelConfig(_FAST, FastHyper(), context, Rates())


ZOO: tuple[Row, ...] = (
    Row("lichen", 1, _fast(Context(DualCheckerboard())), "the default: fast transform, two parities"),
    Row("lichen-hp", 2, _fast(Context(AllAtOnce())), "fast transform, hyperprior only"),
    Row("lichen-cb", 3, _fast(Context(Checkerboard())), "fast transform, plain checkerboard"),
)


def row(name: str) -> Row:
    """The row of that name. Raises `UnknownWeights` with the names there are."""
    for candidate in ZOO:
        if candidate.name == name:
            return candidate
    raise UnknownWeights(f"no model {name!r}; there are: {', '.join(r.name for r in ZOO)}")


def name_of(model_id: int) -> str | None:
    """The name of the row with that id, if this version has it."""
    return next((candidate.name for candidate in ZOO if candidate.id == model_id), None)
