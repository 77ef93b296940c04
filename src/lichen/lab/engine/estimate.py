"""What a file would cost, without writing it: the walk of an engine with the coder that counts bits."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from lichen.lab.engine.torch_engine import TorchEngine
from lichen.lab.prior.estimator import Estimator
from lichen.runtime.engine import Writing
from lichen.runtime.level import Level


@torch.inference_mode()
def estimated_bits(engine: TorchEngine, pixels: NDArray[np.uint8], quality_index: int, how: Writing) -> list[float]:
    """The bits of z, and then of each coding step of y, of a picture (H, W, 3) that is written so."""
    y, z = (x.to(engine.device) for x in engine.latents(pixels, quality_index))
    estimator, correct = Estimator(None), engine.corrections(how, quality_index)
    rate_level = torch.tensor([Level(quality_index).rate_level], device=engine.device)
    prior, shape = engine.checkpoint.model.prior, (z.shape[2], z.shape[3])
    prior.walk(estimator, rate_level, shape, y, z=z, trellis=how.trellis, correct=correct)
    return [float(bits.sum()) for bits in estimator.bits]
