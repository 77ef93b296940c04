"""The laws for every row of the zoo, at small widths."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor

from lichen.bitstream.container import read_container
from lichen.bitstream.fields import header_size_bytes
from lichen.codec import Codec
from lichen.errors import BadFile, UsageError
from lichen.lab.models.prior_configs import DirectContext, FactorizedContext
from lichen.lab.models.zoo import ZOO
from lichen.lab.prior.context import ParallelModel
from lichen.lab.prior.entropy_parameters import EntropyParameters
from lichen.lab.prior.estimator import Estimator
from lichen.lab.prior.file_coder import FileWriter
from lichen.lab.prior.schedules import Cell, DualCheckerboard, Quadtree, Step
from lichen.lab.prior.walk import ContextModel, merge, walk_latents
from tests.laws.laws import Given, leaks, mask_of, threads, uses_context
from tests.small import scene, small

QUALITY_INDEX = 700  # between two trained rates


def ways_of(codec: Codec) -> list[bool]:
    """Whether latents are trellis-coded, as far as they can be."""
    return [False, True] if codec.engine.trellis else [False]


def latents_of(codec: Codec, seed: int = 0) -> tuple[Tensor, Tensor]:
    pixels = np.asarray(scene(150, 90, seed))
    with torch.no_grad():
        return codec.engine.latents(pixels, quality_indices_of(codec)[-1])


def quality_indices_of(codec: Codec) -> list[int]:
    """Quality indices to try, the last of them between trained ones; one where one quality is trained."""
    return [0, 1024, QUALITY_INDEX] if codec.engine.levels > 1 else [0]


def lively(context: ContextModel) -> ContextModel:
    """Random weights in place of the zeros that a context model starts with."""
    for parameter in context.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return context


def parameters_of(context: ContextModel, features: Tensor, y: Tensor) -> EntropyParameters:
    """Those of all steps, (1, M, h, w), given y itself."""
    return merge(walk_latents(context, Given(), features, torch.ones(1), y).predicted, y)


@pytest.mark.parametrize("row", ZOO, ids=lambda row: row.name)
@pytest.mark.parametrize("size", [(1, 1), (4, 4), (5, 8)])
def test_schedule_tiles_the_latents_once(row, size):
    steps = small(row.config).build().prior.context.schedule.steps(*size, torch.device("cpu"))
    assert (sum(mask_of(step, (24, *size)) for step in steps) == 1).all()


@pytest.mark.parametrize("row", ZOO, ids=lambda row: row.name)
def test_causal_by_gradient(row):
    torch.manual_seed(1)
    config = small(row.config)
    context = lively(config.build().prior.context)
    features, y = torch.randn(1, config.features, 6, 8), torch.randn(1, 24, 6, 8, requires_grad=True)
    parameters = parameters_of(context, features, y)
    assert leaks(parameters, context.schedule.steps(6, 8, y.device), y) == 0
    alone = isinstance(config.context, FactorizedContext | DirectContext) or row.name == "lichen-hp"
    assert uses_context(parameters, y) != alone


def test_a_planted_leak_is_caught():
    """By the very check that every row passes."""
    torch.manual_seed(1)

    class Leaky(ParallelModel):
        def _cell_parameters(self, given, cell, base):
            honest = super()._cell_parameters(given, cell, base)
            return EntropyParameters(honest.mean + 0.01 * cell.of(self.peek), honest.raw_scale)

    config = small(ZOO[0].config)
    honest = config.build().prior.context
    leaky = lively(Leaky(honest.schedule, list(honest.sources), 24, honest.base_raw_scale.table.detach()))
    features, leaky.peek = torch.randn(1, config.features, 6, 8), torch.zeros(1, 24, 6, 8)
    y, steps = torch.randn(1, 24, 6, 8, requires_grad=True), honest.schedule.steps(6, 8, torch.device("cpu"))
    assert leaks(parameters_of(leaky, features, y), steps, y) == 0  # it peeks at something else
    leaky.peek = y
    assert leaks(parameters_of(leaky, features, y), steps, y) > 0


@pytest.mark.parametrize("schedule", [Quadtree(), DualCheckerboard()])
def test_a_shifted_mask_is_caught(schedule):
    """A last cell at the columns beside its own codes some latents twice and others never."""
    *before, last = schedule.steps(4, 4, torch.device("cpu"))
    *cells, cell = last.cells
    shifted = Cell(cell.channels, cell.places(4, 4, torch.device("cpu")) ^ 1)
    steps = [*before, Step(last.number, (*cells, shifted))]
    assert not (sum(mask_of(step, (4, 4, 4)) for step in steps) == 1).all()


@torch.no_grad()
def test_training_parameters_are_coding_parameters(codec):
    y, z = latents_of(codec)
    model, prior = codec.checkpoint.model, codec.engine.prior
    rough = merge(model.prior.walk(Given(), torch.tensor([QUALITY_INDEX / 512]), z.shape[2:], y, z).predicted, y)
    rate_level = torch.tensor([QUALITY_INDEX / 512], dtype=torch.float64)
    exact = merge(prior.walk(Given(), rate_level, z.shape[2:], y.double(), z.double()).predicted, y.double())
    for a, b in ((rough.mean, exact.mean), (rough.raw_scale, exact.raw_scale)):
        assert float((a.double() - b).abs().max()) < 0.02 * max(1.0, float(b.abs().max()))
    assert float((rough.mean.double() - exact.mean).abs().mean()) < 2e-3


@torch.no_grad()
def test_decode_of_encode_is_y_hat(codec):
    y, z = latents_of(codec)
    for quality_index, trellis in itertools.product(quality_indices_of(codec), ways_of(codec)):
        payload, y_hat = codec.engine.write(y, z, quality_index, trellis=trellis)
        assert torch.equal(codec.engine.read(payload, quality_index, 90, 150, trellis=trellis), y_hat)
        assert float((y_hat - y.double()).abs().max()) <= 256  # skipped latents aside they are near
        assert payload == codec.engine.write(y, z, quality_index, trellis=trellis)[0]


def test_what_has_no_trellis_says_so(codec):
    if codec.engine.trellis:
        return
    y, z = latents_of(codec)
    with pytest.raises(UsageError, match="trellis"):
        codec.encode(scene(20, 20), effort=1)
    with pytest.raises(BadFile, match="trellis"):
        codec.engine.read(codec.engine.write(y, z, 0)[0], 0, 90, 150, trellis=True)


@torch.no_grad()
def test_estimate_is_the_file(codec):
    picture = torch.from_numpy(np.array(scene(300, 200))).permute(2, 0, 1)[None] / 255
    for quality_index in quality_indices_of(codec):
        coded = codec.checkpoint.model(picture, torch.tensor([quality_index / 512]))
        y, z = codec.engine.latents(np.asarray(scene(300, 200)), quality_index)
        size_bytes = sum(map(len, codec.engine.write(y, z, quality_index)[0]))
        assert abs(float(coded.bits) / 8 - size_bytes) <= 0.01 * size_bytes + 64


@torch.no_grad()
def test_estimate_is_the_file_of_a_trellis(codec):
    pixels, sizes = np.asarray(scene(300, 200)), []
    for quality_index in quality_indices_of(codec) if codec.engine.trellis else ():
        y, z = codec.engine.latents(pixels, quality_index)
        estimator, place = Estimator(None), torch.tensor([quality_index / 512])
        walked = codec.checkpoint.model.prior.walk(estimator, place, z.shape[2:], y, z, trellis=True)
        payloads, y_hat = codec.engine.write(y, z, quality_index, trellis=True)
        sizes.append(sum(map(len, payloads)))
        assert abs(float(sum(estimator.bits)) / 8 - sizes[-1]) <= 0.01 * sizes[-1] + 64
        assert float((walked.y_hat - y_hat).abs().mean()) < 0.2  # the paths part where a mean is rounded
    assert bool(sizes) == codec.engine.trellis


@torch.no_grad()
@pytest.mark.parametrize("count", [2, 7])
def test_same_bytes_and_latents_under_other_thread_counts(codec, count):
    y, z = latents_of(codec)
    payload, y_hat = codec.engine.write(y, z, QUALITY_INDEX)
    with threads(count):
        assert codec.engine.write(y, z, QUALITY_INDEX)[0] == payload
        assert torch.equal(codec.engine.read(payload, QUALITY_INDEX, 90, 150), y_hat)
        with torch.backends.mkldnn.flags(enabled=False, allow_tf32=None):
            assert torch.equal(codec.engine.read(payload, QUALITY_INDEX, 90, 150), y_hat)


@torch.no_grad()
def test_same_parameters_with_batch_neighbours(codec):
    prior, rate_level = codec.engine.prior, torch.tensor([QUALITY_INDEX / 512], dtype=torch.float64)
    pairs = [latents_of(codec, seed) for seed in range(3)]
    y, z = (torch.cat(tensors).double() for tensors in zip(*pairs, strict=True))
    joint = merge(prior.walk(Given(), rate_level.expand(3), z.shape[2:], y, z).predicted, y)
    for i in range(3):
        alone = merge(prior.walk(Given(), rate_level, z.shape[2:], y[i : i + 1], z[i : i + 1]).predicted, y[i : i + 1])
        assert torch.equal(joint.mean[i], alone.mean[0]) and torch.equal(joint.raw_scale[i], alone.raw_scale[0])


@torch.no_grad()
def test_a_float_prior_does_not_write(codec):
    y, z = latents_of(codec)
    with pytest.raises(ValueError, match="fixed point"):
        codec.checkpoint.model.prior.walk(FileWriter(), torch.tensor([1.0]), z.shape[2:], y, z)


def test_overhead_of_a_file(codec):
    data = codec.encode(scene(200, 136), 50)
    container = read_container(data)
    overhead = len(data) - sum(map(len, container.latents))
    assert overhead <= 24 + 8 * (codec.engine.channel_groups - 1)
    assert header_size_bytes(container.header) < overhead


@pytest.mark.parametrize("size", [(1, 1), (1, 200), (63, 65), (64, 64), (17, 3)])
def test_any_size(codec, size):
    image = scene(*size)
    decoded = codec.decode(codec.encode(image, 90))
    assert decoded.size == size and decoded.mode == "RGB"
