"""Memory: how much a picture needs, and errors of ours when there is less."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from lichen.errors import OutOfMemory
from lichen.models.model import Model

_PROGRAM_BYTES = 350_000_000  # Python, PyTorch and weights of the default model's size
_PROBE = 128  # pixels: the side of the picture on which activations are measured


class Needs:
    """What a built model needs: `bytes(pixels, at_once)` for a picture of which so many are worked on at once.

    An estimate from the sizes of its latents and of its largest activation; it lies above what was measured
    (results/large_pictures.json) and is no promise.
    """

    def __init__(self, model: Model) -> None:
        widest, latents = _widest(model)
        self.held = 3 + 8 + 2 * 4 * latents + 2 * latents  # pixels, Pillow's copy and the file, y, y_hat, features
        self.passing = max(3 * 4 * widest, 8 * 8 * latents)  # maps of a transform, or of the walk

    def bytes(self, pixels: int, at_once: int) -> int:
        return round(_PROGRAM_BYTES + self.held * pixels + self.passing * at_once)


@torch.inference_mode()
def _widest(model: Model) -> tuple[float, float]:
    """Numbers for each pixel: of the largest map in the transforms, and of y."""
    widest = 0

    def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal widest
        widest = max(widest, output.numel())

    device = next(model.parameters()).device
    leaves = [m for part in (model.analysis, model.synthesis) for m in part.modules() if not list(m.children())]
    handles = [leaf.register_forward_hook(note) for leaf in leaves]
    level = torch.zeros(1, device=device)
    y = model.analyse(torch.zeros(1, 3, _PROBE, _PROBE, device=device), level)
    model.synthesise(y, level, _PROBE, _PROBE)
    for handle in handles:
        handle.remove()
    return widest / _PROBE**2, y.numel() / _PROBE**2


@contextlib.contextmanager
def typed_memory_errors() -> Iterator[None]:
    """An allocation that fails, in Python or in PyTorch, becomes `OutOfMemory`."""
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise OutOfMemory("the machine has too little memory for this picture; free some, or split it") from error
    except RuntimeError as error:
        if "allocate memory" not in str(error):
            raise
        raise OutOfMemory("the machine has too little memory for this picture; free some, or split it") from error
