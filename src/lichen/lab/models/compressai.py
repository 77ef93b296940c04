"""Checkpoints of CompressAI as models of ours: the same latents, pictures and bits.

Known are bmshj2018-factorized, bmshj2018-hyperprior, mbt2018-mean, mbt2018, cheng2020-anchor, cheng2020-attn,
cheng2020-anchor-checkerboard and elic2022-official, of any width and with older names of parameters. What a
checkpoint is follows from its tensors alone; whatever is left over or missing makes it unknown.
"""

from __future__ import annotations

import errno
import math
import pickle
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from lichen.errors import UnknownCheckpoint
from lichen.lab.models.checkpoint import save_checkpoint
from lichen.lab.models.compressai_names import State, layers, learned
from lichen.lab.models.config import ModelConfig, OneRate
from lichen.lab.models.model import Model
from lichen.lab.models.prior_configs import (
    PAPERS,
    SERIAL,
    AnyContext,
    CausalContext,
    CheckerboardContext,
    DirectContext,
    FactorizedContext,
    GroupContext,
    LearnedHyperPrior,
)
from lichen.lab.models.transform_configs import (
    AnyHyper,
    AnyTransform,
    ChengHyper,
    ChengTransform,
    ConvHyper,
    ElicTransform,
    MinnenTransform,
    NoHyper,
)
from lichen.lab.prior.factorized import LearnedDensity, imported_density
from lichen.lab.prior.masked import causal, checkerboard

FLOOR = 1e-9  # CompressAI's smallest probability
_GAUSSIAN, _SERIAL = replace(PAPERS, floor=FLOOR), replace(SERIAL, floor=FLOOR)
_REMEDY = "known are CompressAI's bmshj2018, mbt2018, cheng2020 and elic2022-official; save its plain state_dict"

_STATES = (
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "net",
    "network",
    "params",
)  # where trainers put it
_DAMAGED = "the file is cut or damaged; download it anew"
# What torch and safetensors say of files that end too early.
_CUT = "central directory|truncated|unexpected (eof|end)|incomplete|failed reading|ran out|invalid header length"


@dataclass(frozen=True)
class Imported:
    """A converted checkpoint: its row and its name in CompressAI, its config, its model ready to code."""

    row: str
    architecture: str
    config: ModelConfig
    model: Model


@dataclass(frozen=True)
class Converted:
    """A checkpoint file that was written: where, its row, and what it was in CompressAI."""

    path: Path
    row: str
    architecture: str


@dataclass(frozen=True)
class _Reading:
    """What was recognised: names, config, and where the context model's tensors go."""

    row: str
    architecture: str
    transform: AnyTransform
    hyper: AnyHyper
    context: AnyContext
    convert: Callable[[State], State]


def load(state: State) -> Imported:
    """A CompressAI `state_dict` -> our model in evaluation mode, pictures in [0, 1]. Raises `UnknownCheckpoint`."""
    try:
        theirs = learned(state)
        _refuse_not_finite(theirs)
        reading = _recognise(theirs)
        hyper_prior = LearnedHyperPrior(_radius(theirs), FLOOR)
        config = ModelConfig(reading.transform, reading.hyper, reading.context, OneRate(), hyper_prior=hyper_prior)
        model = config.build()
        ours = layers(theirs, "g_a.", "analysis.body") | layers(theirs, "g_s.", "synthesis.body")
        ours |= _hyper_analysis(theirs) | reading.convert(theirs)
        _fill(model, ours, len(theirs), reading)
    except (KeyError, IndexError, AttributeError, TypeError, ValueError, RuntimeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[:2][-1].strip()
        raise UnknownCheckpoint(f"the checkpoint is none that is known ({reason[:100]}); {_REMEDY}") from error
    return Imported(reading.row, reading.architecture, config, model.eval().requires_grad_(False))


def convert(source: Path, target: Path, force: bool) -> Converted:
    """Write a CompressAI file as weights of ours, in float32. Raises `UnknownCheckpoint`, `OutputError`."""
    imported = load(read(source))
    facts = {"imported": {"library": "CompressAI", "architecture": imported.architecture, "file": source.name}}
    state = imported.model.state_dict()
    save_checkpoint(target, imported.row, imported.config, state, facts=facts, half=False, overwrite=force)
    return Converted(target, imported.row, imported.architecture)


def read(path: Path) -> State:
    """The state of a `.pth.tar` (read without running code from it) or `.safetensors` file.

    Raises `UnknownCheckpoint`.
    """
    try:
        data: Any = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except OSError as error:
        if error.errno == errno.EINVAL:  # a seek to before the file's beginning
            raise UnknownCheckpoint(f"{path}: {_DAMAGED}") from error
        raise UnknownCheckpoint(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except (EOFError, IndexError, struct.error) as error:
        raise UnknownCheckpoint(f"{path}: {_DAMAGED}") from error
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, TypeError, ValueError, KeyError) as error:
        if re.search(_CUT, str(error).lower()):
            raise UnknownCheckpoint(f"{path}: {_DAMAGED}") from error
        raise UnknownCheckpoint(f"{path}: not a file of plain tensors, or a damaged one; {_REMEDY}") from error
    while isinstance(data, dict) and (key := next((k for k in _STATES if isinstance(data.get(k), dict)), None)):
        data = data[key]
    if not isinstance(data, dict) or not all(isinstance(value, Tensor) for value in data.values()):
        raise UnknownCheckpoint(f"{path}: holds no state_dict; {_REMEDY}")
    return data


def _refuse_not_finite(state: State) -> None:
    """Raises `UnknownCheckpoint`: what a training that diverged has left is no model."""
    wrong = next((key for key, value in state.items() if not bool(value.isfinite().all())), None)
    if wrong is not None:
        raise UnknownCheckpoint(
            f"{wrong} has NaN or infinite values: its training diverged; take an earlier checkpoint"
        )


def _fill(model: Model, ours: State, tensors: int, reading: _Reading) -> None:
    """Give the model its tensors; each of theirs must have been used, and each of ours be given."""
    made = {key: value for key, value in model.state_dict().items() if key.endswith("frequencies")}
    empty = {key: value for key, value in model.state_dict().items() if value.numel() == 0}
    model.load_state_dict(empty | made | ours)
    for density in (part for part in model.modules() if isinstance(part, LearnedDensity)):
        density.count()
    left = tensors - len(ours) - _masks(reading.context)  # the last bias of a density became its skew
    if left:
        raise ValueError(f"{left} of its tensors have no place in {reading.architecture}")


def _masks(context: AnyContext) -> int:
    """How many masks such a checkpoint holds."""
    if isinstance(context, GroupContext):
        return len(context.groups)
    return int(isinstance(context, CausalContext | CheckerboardContext))


def _recognise(state: State) -> _Reading:
    if "g_a.0.conv1.weight" in state:
        return _cheng(state)
    if "g_a.1.beta" in state:
        return _minnen(state)
    if "latent_codec.y.latent_codec.y0.context_prediction.weight" in state:
        return _elic(state)
    raise ValueError("no analysis transform of a known kind")


def _minnen(state: State) -> _Reading:
    width, latents = len(state["g_a.0.weight"]), len(state["g_a.6.weight"])
    transform = MinnenTransform(latents, width)
    if "h_a.0.weight" not in state:
        context = FactorizedContext(_radius(state), FLOOR)
        return _Reading(
            "factorized", "bmshj2018-factorized", transform, NoHyper(), context=context, convert=_factorized
        )
    inner = (state["h_s.0.weight"].shape[1], state["h_s.2.weight"].shape[1])
    gives, hyper_latents = len(state["h_s.4.weight"]), len(state["h_a.4.weight"])
    if "context_prediction.weight" in state:
        hyper = ConvHyper(hyper_latents, inner, gives)
        return _Reading("minnen-ar", "mbt2018", transform, hyper, context=CausalContext(_SERIAL), convert=_serial)
    if gives == latents:
        hyper = ConvHyper(hyper_latents, inner, gives, slope=0.0, magnitude=True)
        zero_mean = DirectContext(zero_mean=True, family=_GAUSSIAN)
        return _Reading(
            "scale-hyperprior", "bmshj2018-hyperprior", transform, hyper, context=zero_mean, convert=_scales
        )
    hyper = ConvHyper(hyper_latents, inner)
    return _Reading(
        "minnen-hp", "mbt2018-mean", transform, hyper, context=DirectContext(family=_GAUSSIAN), convert=_mean_scale
    )


def _cheng(state: State) -> _Reading:
    latents, attention = len(state["g_a.0.conv1.weight"]), "g_a.3.conv_b.3.weight" in state
    transform, hyper = ChengTransform(latents, attention), ChengHyper(len(state["h_a.8.weight"]))
    if "latent_codec.y.context_prediction.weight" in state:
        context = CheckerboardContext(_GAUSSIAN)
        return _Reading(
            "cheng-checkerboard",
            "cheng2020-anchor-checkerboard",
            transform,
            hyper,
            context=context,
            convert=_two_passes,
        )
    name = "cheng2020-attn" if attention else "cheng2020-anchor"
    return _Reading("cheng-ar", name, transform, hyper, context=CausalContext(_SERIAL), convert=_serial)


def _elic(state: State) -> _Reading:
    y = "latent_codec.y."
    groups: list[int] = []
    while f"{y}latent_codec.y{len(groups)}.context_prediction.weight" in state:
        groups.append(state[f"{y}latent_codec.y{len(groups)}.context_prediction.weight"].shape[1])
    widths = tuple(len(state[f"{y}channel_context.y1.{i}.weight"]) for i in (0, 2))
    inner = (state["h_s.0.weight"].shape[1], state["h_s.2.weight"].shape[1])
    features = state["h_s.4.weight"].shape[1]  # a transposed convolution of stride 1
    hyper = ConvHyper(len(state["h_a.4.weight"]), inner, features, slope=0.0)
    context = GroupContext(tuple(groups), widths, features, _GAUSSIAN)
    transform = ElicTransform(len(state["g_a.13.weight"]), len(state["g_a.0.weight"]))
    return _Reading("elic-library", "elic2022-official", transform, hyper, context=context, convert=_groups)


def _radius(state: State) -> int:
    """R of the tables of the learned density: as far as the checkpoint's own quantiles, 63 at least."""
    low, median, high = state["entropy_bottleneck.quantiles"].unbind(dim=2)
    farthest = float(torch.maximum(median - low, high - median).max())
    return min(max(math.ceil(farthest), 63), 1023)


def _density(state: State, ours: str) -> State:
    tensors: dict[str, list[Tensor]] = {}
    for name, count in (("matrices", 5), ("biases", 5), ("factors", 4)):
        tensors[name] = [state[f"entropy_bottleneck.{name}.{i}"] for i in range(count)]
    medians = state["entropy_bottleneck.quantiles"][:, 0, 1]
    density = imported_density(tensors["matrices"], tensors["biases"], tensors["factors"], medians)
    return {f"{ours}.{key}": value for key, value in density.items()}


def _hyper_analysis(state: State) -> State:
    """The layers of h_a; those of the scale hyperprior come after our taking of magnitudes."""
    shift = int("h_s.4.weight" in state and _gives_scales_alone(state))
    names = {key: key.removeprefix("h_a.").split(".", 1) for key in state if key.startswith("h_a.")}
    return {f"hyper_analysis.body.{int(i) + shift}.{rest}": state[key] for key, (i, rest) in names.items()}


def _gives_scales_alone(state: State) -> bool:
    return (
        "g_a.6.weight" in state
        and "context_prediction.weight" not in state
        and (len(state["h_s.4.weight"]) == len(state["g_a.6.weight"]))
    )


def _hyper_synthesis(state: State) -> State:
    theirs = {key: value for key, value in state.items() if key.startswith("h_s.")}
    return {key.replace("h_s.", "prior.synthesis.body.", 1): value for key, value in theirs.items()}


def _mean_first(state: State, layer: str) -> State:
    """CompressAI's layers give scales, then means; ours means, then scales."""
    swapped = {key: value.roll(len(value) // 2, dims=0) for key, value in state.items() if key.startswith(layer)}
    return state | swapped


def _factorized(state: State) -> State:
    return _density(state, "prior.context.density")


def _scales(state: State) -> State:
    return _hyper_synthesis(state) | _density(state, "prior.hyper_prior")


def _mean_scale(state: State) -> State:
    return _mean_first(_hyper_synthesis(state), "prior.synthesis.body.4.") | _density(state, "prior.hyper_prior")


def _neighbourhood(state: State, theirs: str, ours: str, mask: Tensor) -> State:
    """A masked convolution and the 1 x 1 layers behind it."""
    given = state[f"{theirs}context_prediction.mask"]
    if not torch.equal(given, mask.to(given).expand_as(given)):
        raise ValueError(f"the mask of {theirs}context_prediction is of another kind")
    found = {f"{ours}.gather.{part}": state[f"{theirs}context_prediction.{part}"] for part in ("weight", "bias")}
    prefix = f"{theirs}entropy_parameters."
    rest = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    found |= {f"{ours}.aggregate.{key}": value for key, value in rest.items()}
    return _mean_first(found, f"{ours}.aggregate.4.")


def _serial(state: State) -> State:
    found = _neighbourhood(state, "", "prior.context.source", causal(5))
    first = "prior.context.source.aggregate.0.weight"  # theirs sees the hyper-latent first, then neighbours
    neighbours = len(state["context_prediction.weight"])
    found[first] = found[first].roll(neighbours, dims=1)
    return _hyper_synthesis(state) | found | _density(state, "prior.hyper_prior")


def _two_passes(state: State) -> State:
    found = _neighbourhood(state, "latent_codec.y.", "prior.context.sources.0", checkerboard(5))
    return _hyper_synthesis(state) | found | _density(state, "prior.hyper_prior")


def _groups(state: State) -> State:
    found: State = {}
    for key in state:
        if key.endswith("context_prediction.weight"):
            k = key.split(".")[3].removeprefix("y")
            theirs, ours = f"latent_codec.y.latent_codec.y{k}.", f"prior.context.sources.{k}"
            found |= _neighbourhood(state, theirs, ours, checkerboard(5))
        if key.startswith("latent_codec.y.channel_context.y"):
            k, rest = key.removeprefix("latent_codec.y.channel_context.y").split(".", 1)
            found[f"prior.context.sources.{k}.channels.{rest}"] = state[key]
    synthesis = _hyper_synthesis(state)
    last = "prior.synthesis.body.4.weight"  # transposed and of stride 1: a convolution, turned round
    synthesis[last] = synthesis[last].transpose(0, 1).flip(2, 3)
    return synthesis | found | _density(state, "prior.hyper_prior")
