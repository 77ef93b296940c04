"""A picture's own filter: what it is chosen by, what it costs, and that files hold it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lichen import windows
from lichen.bitstream.container import Container, read_container, write_container
from lichen.bitstream.fields import FILTERED
from lichen.codec import Codec
from lichen.coding.coders import Reader, Writer
from lichen.errors import BadFile, UsageError
from lichen.evaluation.counts import count
from lichen.evaluation.metrics import psnr_db
from lichen.filtering.choice import Sums, choose, cost, project, quantised, sums
from lichen.filtering.filters import PictureFilter
from lichen.filtering.learn import Example, learn
from lichen.memory import Needs
from lichen.models.transform_configs import Filter
from lichen.models.zoo import row
from lichen.picture import to_float
from tests.small import learned, scene, small_checkpoint

ROW = dataclasses.replace(row("lichen"), config=dataclasses.replace(row("lichen").config, filter=Filter()))
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
    around = F.pad(x_hat[:, :, :height, :width], (side // 2,) * 4, mode="replicate")[0]
    seen = [around[c, i : i + height, j : j + width] for c in range(3) for i in range(side) for j in range(side)]
    return torch.stack([*seen, torch.ones(height, width)]).flatten(1).double().numpy()


@pytest.mark.parametrize(("height", "width"), [(40, 56), (1, 1), (64, 3)])
def test_sums_are_those_of_all_pixels(height, width):
    x = to_float(np.asarray(scene(width, height)))
    x_hat = F.pad(noisy(x), (0, 5, 0, 9), value=7.0)  # what is beyond the picture is not seen
    found, taps = sums(x_hat, x, 5), taps_of(x_hat, height, width, 5)
    errors = (x - x_hat[:, :, :height, :width])[0].flatten(1).double().numpy()
    assert np.allclose(found.gram, taps @ taps.T, rtol=1e-6)
    assert np.allclose(found.cross, taps @ errors.T, rtol=1e-4, atol=1e-4)
    assert found.error == pytest.approx((errors**2).sum(), rel=1e-5) and found.pixels == height * width


def test_a_large_picture_s_taps_are_sampled_and_its_errors_are_not():
    x = to_float(np.asarray(scene(330, 300)))
    found, taps = sums(noisy(x), x, 3), taps_of(noisy(x), 300, 330, 3)
    errors = (x - noisy(x))[0].flatten(1).double().numpy()
    assert not np.allclose(found.gram, taps @ taps.T, rtol=1e-6)
    assert np.allclose(found.gram, taps @ taps.T, rtol=0.05)
    assert np.allclose(found.cross, taps @ errors.T, rtol=1e-3, atol=0.01)


def principal_of(count=6, side=3):
    principal = PictureFilter(count, side, 3)
    learned(principal)
    return principal


@torch.no_grad()
def test_the_filter_that_is_needed_is_found():
    """A picture darker than its original, and noisy: what is chosen brings back most of what any filter can."""
    principal = principal_of()
    x = to_float(np.asarray(scene(96, 80)))
    x_hat = noisy(0.8 * x)
    found = sums(x_hat, x, 3)
    numbers = choose(principal, found, 1.0, 2, 96 * 80, LAM)
    assert numbers is not None and numbers[-1] == 0  # the last is never coded
    amounts = torch.from_numpy(numbers) * principal.step(1.0, 2)
    left = float((principal(x_hat, amounts) - x).square().sum())
    matrix, vector = project(found, principal.taps().double().numpy())
    foretold = found.error - 2 * vector @ amounts.numpy() + amounts.numpy() @ matrix @ amounts.numpy()
    assert left == pytest.approx(foretold, rel=1e-4)
    best = found.error - vector[:-1] @ np.linalg.solve(matrix[:-1, :-1], vector[:-1])
    assert best < left < best + 0.1 * (found.error - best) < 0.5 * found.error


def test_no_filter_where_none_pays():
    principal = principal_of()
    x = to_float(np.asarray(scene(96, 80)))
    assert choose(principal, sums(x, x, 3), 1.0, 2, 96 * 80, LAM) is None  # nothing to better
    assert choose(principal, sums(noisy(0.8 * x), x, 3), 1.0, 2, 96 * 80, 1e-9) is None  # nobody cares


def test_numbers_weigh_errors_against_bits():
    rng = np.random.default_rng(0)
    half = rng.normal(size=(5, 5))
    matrix, vector = half @ half.T + np.eye(5), rng.normal(size=5) * 20
    prices = np.abs(np.arange(32.0))[None].repeat(5, 0)
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
    writer = Writer()
    written = principal.code(writer, 1.49, hyper_latents, numbers)
    read = principal.code(Reader(writer.finish()), 1.49, hyper_latents)
    skipped = principal.belief(1.49, hyper_latents).skipped[0, 0]
    assert skipped[-1] and torch.equal(written, read)
    assert torch.equal(
        read[~skipped], (torch.from_numpy(numbers).double() * principal.step(1.49, hyper_latents))[~skipped]
    )


def test_larger_pictures_have_finer_steps():
    """Half a step for four times the pixels, and believed twice as wide in steps: the same amounts."""
    principal = principal_of()
    for usual, larger in ((64, 256), (127, 511)):
        assert principal.step(0.2, larger) == principal.step(0.2, usual) / 2
        difference = principal.belief(0.2, larger).raw - principal.belief(0.2, usual).raw
        assert torch.equal(difference, torch.ones_like(difference))


@pytest.mark.parametrize("size", [(130, 70), (64, 64), (1, 1), (700, 390)])
def test_files_state_it(codec, size, monkeypatch):
    """The same latents as without; nearer to the picture; crops and windows are of the filtered picture."""
    picture = scene(*size)
    pixels = np.asarray(picture)
    plain, data = codec.encode(picture, 60, filtered=False), codec.encode(picture, 60)
    assert torch.equal(codec.decode_latents(plain), codec.decode_latents(data))
    stated = [bool(read_container(file).header.flags & FILTERED) for file in (plain, data)]
    if size == (1, 1):
        assert data == plain  # nothing pays
        return
    assert stated == [False, True] and 0 < len(data) - len(plain) < 20
    decoded = codec.decode_array(data)
    assert psnr_db(decoded, pixels) > psnr_db(codec.decode_array(plain), pixels) + 0.02
    part = np.asarray(codec.decode(data, crop=(5, 7, 40, 31)))
    assert np.array_equal(part, decoded[7:38, 5:45])
    monkeypatch.setattr(Needs, "transform_side", lambda self, stride: 4)
    assert np.abs(codec.decode_array(data).astype(int) - decoded).max() <= 1


def test_grey_pictures_and_targets(codec):
    grey = scene(130, 70).convert("L")
    data = codec.encode(grey, 60)
    assert read_container(data).header.flags == FILTERED | 1 and codec.decode(data).mode == "L"
    pixels = np.asarray(scene(130, 70))
    for filtered in (True, False):
        data = codec.encode(scene(130, 70), target_psnr_db=27, filtered=filtered)
        assert psnr_db(codec.decode_array(data), pixels) >= 27
        assert bool(read_container(data).header.flags & FILTERED) == filtered


def test_of_a_large_picture_some_windows_are_looked_at(codec, monkeypatch):
    """As many as are enough, never in the same columns only; and it still pays."""
    whole = windows.Window(0, 0, 100, 160)
    seen = windows.looked_at(whole)
    assert 2000 < sum(window.area for window in seen) <= 4096
    assert {window.left for window in seen} == set(range(0, 160, 16))
    monkeypatch.setattr(windows, "LOOKED_AT", (2, 20))
    picture = scene(700, 390)
    data = codec.encode(picture, 60)
    without = codec.decode_array(codec.encode(picture, 60, filtered=False))
    assert psnr_db(codec.decode_array(data), np.asarray(picture)) > psnr_db(without, np.asarray(picture))


def test_a_filter_that_its_model_lacks_is_damage(tmp_path):
    plain = dataclasses.replace(ROW, config=dataclasses.replace(ROW.config, filter=None))
    codec = Codec(weights=small_checkpoint(plain, tmp_path))
    container = read_container(codec.encode(scene(64, 64)))
    header = dataclasses.replace(container.header, flags=FILTERED)
    with pytest.raises(BadFile, match="filter"):
        codec.decode(write_container(Container(header, container.sections)))


def test_it_begins_as_nothing():
    principal = PictureFilter(4, 5, 2)
    x = torch.rand(1, 3, 9, 7)
    assert not principal.learned and principal.belief(0.0, 96).skipped.all()
    assert torch.equal(principal(x, torch.ones(4)), x)


def test_what_pictures_differ_by_is_learnt():
    """Pictures a little too dark or too bright, by chance: the first principal filter is their brightness."""
    rng, examples = np.random.default_rng(0), []
    for seed in range(12):
        x = to_float(np.asarray(scene(64, 48, seed)))
        x_hat = (1 + 0.1 * rng.normal()) * x + 0.02 * torch.randn(
            x.shape, generator=torch.Generator().manual_seed(seed)
        )
        for level in range(2):
            found = sums(x_hat, x, 3)
            examples.append(Example(level, found, found.pixels))
    principal = PictureFilter(3, 3, 2)
    learn(principal, examples, [0.01, 0.1])
    kernel = principal.filters[:3].sum(dim=(2, 3))
    gains = kernel.diagonal() + principal.offsets[0] / 0.5
    assert principal.learned and (gains.sign() == gains[0].sign()).all() and float(gains.abs().min()) > 0.5
    assert (principal.raws[:, 0] > principal.raws[:, 2]).all()  # the first axis is the longest
    assert float(principal.steps[0] - principal.steps[1]) == pytest.approx(np.log2(10) / 2, abs=1e-3)
    average = sum(example.found.gram / example.found.pixels for example in examples) / len(examples)
    unit = Sums(average, np.zeros((28, 3)), 0.0, 1)
    assert np.allclose(project(unit, principal.taps().double().numpy())[0], np.eye(3), atol=1e-2)


def test_what_it_costs():
    """225 multiply-adds for each pixel; an encoder decodes the picture too."""
    with_one, without = count(ROW.config), count(dataclasses.replace(ROW.config, filter=None))
    assert with_one.decode == without.decode + 225
    assert with_one.encode == without.encode + without.synthesis.mac_per_pixel + with_one.choice.mac_per_pixel


@pytest.mark.parametrize("values", [{"count": 0}, {"side": 4}, {"side": 11}])
def test_senseless_configs_are_refused(values):
    with pytest.raises(UsageError):
        Filter(**values)
