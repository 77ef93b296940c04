"""The adaptive post-filter: what it is chosen by, what it costs, and that files hold it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lichen.bitstream.container import Container, read_container, write_container
from lichen.bitstream.fields import FILTERED, TRELLIS
from lichen.codec import Codec
from lichen.errors import BadCheckpoint, BadFile, UsageError
from lichen.lab.evaluation.counts import count
from lichen.lab.models.checkpoint import load_checkpoint, save_checkpoint
from lichen.lab.models.config import MsSsimRates
from lichen.lab.models.transform_configs import Filter
from lichen.lab.models.zoo import row
from lichen.lab.post_filter.choice import choose, sums
from lichen.lab.post_filter.filters import PostFilter
from lichen.lab.post_filter.learning import Example, learn
from lichen.lab.prior.file_coder import FileReader, FileWriter
from lichen.lab.tensors import to_float
from lichen.metrics import psnr_db
from lichen.runtime import tiles
from lichen.runtime.filter_choice import cost, project, quantised
from lichen.runtime.filter_sums import Sums
from lichen.runtime.memory import MemoryEstimate
from tests.small import learned, scene, small_checkpoint

ROW = row("lichen")
LAM = 0.01


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return small_checkpoint(ROW, tmp_path_factory.mktemp("filter"))


@pytest.fixture(scope="module")
def codec(path):
    return Codec(weights=path)


def noisy(x):
    return x + 0.05 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))


def taps_of(x_hat, height, width, side):
    """(3 side^2 + 1, h w) by hand."""
    reach = side // 2
    around = F.pad(x_hat, (reach,) * 4, mode="replicate")[0, :, : height + side - 1, : width + side - 1]
    seen = [around[c, i : i + height, j : j + width] for c in range(3) for i in range(side) for j in range(side)]
    return torch.stack([*seen, torch.ones(height, width)]).flatten(1).double().numpy()


@pytest.mark.parametrize(("height", "width"), [(40, 56), (1, 1), (64, 3), (300, 330)])
def test_sums_are_those_of_all_pixels(height, width):
    x = to_float(np.asarray(scene(width, height)))
    x_hat = F.pad(noisy(x), (0, 5, 0, 9), value=0.7)  # a decoder sees what it decoded beyond the picture
    found, taps = sums(x_hat, x, 5, every_pixel=True), taps_of(x_hat, height, width, 5)
    errors = (x - x_hat[:, :, :height, :width])[0].flatten(1).double().numpy()
    assert np.allclose(found.gram, taps @ taps.T, rtol=1e-6)
    assert np.allclose(found.cross, taps @ errors.T, rtol=1e-3, atol=1e-2)
    assert found.error == pytest.approx((errors**2).sum(), rel=1e-5) and found.pixels == height * width
    some = sums(x_hat, x, 5)
    assert np.array_equal(some.cross, found.cross) and np.allclose(some.gram, found.gram, rtol=0.1)
    assert np.array_equal(some.gram, found.gram) == (height * width <= 2**14)


def principal_of(count=6, side=3):
    torch.manual_seed(0)
    principal = PostFilter(count, side, 3)
    learned(principal)
    return principal


@torch.no_grad()
def test_the_filter_that_is_needed_is_found():
    """A picture darker than its original, and noisy: what is chosen brings back most of what any filter can."""
    principal = principal_of()
    x = to_float(np.asarray(scene(96, 80)))
    x_hat = noisy(0.8 * x)
    found = sums(x_hat, x, 3)
    numbers = choose(principal, [(x_hat, x)], 1.0, 2, 96 * 80, LAM)
    assert numbers is not None and numbers[-1] == 0  # the last is never coded
    coefficients = torch.from_numpy(numbers) * principal.step(1.0, 2)
    left = float((principal(x_hat, coefficients) - x).square().sum())
    matrix, vector = project(found, principal.taps().double().numpy())
    foretold = found.error - 2 * vector @ coefficients.numpy() + coefficients.numpy() @ matrix @ coefficients.numpy()
    assert left == pytest.approx(foretold, rel=1e-4)
    best = found.error - vector[:-1] @ np.linalg.solve(matrix[:-1, :-1], vector[:-1])
    assert best < left < best + 0.1 * (found.error - best) < 0.5 * found.error


def test_no_filter_where_none_pays():
    principal = principal_of()
    x = to_float(np.asarray(scene(96, 80)))
    assert choose(principal, [(x, x)], 1.0, 2, 96 * 80, LAM) is None  # nothing to better
    assert choose(principal, [(noisy(0.8 * x), x)], 1.0, 2, 96 * 80, 1e-9) is None  # nobody cares


def test_numbers_weigh_errors_against_bits():
    rng = np.random.default_rng(0)
    half = rng.normal(size=(5, 5))
    matrix, vector = half @ half.T + np.eye(5), rng.normal(size=5) * 20
    prices = np.abs(np.arange(1024.0))[None].repeat(5, 0)
    prices[3, 1:] = np.inf
    numbers = quantised(matrix, vector, prices)

    assert numbers[3] == 0 and numbers.any()
    for k in range(5):
        for change in (-1, 1):
            other = numbers.copy()
            other[k] += change
            assert cost(other, matrix, vector, prices) >= cost(
                numbers, matrix, vector, prices
            )  # no single step is better
    assert (np.abs(quantised(matrix, vector, prices * 20)) <= np.abs(numbers)).all()


@pytest.mark.parametrize("hyper_latents", [1, 2, 96, 5000])
def test_numbers_come_back(hyper_latents):
    principal = principal_of(8)
    numbers = np.array([3, -1, 0, 0, 40, -700, 1, 0])  # also beyond the table
    writer = FileWriter()
    written = principal.code(writer, 1.49, hyper_latents, numbers)
    read = principal.code(FileReader(writer.finish()), 1.49, hyper_latents)
    skipped = principal.entropy_parameters(1.49, hyper_latents).skipped[0, 0]
    assert skipped[-1] and torch.equal(written, read)
    assert torch.equal(
        read[~skipped], (torch.from_numpy(numbers).double() * principal.step(1.49, hyper_latents))[~skipped]
    )


def test_larger_pictures_have_finer_steps():
    """Half a step for four times the pixels, and scales twice as wide in steps: the same coefficients."""
    principal = principal_of()
    for usual, larger in ((64, 256), (127, 511)):
        assert principal.step(0.2, larger) == principal.step(0.2, usual) / 2
        finer, plain = (principal.entropy_parameters(0.2, size).raw_scale for size in (larger, usual))
        difference = finer - plain
        assert torch.equal(difference, torch.ones_like(difference))


@pytest.mark.parametrize("size", [(130, 70), (64, 64), (1, 1), (700, 390)])
def test_files_state_it(codec, size, monkeypatch):
    """The same latents as without; nearer to the picture; crops and tiles are of the filtered picture."""
    picture = scene(*size)
    pixels = np.asarray(picture)
    plain, data = codec.encode(picture, 60, filtered=False), codec.encode(picture, 60)
    assert torch.equal(codec.decode_latents(plain), codec.decode_latents(data))
    stated = [bool(read_container(file).header.flags & FILTERED) for file in (plain, data)]
    if size == (1, 1):
        assert data == plain  # nothing pays
        return
    assert stated == [False, True] and 0 <= len(data) - len(plain) < 20
    decoded = codec.decode_array(data)
    assert psnr_db(decoded, pixels) > psnr_db(codec.decode_array(plain), pixels) + 0.02
    part = np.asarray(codec.decode(data, crop=(5, 7, 40, 31)))
    assert np.array_equal(part, decoded[7:38, 5:45])
    monkeypatch.setattr(MemoryEstimate, "transform_side", lambda self, stride: 4)
    assert np.abs(codec.decode_array(data).astype(int) - decoded).max() <= 1


@pytest.mark.parametrize("period", [*range(2, 16), 1000])
def test_a_picture_s_own_period_is_no_trap(codec, period):
    """Lines of all periods, and few of them: what a filter is fitted to is not always the whole, the gain has to be."""
    pixels = np.full((180, 200, 3), 255, np.uint8)
    pixels[period // 2 :: period] = 40
    pixels[:, 3::period] = 90
    plain, data = (codec.encode(pixels, 60, filtered=filtered) for filtered in (False, True))
    assert psnr_db(codec.decode_array(data), pixels) >= psnr_db(codec.decode_array(plain), pixels)


@torch.no_grad()
def test_a_line_that_samples_miss_is_no_trap():
    """One line on an empty page: the places that are compared may not show it, and what is stated still brings a gain.

    A filter fitted to those places alone leaves some of these pages many times the error.
    """
    principal, size = principal_of(), 260
    shares = []
    for line in range(100, 124, 3):
        x = torch.full((1, 3, size, size), 0.95)
        x_hat = x.clone()
        x[:, :, line], x_hat[:, :, line], x_hat[:, :, [line - 1, line + 1]] = 0.1, 0.4, 0.85  # blurred
        numbers = choose(principal, [(x_hat, x)], 1.0, 2, size**2, LAM)
        if numbers is not None:
            coefficients = torch.from_numpy(numbers) * principal.step(1.0, 2)
            filtered = principal(x_hat, coefficients)
            shares.append(float((filtered - x).square().sum() / (x_hat - x).square().sum()))
    assert shares and max(shares) < 0.5


def test_grey_pictures_and_targets(codec):
    grey = scene(130, 70).convert("L")
    data = codec.encode(grey, 60)
    assert read_container(data).header.flags == FILTERED | TRELLIS | 1 and codec.decode(data).mode == "L"
    pixels = np.asarray(scene(130, 70))
    for filtered in (True, False):
        data = codec.encode(scene(130, 70), target_psnr_db=27, filtered=filtered)
        assert psnr_db(codec.decode_array(data), pixels) >= 27
        assert bool(read_container(data).header.flags & FILTERED) == filtered


def test_of_a_large_picture_some_tiles_are_samples(codec, monkeypatch):
    """As many as are enough, never in the same columns only; and it still pays."""
    whole = tiles.Tile(0, 0, 100, 160)
    seen = tiles.sample_tiles(whole)
    assert 2000 < sum(tile.area for tile in seen) <= 4096
    assert {tile.left for tile in seen} == set(range(0, 160, 16))
    monkeypatch.setattr(tiles, "SAMPLE_SIDE", 2)
    monkeypatch.setattr(tiles, "SAMPLED_AREA", 20)
    picture = scene(700, 390)
    data = codec.encode(picture, 60)
    without = codec.decode_array(codec.encode(picture, 60, filtered=False))
    assert psnr_db(codec.decode_array(data), np.asarray(picture)) > psnr_db(without, np.asarray(picture))


def test_a_filter_that_its_model_lacks_is_damage(tmp_path):
    plain = dataclasses.replace(ROW, config=dataclasses.replace(ROW.config, post_filter=None))
    codec = Codec(weights=small_checkpoint(plain, tmp_path))
    container = read_container(codec.encode(scene(64, 64)))
    header = dataclasses.replace(container.header, flags=FILTERED)
    with pytest.raises(BadFile, match="filter"):
        codec.decode(write_container(Container(header, container.sections)))


def test_it_begins_as_nothing():
    principal = PostFilter(4, 5, 2)
    x = torch.rand(1, 3, 9, 7)
    assert not principal.learned and principal.entropy_parameters(0.0, 96).skipped.all()
    assert torch.equal(principal(x, torch.ones(4)), x)


def test_what_pictures_differ_by_is_learnt():
    """Pictures a little too dark or too bright, by chance: the first principal filter is their brightness."""
    rng, examples = np.random.default_rng(0), []
    for seed in range(12):
        x = to_float(np.asarray(scene(64, 48, seed)))
        x_hat = (1 + 0.1 * rng.normal()) * x + 0.02 * torch.randn(
            x.shape, generator=torch.Generator().manual_seed(seed)
        )
        for rate_level in range(2):
            found = sums(x_hat, x, 3)
            examples.append(Example(rate_level, found, found.pixels, 96))
    principal = PostFilter(3, 3, 2)
    learn(principal, examples, [0.01, 0.1])
    kernel = principal.filters[:3].sum(dim=(2, 3))
    gains = kernel.diagonal() + principal.offsets[0] / 0.5
    assert principal.learned and (gains.sign() == gains[0].sign()).all() and float(gains.abs().min()) > 0.5
    assert (principal.raw_scales[:, 0] > principal.raw_scales[:, 2]).all()  # the first axis is the longest
    assert float(principal.steps[0] - principal.steps[1]) == pytest.approx(np.log2(10) / 2, abs=1e-3)
    average = sum(example.found.gram / example.found.pixels for example in examples) / len(examples)
    unit = Sums(average, np.zeros((28, 3)), 0.0, 1)
    assert np.allclose(project(unit, principal.taps().double().numpy())[0], np.eye(3), atol=1e-2)


@torch.no_grad()
def test_learning_knows_of_sizes():
    """The same sums of larger pictures: their numbers are larger, and what is stored is for the usual size."""
    x = to_float(np.asarray(scene(64, 48)))
    found = [sums((0.9 + 0.02 * k) * noisy(x), x, 3) for k in range(8)]
    raw_scales = []
    for larger in (1, 16):
        principal = PostFilter(3, 3, 1)
        learn(principal, [Example(0, f, 393216 * larger, 96 * larger) for f in found], [1e-5])
        raw_scales.append(principal.raw_scales)
    assert raw_scales[0][0, 0] > 0 and float((raw_scales[0] - raw_scales[1]).abs().max()) < 0.4


def test_weights_for_other_measures_have_none(tmp_path):
    """Least squares is not what MS-SSIM asks for, and its lambda weighs something else."""
    rates = MsSsimRates()
    config = dataclasses.replace(ROW.config, rates=rates)
    codec = Codec(weights=small_checkpoint(dataclasses.replace(ROW, config=config), tmp_path))
    assert codec.checkpoint.model.post_filter.learned
    assert codec.encode(scene(130, 70), 60) == codec.encode(scene(130, 70), 60, filtered=False)


@pytest.mark.parametrize(("name", "value"), [("steps", 2000), ("filters", 1e30), ("raw_scales", -100)])
def test_filters_out_of_range_are_refused(path, tmp_path, name, value):
    checkpoint = load_checkpoint(path)
    tensor = getattr(checkpoint.model.post_filter, name)
    tensor[(0,) * tensor.dim()] = value
    state = checkpoint.model.state_dict()
    save_checkpoint(tmp_path / "bad.safetensors", checkpoint.name, checkpoint.config, state, {})
    with pytest.raises(BadCheckpoint, match="filters"):
        load_checkpoint(tmp_path / "bad.safetensors")


def test_what_it_costs():
    """225 multiply-adds for each pixel; an encoder decodes the picture too."""
    with_one, without = count(ROW.config), count(dataclasses.replace(ROW.config, post_filter=None))
    assert with_one.decode == without.decode + 225
    assert with_one.encode == without.encode + without.synthesis.mac_per_pixel + with_one.choice.mac_per_pixel


@pytest.mark.parametrize("values", [{"count": 0}, {"side": 4}, {"side": 11}])
def test_senseless_configs_are_refused(values):
    with pytest.raises(UsageError):
        Filter(**values)
