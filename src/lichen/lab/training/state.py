"""A run on disk: `state.pt` to resume from, `NAME.safetensors` (the moving average) to use; written atomically."""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lichen.errors import BadCheckpoint, OutputExists, TrainingDiverged
from lichen.image.files import write_atomically
from lichen.lab.models.checkpoint import load_checkpoint, save_checkpoint
from lichen.lab.models.config import from_json, to_json
from lichen.lab.training.log import Log
from lichen.lab.training.loop import Trainer
from lichen.lab.training.schema import plain

STATE = "state.pt"


def facts(trainer: Trainer) -> dict[str, Any]:
    """The facts of a training that its weights file keeps: recipe, steps, hours, device, origin."""
    return {
        "recipe": plain(trainer.recipe),
        "steps": trainer.step,
        "training_hours": round(trainer.seconds / 3600, 2),
        "device": trainer.device.type,
        "processes": trainer.processes.count,
        "pictures": trainer.crops.count,
        "lineage": trainer.lineage,
    }


def weights_of(trainer: Trainer, folder: Path) -> Path:
    """The path of the weights file of a run."""
    return folder / f"{trainer.recipe.model}.safetensors"


def refuse_others(trainer: Trainer, log: Log, folder: Path) -> None:
    """Raises `OutputExists` where a run would write over files that are not those of a run to resume."""
    if (folder / STATE).exists():
        return
    for path in (weights_of(trainer, folder), log.path):
        if path.exists():
            raise OutputExists(f"{path} exists, without the {STATE} of a run to go on with; give another --output")


def save_run(trainer: Trainer, log: Log, folder: Path) -> None:
    """Write the log, then the weights, then the state, each atomically: wherever this is killed, the run can go on.

    The first time the state comes first, with the log's lines in it: without a state the other files would be in the
    way of a new start. Raises `TrainingDiverged` if a weight is not finite, and leaves the older files.
    """
    if not _finite([*trainer.model.state_dict().values(), *trainer.ema.state_dict().values()]):
        raise TrainingDiverged(f"weights are not finite after step {trainer.step}: not saved; lower learning_rate")
    first = not (folder / STATE).exists()
    if first:
        _write_state(trainer, log, log.lines, folder)
    log.save()
    weights = weights_of(trainer, folder)
    save_checkpoint(weights, trainer.recipe.model, trainer.config, trainer.ema.state_dict(), facts=facts(trainer))
    if not first:
        _write_state(trainer, log, [], folder)


def _write_state(trainer: Trainer, log: Log, lines: list[str], folder: Path) -> None:
    """Write all that a run needs to go on; `lines` are those of a log that is not written yet."""
    state = {
        "recipe": plain(trainer.recipe),
        "config": to_json(trainer.config),
        "model": trainer.model.state_dict(),
        "ema": trainer.ema.state_dict(),
        "optimiser": trainer.optimiser.state_dict(),
        "step": trainer.step,
        "seconds": trainer.seconds,
        "lineage": trainer.lineage,
        "health": trainer.health.state(),
        "log": log.state(),
        "lines": lines,
    }
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_atomically(folder / STATE, buffer.getvalue(), overwrite=True)


def resume_run(trainer: Trainer, log: Log, folder: Path) -> bool:
    """Resume the run in `folder`; false where there is none. Raises `BadCheckpoint` for another model's, or damage."""
    path = folder / STATE
    if not path.exists():
        return False
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)  # what loads it copies to the device
        name, config = state["recipe"]["model"], state["config"]
        if name != trainer.recipe.model or from_json(config) != trainer.config:
            raise BadCheckpoint(
                f"{path} is of another model ({name!r}, or other widths or rates); use another --output"
            )
        if not _finite([*state["model"].values(), *state["ema"].values()]):
            raise BadCheckpoint(f"{path} has weights that are not finite; use another --output")
        trainer.model.load_state_dict(state["model"])
        trainer.ema.load_state_dict(state["ema"])
        scales = [group["scale"] for group in trainer.optimiser.param_groups]
        trainer.optimiser.load_state_dict(state["optimiser"])
        for group, scale in zip(trainer.optimiser.param_groups, scales, strict=True):
            group["scale"] = scale  # the recipe's, as its other numbers are, which may have been changed
        trainer.step, trainer.seconds, trainer.lineage = state["step"], state["seconds"], state["lineage"]
        trainer.health.restore(state["health"])
    except (OSError, EOFError, pickle.UnpicklingError, RuntimeError, ValueError, KeyError, TypeError) as error:
        raise BadCheckpoint(f"{path} is damaged or of an older version; use another --output") from error
    try:
        log.restore(state["log"], trainer.step, state.get("lines", []))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise BadCheckpoint(f"{log.path} cannot be gone on with ({error}); mend it, or move it away") from error
    return True


def _finite(tensors: Iterable[Tensor]) -> bool:
    return all(bool(torch.isfinite(tensor).all()) for tensor in tensors)


def start_from(trainer: Trainer, path: Path) -> list[str]:
    """Begin with the weights of a file, or with the parts of them that the recipe names, and a new optimiser.

    Returns the names of the parameters that the file lacks: they start afresh. Raises `BadCheckpoint` for parameters
    that the model lacks, or of other sizes, for a part that the file lacks, and for a prior of another schedule, whose
    parameters have another meaning.
    """
    checkpoint = load_checkpoint(path)
    own = (
        "post_filter."  # filters belong to the networks that they were learned with: they are learned after a training
    )
    stored = {key: value for key, value in checkpoint.model.state_dict().items() if not key.startswith(own)}
    if parts := trainer.recipe.start_with:
        of = {part: [key for key in stored if f"{key}.".startswith(f"{part}.")] for part in parts}
        if absent := [part for part, keys in of.items() if not keys]:
            raise BadCheckpoint(f"{path} has nothing called {absent[0]!r}; mend start_with")
        stored = {key: stored[key] for keys in of.values() for key in keys}
    orders = [model.prior.context.schedule for model in (checkpoint.model, trainer.model)]
    if orders[0] != orders[1] and any(key.startswith("prior.context.") for key in stored):
        theirs, ours = (type(order).__name__ for order in orders)
        raise BadCheckpoint(f"{path} codes in another order ({theirs}, not {ours}): name its other parts by start_with")
    try:
        missing, unknown = trainer.model.load_state_dict(stored, strict=False)
    except RuntimeError as error:
        raise BadCheckpoint(
            f"{path} has parameters of other sizes than {trainer.recipe.model!r}; mend start"
        ) from error
    if unknown:
        raise BadCheckpoint(f"{path} is of another model: {unknown[0]} is not in {trainer.recipe.model!r}; mend start")
    trainer.ema.load_state_dict(trainer.model.state_dict())
    trainer.lineage = f"weights {checkpoint.hash.hex()} ({path.name})"
    return [key for key in missing if not key.startswith(own)]
