"""The largest activations of a built model, measured: what its estimate of memory is made of."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lichen.lab.models.model import Model
from lichen.runtime.memory import MemoryEstimate

_PROBE = 128  # pixels: the side of the picture on which activations are measured


@torch.inference_mode()
def estimate_memory(model: Model) -> MemoryEstimate:
    """The memory that a model needs, by its weights and one picture of 128 x 128 pixels through its transforms."""
    widest = 0

    def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal widest
        widest = max(widest, output.numel())

    device = next(model.parameters()).device
    leaves = [m for part in (model.analysis, model.synthesis) for m in part.modules() if not list(m.children())]
    handles = [leaf.register_forward_hook(note) for leaf in leaves]
    rate_level = torch.zeros(1, device=device)
    y = model.analyse(torch.zeros(1, 3, _PROBE, _PROBE, device=device), rate_level)
    model.synthesise(y, rate_level, _PROBE, _PROBE)
    for handle in handles:
        handle.remove()
    weights_bytes = sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values())
    return MemoryEstimate(widest / _PROBE**2, y.numel() / _PROBE**2, weights_bytes)
