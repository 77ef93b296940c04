"""Backward adaptation: what its statistics count, what it moves, and that it saves bits where scales are wrong."""

from __future__ import annotations

import dataclasses
import hashlib
from importlib import resources

import pytest
import torch

from lichen.coding.scales import SCALE_MAX, SCALE_MIN, SCALES
from lichen.errors import UsageError
from lichen.lab.models.prior_configs import Context
from lichen.lab.models.transform_configs import SwinHyper
from lichen.lab.models.zoo import row
from lichen.lab.prior.adaptation import (
    PER_HYPER,
    PRIOR_STRENGTH,
    SIZES,
    UNITS,
    Adaptation,
    ScaleStatistics,
    log_scale_error,
)
from lichen.lab.prior.entropy_parameters import EntropyParameters
from lichen.lab.prior.estimator import Estimator
from lichen.lab.prior.families import Gaussian, LinearScale, Logistic, logistic_bits
from lichen.lab.prior.noise import Noise
from lichen.lab.prior.schedules import AllAtOnce, Cell, Quadtree, Step
from lichen.runtime.migration import migrate_name
from tests.laws import priors
from tests.laws.laws import Given

FAMILY = Logistic()
WIDTH, HEIGHT, M = 12, 8, 8


def drawn(scale: float, count: int, channels: int = M) -> torch.Tensor:
    """Symbols (1, n, c) of a logistic distribution of this deviation."""
    uniform = torch.rand(1, count, channels).clamp(1e-6, 1 - 1e-6)
    return torch.round(torch.logit(uniform) * scale * 3**0.5 / torch.pi)


def counted(scale: float, assumed: float, cell: Cell | None = None) -> ScaleStatistics:
    """The statistics of symbols that have another deviation than the prior's scale says."""
    torch.manual_seed(0)
    made, cell = Adaptation(M, 4, 4, FAMILY), cell or Cell(slice(None))
    statistics = ScaleStatistics.empty(torch.zeros(1, 3, HEIGHT, WIDTH), M, torch.float32)
    count, _ = cell.shape((M, HEIGHT, WIDTH))
    symbols = drawn(scale, count, len(range(M)[cell.channels]))
    raw_scale = torch.full_like(symbols, assumed).log2()
    parameters = EntropyParameters(torch.zeros_like(raw_scale), raw_scale, FAMILY)
    made.count(statistics, Step(0, (cell,)), parameters, symbols, (HEIGHT, WIDTH))
    return statistics


@pytest.mark.parametrize("family", [FAMILY, Gaussian()])
def test_scores_have_mean_nothing_and_their_variance_is_the_information(family):
    scores, sizes = Adaptation(M, 2, 4, family).scores.table / UNITS, torch.arange(4.0 * SIZES)
    assert (scores[: family.skip + 1] == 0).all() and scores.shape == (SCALES, SIZES, 2)
    for index in (4, 12, 30, 50):
        sigma = torch.tensor(SCALE_MIN * (SCALE_MAX / SCALE_MIN) ** (index / (SCALES - 1)))
        mass = torch.exp2(-family.training_bits(sizes, sigma)) * (1 + (sizes > 0))
        score = scores[index, sizes.long().clamp(max=SIZES - 1), 0]
        assert float((mass * score).sum()) == pytest.approx(0, abs=0.01)
        assert float((mass * score.square()).sum()) == pytest.approx(float(scores[index, 0, 1]), rel=0.05, abs=0.005)
        assert (scores[index, 1:, 0] >= scores[index, :-1, 0] - 1e-6).all()  # the larger, the wider the scale should be


@pytest.mark.parametrize("wrong", [0.5, 2.0])
def test_the_error_is_by_how_many_octaves_a_scale_is_wrong(wrong):
    asked = log_scale_error(counted(2.0 * wrong, 2.0).counts)
    right = log_scale_error(counted(2.0, 2.0).counts)
    assert float(asked.mean()) == pytest.approx(torch.tensor(wrong).log2().item(), abs=0.5)
    assert abs(float(right.mean())) < 0.1
    assert torch.equal(asked * 4096, torch.round(asked * 4096))


def test_a_cell_is_counted_where_it_lies():
    """One phase of every fourth channel: nothing in the others, each hyper-latent its own four positions."""
    cell = Quadtree().steps(HEIGHT, WIDTH, torch.device("cpu"))[0].cells[1]
    statistics = counted(1.0, 1.0, cell)
    counts = statistics.counts
    assert counts.shape == (1, 2, M, HEIGHT // PER_HYPER, WIDTH // PER_HYPER)
    own = torch.zeros(M, dtype=torch.bool)
    own[cell.channels] = True
    assert (counts[:, :, ~own] == 0).all()
    information = Adaptation(M, 2, 4, FAMILY).scores.table[int(FAMILY.scale.index(torch.zeros(1))), 0, 1]
    assert (counts[:, 1, own] == 4 * information).all()


def test_a_latent_is_counted_in_its_hyper_latent():
    made = Adaptation(M, 4, 4, FAMILY)
    statistics = ScaleStatistics.empty(torch.zeros(1, 3, HEIGHT, WIDTH), M, torch.float32)
    symbols = torch.zeros(1, M, HEIGHT, WIDTH)
    symbols[0, 5, 6, 9] = -40
    cell = Cell(slice(1, None, 2), torch.arange(HEIGHT * WIDTH))
    found = cell.of(symbols)
    zeros = torch.zeros_like(found)
    made.count(statistics, Step(0, (cell,)), EntropyParameters(zeros, zeros, FAMILY), found, (HEIGHT, WIDTH))
    other = statistics.counts[0, 0, 1, 0, 0]  # of zeros alone
    assert (statistics.counts[0, 0, 1::2] != other).nonzero().tolist() == [[2, 1, 2]]


def test_nothing_counted_moves_nothing_as_it_begins():
    statistics = ScaleStatistics.empty(torch.zeros(1, 3, HEIGHT, WIDTH), M, torch.float32)
    moved = Adaptation(M, 4, 4, FAMILY)(2, statistics)
    assert (moved == 0).all() and moved.shape == (1, M, HEIGHT // PER_HYPER, WIDTH // PER_HYPER)


def test_the_error_counts_neighbours_and_the_prior():
    counts = torch.zeros(1, 2, 1, 3, 3)
    counts[0, 0, 0, 0, 0], counts[0, 1, 0, 0, 0] = 3.0 * PRIOR_STRENGTH, 1.0 * PRIOR_STRENGTH
    asked = log_scale_error(counts)[0, 0]
    wanted = [[12 / 5, 6 / 3, 0], [6 / 3, 3 / 2, 0], [0, 0, 0]]
    assert torch.allclose(asked, torch.tensor(wanted), atol=2.0**-12)


def test_scores_are_frozen_and_no_weights():
    """They are part of the format: whatever a weights file holds under their name is not read."""
    stored = (resources.files("lichen.coding") / "scores.npz").read_bytes()
    assert hashlib.sha256(stored).hexdigest() == "975c673d1df347025b739ab8740e5b25d03e0382b694246d817679555ddd8c5c"
    config = row("lichen").config
    model = config.build()
    state, name = model.state_dict(), "prior.context.adaptation.scores.table"
    assert name not in state
    table = model.prior.context.adaptation.scores.table.clone()
    assert torch.equal(table, table.round()) and not table[:4].any()
    assert migrate_name(name) is None


@torch.no_grad()
def test_it_saves_bits_where_scales_are_wrong():
    """As it begins, on latents three times as wide as the prior's scales: later steps cost less, the first no more."""
    torch.manual_seed(0)
    adaptation, steps = Adaptation(M, 4, 4, FAMILY), Quadtree().steps(HEIGHT, WIDTH, torch.device("cpu"))
    statistics, costs = ScaleStatistics.empty(torch.zeros(1, 3, HEIGHT, WIDTH), M, torch.float32), []
    for step in steps:
        offsets = adaptation(step.number, statistics) if step.number else None
        cost = [0.0, 0.0]
        for cell in step.cells:
            symbols = drawn(3.0, cell.shape((M, HEIGHT, WIDTH))[0], M // 4)
            plain = EntropyParameters(torch.zeros_like(symbols), torch.zeros_like(symbols), FAMILY)
            moved = plain
            if offsets is not None:
                moved = plain.offset_scales(ScaleStatistics.at_latents(offsets, cell, (HEIGHT, WIDTH)))
            for place, parameters in enumerate((plain, moved)):
                cost[place] += float(logistic_bits(symbols, parameters.scale).sum())
            adaptation.count(statistics, Step(step.number, (cell,)), plain, symbols, (HEIGHT, WIDTH))
        costs.append(cost)
    assert costs[0][0] == costs[0][1]
    assert all(moved < 0.95 * plain for plain, moved in costs[1:])


@torch.no_grad()
def test_no_step_sees_itself_or_what_comes_later():
    """Rounding has no gradient, so the law is tried by changes that only the statistics show."""
    prior = priors.small_prior("ours-float32")
    for source in prior.context.sources:
        source.predict.weight.zero_()
    y, z = priors.latents("ours-float32")
    steps = prior.context.schedule.steps(*priors.SIZE, y.device)

    def raw_scales(latents: torch.Tensor) -> list[torch.Tensor]:
        walked = prior.walk(Given(), priors.RATE_LEVEL, z.shape[2:], latents, z)
        return [parameters.raw_scale for _, parameters in walked.predicted]

    plain = raw_scales(y)
    for step in steps:
        changed = y.clone()
        for cell in step.cells:
            cell.put_(changed, -3 * cell.of(changed))
        alike = [torch.equal(*pair) for pair in zip(plain, raw_scales(changed), strict=True)]
        assert alike == [later <= step.number for later in range(len(steps))]


@torch.no_grad()
@pytest.mark.parametrize("name", ["ours-quad", "ours-adaptive"])
def test_a_latent_that_is_not_a_number_stops_no_training_step(name):
    """Its loss is none either, and the trainer skips the step."""
    prior = priors.small_prior(name)
    y, z = priors.latents(name)
    y[0, 3, 2, 1] = torch.nan
    estimator = Estimator(Noise([0], y.device))
    prior.walk(estimator, priors.RATE_LEVEL, z.shape[2:], y, z)
    assert torch.stack(estimator.bits).isnan().any()


def test_it_goes_with_what_it_can_be_said_of():
    assert Context(Quadtree(), adaptation=8).adaptation == 8
    wrong = (
        lambda: Context(AllAtOnce(), adaptation=8),
        lambda: Context(Quadtree(), adaptation=-1),
        lambda: Context(Quadtree(), family=Gaussian(LinearScale()), adaptation=8),
        lambda: Context(Quadtree(), family=Gaussian(mean_in_cdf=True), adaptation=8),
        lambda: dataclasses.replace(row("lichen").config, hyper=SwinHyper((8,), (2,), 4)),
    )
    for config in wrong:
        with pytest.raises(UsageError, match="adaptation"):
            config()
