"""The processes of a training: one, or several that `accelerate launch` has started."""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import Tensor, nn

from lichen.errors import UsageError
from lichen.extras import missing
from lichen.lab.engine.torch_engine import find_device


class SingleProcess:
    """A training in one process: `index` 0 of `count` 1, on `device`."""

    index, count = 0, 1

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def wrap(self, model: nn.Module) -> nn.Module:
        """The model as training calls it; gradients are then averaged over processes."""
        return model

    def mean(self, figures: Tensor) -> Tensor:
        """The average over processes of a tensor of any shape, without gradient."""
        return figures

    def agree(self, state: Tensor) -> bool:
        """Whether a tensor of any shape is the same in all processes."""
        return True

    def finish(self) -> None:
        """Wait for all processes, and end their communication."""


class DistributedProcesses:
    """One of several processes that train as one, by Hugging Face Accelerate (DDP); methods as of `SingleProcess`.

    Raises `UsageError` without Accelerate.
    """

    def __init__(self, on_cpu: bool) -> None:
        try:
            from accelerate import Accelerator
        except ImportError as error:
            raise UsageError(f"several processes: {missing('accelerate')}") from error
        self._accelerator: Any = Accelerator(cpu=on_cpu, mixed_precision="no")
        self.device: torch.device = self._accelerator.device
        self.index: int = self._accelerator.process_index
        self.count: int = self._accelerator.num_processes

    def wrap(self, model: nn.Module) -> nn.Module:
        """As `SingleProcess.wrap`."""
        for parameter in model.parameters():
            if parameter.shape[2:] == (1, 1):  # its strides are ambiguous; DDP wants those of its gradient
                parameter.data = parameter.data.clone(memory_format=torch.contiguous_format)
        wrapped: nn.Module = self._accelerator.prepare_model(model)
        return wrapped

    def mean(self, figures: Tensor) -> Tensor:
        """As `SingleProcess.mean`, of any shape."""
        averaged: Tensor = self._accelerator.reduce(figures, reduction="mean")
        return averaged

    def agree(self, state: Tensor) -> bool:
        """As `SingleProcess.agree`, of any shape."""
        gathered: Tensor = self._accelerator.gather(state[None])
        return bool((gathered == gathered[0]).all())

    def finish(self) -> None:
        """As `SingleProcess.finish`."""
        self._accelerator.wait_for_everyone()
        self._accelerator.end_training()


def find_processes(device: str) -> SingleProcess | DistributedProcesses:
    """Those that a launcher has put into the environment, else one. Raises `DeviceError`, `UsageError`."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        return DistributedProcesses(on_cpu=find_device(device).type == "cpu")
    return SingleProcess(find_device(device))
