"""THE WALK: step by step, predict latents, code them, take in what was decoded.

One loop serves training, estimation, writing and reading, for every entropy model and for maps of any size. The coder
that is handed in decides what it is for; a context model is its schedule and the two functions `predict` and `absorb`.
Nothing here knows of bytes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn

from lichen.errors import UsageError
from lichen.lab.prior.entropy_parameters import AnyEntropyParameters, EntropyParameters
from lichen.lab.prior.families import Family
from lichen.lab.prior.schedules import Schedule


class Coder(Protocol):
    """What the walk needs: `Estimator` counts bits, `FileWriter` writes them, `FileReader` reads them."""

    @property
    def sequential(self) -> bool:
        """True in files: a serial model's steps must be coded one by one, and entropy parameters are not kept."""
        ...

    def code(self, parameters: AnyEntropyParameters, y: Tensor | None, group: int = 0) -> Tensor:
        """Code a block of latents y (B, n, c), or read it when y is None.

        Gives its symbols (B, n, c): what y_hat is away from `parameters.centre`. `group` is the channel group.
        """
        ...

    def quantize(self, y: Tensor) -> Tensor:
        """y_hat (B, M, h, w) of a serial model, which codes round(y): known wherever y is."""
        ...


class CodingStep(Protocol):
    """What the walk needs of a step: `schedules.Step`, or one of them within a tile."""

    @property
    def number(self) -> int:
        """The step's number in the schedule; several may have one, which are predicted alike."""
        ...

    @property
    def group(self) -> int:
        """The channel group to which the step's symbols belong, from 0."""
        ...

    def gather(self, y: Tensor) -> Tensor:
        """This step's latents of y (B, M, h, w), as a block."""
        ...


class ContextModel(nn.Module, ABC):
    """A context model: in which steps y is coded, what predicts a step, and what becomes of what was decoded.

    A state is whatever encoder and decoder both know; its `known` is y_hat (B, M, h, w) so far. `forced`: y_hat is
    known wherever y is (teacher forcing), so the state may hold it from the beginning.
    """

    schedule: Schedule
    family: Family
    latents: int
    forced = False

    @abstractmethod
    def begin(self, features: Tensor, rate_level: Tensor, y_hat: Tensor | None) -> Any:
        """The state before anything is coded, from features (B, F, h, w) of the hyper-latent."""

    def trellis_coded(self, state: Any) -> Any:
        """The same state, from which latents are predicted to be trellis-coded. Raises `UsageError` where none can."""
        raise UsageError("the latents of this entropy model cannot be trellis-coded")

    @abstractmethod
    def steps(self, state: Any, sequential: bool) -> Iterable[Any]:
        """The coding steps, in order."""

    @abstractmethod
    def predict(self, step: Any, state: Any) -> tuple[AnyEntropyParameters, Any]:
        """The entropy parameters of a step's latents, as a block (B, n, c), and the state that `absorb` wants."""

    @abstractmethod
    def absorb(self, step: Any, state: Any, symbols: Tensor) -> Any:
        """The state with a step's decoded symbols, a block (B, n, c)."""


@dataclass(frozen=True)
class Walked:
    """What a walk gives: y_hat (B, M, h, w), and each step with its entropy parameters (none in files)."""

    y_hat: Tensor
    predicted: list[tuple[Any, AnyEntropyParameters]]


class Walkable(Protocol):
    """A `ContextModel`, or what works on one tile by tile."""

    def steps(self, state: Any, sequential: bool) -> Iterable[CodingStep]:
        """As `ContextModel.steps`."""
        ...

    def predict(self, step: Any, state: Any) -> tuple[AnyEntropyParameters, Any]:
        """As `ContextModel.predict`."""
        ...

    def absorb(self, step: Any, state: Any, symbols: Tensor) -> Any:
        """As `ContextModel.absorb`: `symbols` are a block (B, n, c)."""
        ...


Correction = Callable[[int, Tensor, Tensor], Tensor]  # a step's number, y_hat so far and y -> y for what is left


def walk(
    context: Walkable, coder: Coder, state: Any, y: Tensor | None = None, correct: Correction | None = None
) -> Walked:
    """Code y (B, M, h, w), or read it when it is None.

    Before each number of steps but the first an encoder may `correct` the latents that are left.
    """
    predicted, number = [], 0
    for step in context.steps(state, coder.sequential):
        if correct is not None and y is not None and step.number != number:
            number, y = step.number, correct(step.number, state.known, y)
        parameters, state = context.predict(step, state)
        symbols = coder.code(parameters, None if y is None else step.gather(y), step.group)
        state = context.absorb(step, state, symbols)
        if not coder.sequential:
            predicted.append((step, parameters))
    return Walked(state.known, predicted)


def walk_latents(
    context: ContextModel,
    coder: Coder,
    features: Tensor,
    rate_level: Tensor,
    y: Tensor | None = None,
    *,
    trellis: bool = False,
    correct: Correction | None = None,
) -> Walked:
    """The walk from the features (B, F, h, w) of the hyper-latent: code y (B, M, h, w), or read it when it is None."""
    ahead = coder.quantize(y) if context.forced and y is not None else None
    state = context.begin(features, rate_level, ahead)
    return walk(context, coder, context.trellis_coded(state) if trellis else state, y, correct=correct)


def merge(predicted: Sequence[tuple[Any, AnyEntropyParameters]], like: Tensor) -> EntropyParameters:
    """The steps' entropy parameters as maps (B, M, h, w); `like` is y."""
    mean, raw_scale = (like.new_zeros(like.permute(0, 2, 3, 1).shape).permute(0, 3, 1, 2) for _ in range(2))
    for step, parameters in predicted:
        step.put_(mean, parameters.mean.to(like.dtype))
        step.put_(raw_scale, parameters.raw_scale.to(like.dtype))
    return EntropyParameters(mean, raw_scale, predicted[0][1].family)
