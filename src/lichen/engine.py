"""A model at work: pixels <-> latents <-> payload."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lichen.coding.coders import Reader, Writer
from lichen.errors import DeviceError, UsageError
from lichen.models.checkpoint import Checkpoint, load_checkpoint
from lichen.models.config import LEVEL_STEPS
from lichen.picture import to_float, to_uint8
from lichen.prior.context import Prior


@dataclass(frozen=True)
class Engine:
    """A model ready to code: its weights on a device, and its prior in fixed point on the CPU."""

    checkpoint: Checkpoint
    prior: Prior
    device: torch.device

    @staticmethod
    def load(path: Path, device: torch.device) -> Engine:
        checkpoint = load_checkpoint(path)
        checkpoint.model.to(device)
        return Engine(checkpoint, checkpoint.model.exact_prior(), device)

    @property
    def levels(self) -> int:
        return self.checkpoint.config.rates.count

    def latents(self, pixels: NDArray[np.uint8], level: int) -> tuple[Tensor, Tensor]:
        """(H, W, 3) uint8 -> y (1, M, h, w) and z (1, Z, h', w'), float32 on the CPU."""
        position = torch.tensor([level / LEVEL_STEPS], device=self.device)
        y = self.checkpoint.model.analyse(to_float(pixels).to(self.device), position)
        return y.cpu(), self.checkpoint.model.hyper_analyse(y, position).cpu()

    def write(self, y: Tensor, z: Tensor, level: int) -> tuple[bytes, Tensor]:
        """Latents -> payload and y_hat. From the same y and z every machine writes the same bytes."""
        writer = Writer()
        y_hat, _ = self.prior.walk(writer, _position(level), (z.shape[2], z.shape[3]), y.double(), z.double())
        return writer.finish(), y_hat

    def read(self, payload: bytes, level: int, height: int, width: int) -> Tensor:
        """Payload -> y_hat (1, M, h, w) float64, the same on every machine."""
        stride = self.checkpoint.model.hyper_stride
        shape = (-(-height // stride), -(-width // stride))
        return self.prior.walk(Reader(payload), _position(level), shape)[0]

    def pixels(self, y_hat: Tensor, level: int, height: int, width: int) -> NDArray[np.uint8]:
        """y_hat -> (H, W, 3) uint8."""
        position = torch.tensor([level / LEVEL_STEPS], device=self.device)
        latents = y_hat.float().to(self.device, memory_format=torch.channels_last)
        return to_uint8(self.checkpoint.model.synthesise(latents, position, height, width))


def _position(level: int) -> Tensor:
    return torch.tensor([level / LEVEL_STEPS], dtype=torch.float64)


def find_device(name: str) -> torch.device:
    """cpu or cuda. Raises `DeviceError` when it is not there."""
    if name == "cuda" and not torch.cuda.is_available():
        raise DeviceError("there is no CUDA device; use --device cpu")
    if name not in {"cpu", "cuda"}:
        raise UsageError(f"device must be cpu or cuda, not {name!r}")
    return torch.device(name)
