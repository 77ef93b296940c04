"""Principal filters of the adaptive post-filter, learned from training pictures after a training."""

from __future__ import annotations

import contextlib
import functools
import operator
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from lichen.errors import BadCheckpoint, BadData, BadInput
from lichen.image.files import refuse_existing
from lichen.image.picture import CROP_IT, Picture, open_picture
from lichen.lab.engine.torch_engine import TorchEngine, find_device
from lichen.lab.models.checkpoint import save_checkpoint
from lichen.lab.models.config import Distortion
from lichen.lab.post_filter.choice import sums
from lichen.lab.post_filter.learning import Example, learn
from lichen.lab.training.data import list_training_pictures
from lichen.runtime.level import LEVEL_STEPS

_LINES = 10  # pictures for each line of progress


@torch.inference_mode()
def learn_filters_of(
    weights: Path,
    data: Path,
    output: Path,
    pictures: int,
    say: Callable[[str], None],
    device: str = "cpu",
    force: bool = False,
) -> None:
    """Write the weights with principal filters learned from pictures of `data`, coded at each trained rate.

    Raises `BadCheckpoint` for a model without a post-filter, or one not trained for MSE; `BadData` for no pictures.
    """
    refuse_existing(output, force)
    engine = TorchEngine.load(weights, find_device(device))
    checkpoint = engine.checkpoint
    principal, rates = checkpoint.model.post_filter, checkpoint.config.rates
    if principal is None or rates.distortion is not Distortion.MSE:
        raise BadCheckpoint(f"{weights}: its model has no filters (adaptive post-filter), or is not for MSE")
    examples: list[Example] = []
    for count, picture in enumerate(_some(data, pictures), 1):
        for rate_level in range(rates.count):
            y, z = engine.latents(picture.pixels, rate_level * LEVEL_STEPS)
            y_hat = engine.write(y, z, rate_level * LEVEL_STEPS)[1]
            samples = engine.samples(y_hat, picture.pixels, rate_level * LEVEL_STEPS)
            found = functools.reduce(operator.add, (sums(*sample, principal.side) for sample in samples))
            area, pixels = z.shape[2] * z.shape[3], picture.pixels.shape[0] * picture.pixels.shape[1]
            examples.append(Example(rate_level, found, pixels, area))
        if count % _LINES == 0:
            say(f"{count} pictures coded")
    if not examples:
        raise BadData(f"{data}: none of its pictures can be read")
    learn(principal, examples, [rates.lam(rate_level) for rate_level in range(rates.count)])
    facts = checkpoint.facts | {"filters_from": len(examples) // rates.count}
    state = checkpoint.model.state_dict()
    save_checkpoint(output, checkpoint.name, checkpoint.config, state, facts=facts, overwrite=force)
    say(f"{output}: {len(principal.offsets)} filters from {facts['filters_from']} pictures")


def _some(data: Path, count: int) -> Iterator[Picture]:
    """`count` of the pictures, evenly among all; those that cannot be read are left out."""
    paths = list_training_pictures(data)
    for path in paths if count >= len(paths) else [paths[i * len(paths) // count] for i in range(count)]:
        with contextlib.suppress(BadInput):
            yield open_picture(path, remedy=CROP_IT)
