"""THE ONE TABLE: every model by name, with the permanent id that its files carry.

To add a model, add a row with an id never used before; ids are not reused. Other packages announce rows of theirs by
an entry point of the group `lichen.models`, with ids from 1024 on.
"""

from __future__ import annotations

from dataclasses import dataclass

from lichen.errors import UnknownWeights, UsageError
from lichen.lab.models.config import ModelConfig, OneRate, Rates
from lichen.lab.models.outside import FIRST_ID, announced
from lichen.lab.models.prior_configs import (
    AnyContext,
    CausalContext,
    CheckerboardContext,
    Context,
    DirectContext,
    FactorizedContext,
    GroupContext,
    LearnedHyperPrior,
    ReferenceContext,
    SliceContext,
)
from lichen.lab.models.transform_configs import (
    ChengHyper,
    ChengTransform,
    ConvHyper,
    ElicTransform,
    FastHyper,
    FastTransform,
    Filter,
    MinnenTransform,
    NoHyper,
    SwinHyper,
    SwinTransform,
)
from lichen.lab.prior.families import Logistic
from lichen.lab.prior.schedules import AllAtOnce, Checkerboard, Quadtree


@dataclass(frozen=True)
class Row:
    """A model: its name, the id in files, its config and a line about it."""

    name: str
    id: int
    config: ModelConfig
    about: str


_OURS = Context(Quadtree(), family=Logistic(), centroids=True, adaptation=64)
_FAST = FastTransform(coarse=256, encoder_depth=(3, 3), decoder_depth=(4, 6), encoder_dense=2, decoder_dense=1)


def _fast(context: Context, own: Filter | None = None) -> ModelConfig:
    return ModelConfig(_FAST, FastHyper(), context, Rates(), float32_prior=True, post_filter=own)


def _minnen(latents: int, width: int, hyper: ConvHyper, context: AnyContext) -> ModelConfig:
    return ModelConfig(MinnenTransform(latents, width), hyper, context, OneRate(), hyper_prior=LearnedHyperPrior())


def _cheng(context: AnyContext) -> ModelConfig:
    return ModelConfig(ChengTransform(), ChengHyper(), context, OneRate(), hyper_prior=LearnedHyperPrior())


def _elic(transform: ElicTransform, hyper: ConvHyper, context: GroupContext) -> ModelConfig:
    return ModelConfig(transform, hyper, context, OneRate(), hyper_prior=LearnedHyperPrior())


_SCALES = ConvHyper(128, (128, 128), features=192, slope=0.0, magnitude=True)  # Balle 2018
_ELIC = ConvHyper(192, (320, 480), slope=0.0)  # gives 2 M
_ELIC_LIBRARY = ConvHyper(192, (192, 288), features=384, slope=0.0)  # gives 2 N
_SMALL = ElicTransform(blocks=1, attention=False)
_REFERENCE = ModelConfig(
    MinnenTransform(384, 192, subtractive=True),
    ConvHyper(192, (192, 192)),
    ReferenceContext(),
    OneRate(),
    hyper_prior=LearnedHyperPrior(),
)

ZOO: tuple[Row, ...] = (
    Row("lichen", 1, _fast(_OURS, Filter()), "the default: fast transform, four steps"),
    Row("lichen-hp", 2, _fast(Context(AllAtOnce())), "fast transform, hyperprior only"),
    Row("lichen-cb", 3, _fast(Context(Checkerboard())), "fast transform, plain checkerboard"),
    Row(
        "factorized",
        4,
        ModelConfig(MinnenTransform(), NoHyper(), FactorizedContext(), OneRate(), hyper_prior=LearnedHyperPrior()),
        "Balle 2017/2018: GDN transform, a learned density for each channel",
    ),
    Row("scale-hyperprior", 5, _minnen(192, 128, _SCALES, DirectContext(zero_mean=True)), "Balle 2018"),
    Row("minnen-hp", 6, _minnen(192, 128, ConvHyper(), DirectContext()), "Minnen 2018: mean-scale hyperprior"),
    Row("minnen-ar", 7, _minnen(192, 192, ConvHyper(192), CausalContext()), "Minnen 2018: serial causal 5x5"),
    Row("cheng-hp", 8, _cheng(DirectContext()), "Cheng 2020 with attention, hyperprior only"),
    Row("cheng-checkerboard", 9, _cheng(CheckerboardContext()), "Cheng 2020, checkerboard (He 2021)"),
    Row("cheng-charm", 10, _cheng(SliceContext(8)), "Cheng 2020, 8 channel slices of 24 (Minnen 2020)"),
    Row("cheng-ar", 11, _cheng(CausalContext()), "Cheng 2020, serial causal 5x5"),
    Row(
        "swint-hp",
        12,
        ModelConfig(SwinTransform(), SwinHyper(), DirectContext(), OneRate(), hyper_prior=LearnedHyperPrior()),
        "Zhu 2022: Swin transformer, hyperprior only",
    ),
    Row("elic", 13, _elic(ElicTransform(), _ELIC, GroupContext()), "He 2022: 5 uneven groups in two parities"),
    Row(
        "elic-library",
        14,
        _elic(ElicTransform(), _ELIC_LIBRARY, GroupContext(least=384)),
        "ELIC as in the reference library: its hyper synthesis gives 2N",
    ),
    Row("elic-sm", 15, _elic(_SMALL, _ELIC, GroupContext()), "He 2022: the small transform"),
    Row("global-reference", 16, _REFERENCE, "Qian 2021: GSDN transform, best earlier patch anywhere; serial"),
)


def rows() -> tuple[Row, ...]:
    """This table, then the rows of other packages. Raises `UsageError` where one of those cannot be used."""
    others: tuple[Row, ...] = announced()
    taken = next((row.name for row in others if row.name in {own.name for own in ZOO}), None)
    if taken is not None:
        raise UsageError(
            f"another package announces a model {taken!r}, which is a row of Lichen's: rename or remove it"
        )
    return ZOO + others


def row(name: str) -> Row:
    """The row of that name, of this table or of another package. Raises `UnknownWeights` with the names there are."""
    found = next((own for own in ZOO if own.name == name), None) or next((r for r in rows() if r.name == name), None)
    if found is None:
        raise UnknownWeights(f"no model {name!r}; there are: {', '.join(r.name for r in rows())}")
    return found


def name_of(model_id: int) -> str | None:
    """The name of the row with that id, if this version or another package has it."""
    return next(
        (candidate.name for candidate in (ZOO if model_id < FIRST_ID else rows()) if candidate.id == model_id), None
    )
