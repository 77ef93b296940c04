"""The correlation loss against closed forms, a naive loop, the masks' oracles and finite differences."""

from __future__ import annotations

import itertools
import warnings

import pytest
import torch
from torch import Tensor

from lichen.coding.scales import SCALE_MIN
from lichen.errors import UsageError
from lichen.lab.losses.correlation import (
    Correlation,
    CorrelationLoss,
    Estimate,
    LatentSource,
    Mask,
    Reduction,
    correlation_loss,
    correlation_map,
    normalised,
    off_centre,
)
from lichen.lab.prior.families import LinearScale, LogScale
from lichen.lab.prior.latents import Latents

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA"))]
WINDOWS = (3, 5, 7)
FEW_TERMS = "ignore:the correlation loss sums"  # the sums of these tests are far smaller than the paper's


def field(u: Tensor) -> Latents:
    """Latents whose normalised form is `u`, behind a mean and a scale that differ everywhere."""
    generator = torch.Generator().manual_seed(9)
    scale = 0.2 + torch.rand(u.shape, generator=generator).to(u)
    mean = torch.randn(u.shape, generator=generator).to(u)
    return Latents(mean + scale * u, mean, scale)


def white(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def autoregressive(rho: float, dim: int) -> Tensor:
    """A stationary AR(1) of unit variance along one dimension, independent along the other."""
    u = white(2, 4, 150, 150).transpose(dim, 2).contiguous()
    for i in range(1, u.shape[2]):
        u[:, :, i] = rho * u[:, :, i - 1] + (1 - rho**2) ** 0.5 * u[:, :, i]
    return u.transpose(dim, 2)


def naive(u: Tensor, window: int) -> Tensor:
    """Eq. 10 as a loop over everything: (C, k, k)."""
    pictures, channels, height, width = u.shape
    reach = window // 2
    maps = torch.zeros(channels, window, window, dtype=u.dtype)
    centres = list(itertools.product(range(reach, height - reach), range(reach, width - reach)))
    for b, (row, column) in itertools.product(range(pictures), centres):
        around = u[b, :, row - reach : row + reach + 1, column - reach : column + reach + 1]
        maps += around * u[b, :, row, column][:, None, None]
    return maps / (pictures * len(centres))


@pytest.mark.parametrize("window", WINDOWS)
def test_white_noise_has_one_at_the_centre_and_nothing_else(window):
    found = correlation_map(field(white(4, 4, 80, 80)), Correlation(window))
    wanted = torch.zeros_like(found)
    wanted[window // 2, window // 2] = 1
    assert torch.allclose(found, wanted, atol=0.04)
    assert correlation_loss(field(white(4, 4, 80, 80)), Correlation(window)) < window**2 * 0.03**2


@pytest.mark.parametrize("dim", [2, 3])
def test_autoregressive_fields_fall_off_geometrically_along_their_direction(dim):
    rho = 0.7
    found = correlation_map(field(autoregressive(rho, dim)), Correlation(5))
    along = rho ** torch.tensor([2.0, 1, 0, 1, 2], dtype=torch.float64)
    line, across = (found[:, 2], found[2]) if dim == 2 else (found[2], found[:, 2])
    assert torch.allclose(line, along, atol=0.04)
    assert across[[0, 1, 3, 4]].abs().max() < 0.04
    loss = correlation_loss(field(autoregressive(rho, dim)), Correlation(5))
    assert float(loss) == pytest.approx(float((along**2).sum() - 1), rel=0.05)


@pytest.mark.parametrize("device", DEVICES)
def test_a_constant_correlates_everywhere(device):
    u = torch.full((2, 3, 9, 11), 1.5, device=device)
    latents = Latents(u, torch.zeros_like(u), torch.ones_like(u))
    assert torch.allclose(correlation_map(latents, Correlation(3)), torch.full((3, 3), 2.25, device=device))
    assert float(correlation_loss(latents)) == pytest.approx(8 * 2.25**2)
    assert float(off_centre(correlation_map(latents, Correlation(3)))) == pytest.approx(2.25)


@pytest.mark.filterwarnings(FEW_TERMS)
@pytest.mark.parametrize(
    ("window", "per_channel", "reduction"), [*itertools.product(WINDOWS, (False, True), Reduction)]
)
def test_it_is_the_naive_loop(window, per_channel, reduction):
    u = white(2, 3, 9, 8) + 0.3
    maps = naive(u, window)
    count = 2 * (9 - window + 1) * (8 - window + 1)
    if not per_channel:
        maps, count = maps.mean(dim=0, keepdim=True), count * 3
    maps = maps * (count if reduction is Reduction.SUM else 1)
    maps[:, window // 2, window // 2] = 0
    wanted = (maps**2).sum(dim=(1, 2)).mean()
    how = Correlation(window, per_channel=per_channel, reduction=reduction)
    assert float(correlation_loss(field(u), how)) == pytest.approx(float(wanted), rel=1e-9)
    if not per_channel:
        assert torch.allclose(correlation_map(field(u), how), naive(u, window).mean(dim=0))


@pytest.mark.filterwarnings(FEW_TERMS)
def test_alpha_converts_between_reductions_as_documented():
    """alpha_mean = alpha_sum n^2, and the paper's figures at its own size."""
    latents, n = field(white(2, 3, 10, 10)), 2 * 3 * 8 * 8
    by_mean = correlation_loss(latents, Correlation())
    by_sum = correlation_loss(latents, Correlation(reduction=Reduction.SUM))
    assert float(by_sum) == pytest.approx(float(by_mean) * n**2)
    n = 16 * 192 * 14 * 14
    assert float(f"{1e-13 * n**2:.2g}") == 0.036


def test_masks():
    names = {mask: "".join(".#"[int(v)] for v in mask.left_out(5).flatten()) for mask in Mask}
    assert names[Mask.POINT] == ".....|.....|..#..|.....|.....".replace("|", "")
    assert names[Mask.SHORT_CROSS] == ".....|..#..|.###.|..#..|.....".replace("|", "")
    assert names[Mask.LONG_CROSS] == "..#..|..#..|#####|..#..|..#..".replace("|", "")
    assert names[Mask.BORDER] == "#####|#...#|#.#.#|#...#|#####".replace("|", "")


def test_the_two_oracles_of_the_masks():
    """At 3 x 3 a long cross is a short one, and a border leaves nothing."""
    latents = field(white(2, 3, 12, 12) + 1)
    short, long = (correlation_loss(latents, Correlation(3, m)) for m in (Mask.SHORT_CROSS, Mask.LONG_CROSS))
    assert torch.equal(short, long) and float(short) > 0
    assert float(correlation_loss(latents, Correlation(3, Mask.BORDER))) == 0
    assert float(correlation_loss(latents, Correlation(5, Mask.BORDER))) > 0


@pytest.mark.parametrize("source", [LatentSource.Y, LatentSource.NOISY])
@pytest.mark.parametrize("per_channel", [False, True])
def test_gradients_are_those_of_finite_differences(source, per_channel):
    noise = white(2, 2, 5, 6, seed=3).clamp(-0.5, 0.5)
    how = Correlation(3, Mask.SHORT_CROSS, source, per_channel)

    def loss(y: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
        return correlation_loss(Latents(y, mean, scale), how, lambda x: noise)

    latents = field(white(2, 2, 5, 6))
    inputs = [t.requires_grad_() for t in (latents.y, latents.mean, latents.scale)]
    assert torch.autograd.gradcheck(loss, inputs)


def test_sources():
    y = torch.tensor([0.3, 1.6, -2.4]).view(1, 3, 1, 1).requires_grad_()
    latents = Latents(y, torch.zeros_like(y) + 0.25, torch.ones_like(y))
    rounded = normalised(latents, Correlation(source=LatentSource.STE))
    assert rounded.flatten().tolist() == pytest.approx([0, 1, -3])
    rounded.sum().backward()
    assert y.grad is not None and y.grad.flatten().tolist() == [1, 1, 1]
    noisy = normalised(latents, Correlation(source=LatentSource.NOISY), lambda x: torch.full_like(x, 0.5))
    assert noisy.flatten().tolist() == pytest.approx([0.55, 1.85, -2.15])


def test_the_default_noise_is_uniform():
    y = torch.zeros(1, 1, 200, 200)
    noisy = normalised(Latents(y, y, y + 1), Correlation(source=LatentSource.NOISY))
    assert float(noisy.min()) >= -0.5 and float(noisy.max()) < 0.5
    assert float(noisy.var()) == pytest.approx(1 / 12, rel=0.05)


def test_detach_keeps_the_gradient_of_y_only():
    latents = field(white(1, 2, 6, 6))
    y, mean, scale = (t.requires_grad_() for t in (latents.y, latents.mean, latents.scale))
    correlation_loss(Latents(y, mean, scale), Correlation(detach=True)).backward()
    assert y.grad is not None and mean.grad is None and scale.grad is None


def test_across_pictures_each_is_paired_with_the_one_before():
    """By hand: the mean over pairs of pictures, in a batch of two each other's."""
    u = white(2, 3, 9, 8) + 0.3
    how = Correlation(per_channel=True, across_pictures=True)
    pairs = [
        torch.stack(
            [(a[:, 1:-1, 1:-1] * b[:, r : r + 7, c : c + 6]).mean(dim=(1, 2)) for r in range(3) for c in range(3)]
        )
        for a, b in ((u[0], u[1]), (u[1], u[0]))
    ]
    maps = torch.stack(pairs).mean(dim=0)
    maps[4] = 0
    assert float(correlation_loss(field(u), how)) == pytest.approx(float((maps**2).sum(dim=0).mean()), rel=1e-9)


def test_across_pictures_sees_no_spatial_dependence_but_the_same_mean():
    """Smooth and independent pictures: nothing, but for chance. A picture and itself: the loss as it is."""
    smooth = autoregressive(0.9, 3)
    how = Correlation(per_channel=True, across_pictures=True)
    assert float(correlation_loss(field(smooth), how)) < 0.02
    assert float(correlation_loss(field(smooth))) > 1
    twice = smooth[:1].repeat(3, 1, 1, 1)
    alike = Latents(twice, torch.zeros_like(twice), torch.ones_like(twice))
    assert torch.equal(correlation_loss(alike, how), correlation_loss(alike, Correlation(per_channel=True)))


def test_what_across_pictures_asks_for():
    with pytest.raises(UsageError, match="needs at least two pictures"):
        correlation_loss(field(white(1, 2, 6, 6)), Correlation(across_pictures=True))
    for options in ({"normalise": True}, {"estimate": Estimate.UNBIASED}):
        with pytest.raises(UsageError, match="of the plain estimate alone"):
            Correlation(across_pictures=True, **options)


def test_the_scale_is_bounded_like_the_coders():
    y = torch.full((1, 1, 3, 3), 0.05)
    small = Latents(y, torch.zeros_like(y), torch.full_like(y, 1e-6))
    assert torch.allclose(correlation_map(small, Correlation()), torch.full((3, 3), (0.05 / SCALE_MIN) ** 2))


@pytest.mark.parametrize("scales", [LogScale(), LinearScale()])
def test_a_scale_at_its_bound_can_be_raised(scales):
    y = white(1, 2, 5, 5).float().abs() + 1  # equal signs correlate: a larger scale would lower the loss
    raw_scale = torch.full_like(y, -10.0, requires_grad=True)
    correlation_loss(Latents(y, torch.zeros_like(y), scales.scale(raw_scale))).backward()
    assert raw_scale.grad is not None and (raw_scale.grad < 0).any()


def test_small_latents_give_zero_and_one_warning():
    latents = field(white(2, 3, 4, 2))
    latents.y.requires_grad_()
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("default")
        losses = [correlation_loss(latents) for _ in range(3)]
    assert len(seen) == 1 and "smaller than the window" in str(seen[0].message)
    assert all(float(loss.detach()) == 0 for loss in losses)
    losses[0].backward()
    assert latents.y.grad is not None and not latents.y.grad.any()
    assert not correlation_map(latents, Correlation()).any()


@pytest.mark.parametrize(
    ("shape", "per_channel", "factor"),
    [
        ((16, 192, 16, 16), False, None),
        ((2, 192, 16, 16), False, None),  # an eighth of the terms
        ((1, 192, 16, 16), False, "0.0039"),
        ((1, 192, 8, 8), False, "0.00013"),  # batch 1 of crops of 128: 7 600 times weaker
        ((16, 2, 16, 16), True, None),
        ((1, 2, 8, 8), True, "0.00013"),
        ((1, 64, 400, 400), False, "2.8e+02"),
    ],
)
def test_a_sum_of_other_size_than_the_papers_is_warned_of_once(shape, per_channel, factor):
    u = torch.zeros(1).expand(shape)
    how = Correlation(per_channel=per_channel, reduction=Reduction.SUM)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("default")
        for _ in range(3):
            correlation_loss(Latents(u, u, u + 1), how)
    assert [str(w.message).split(" times")[0].split()[-1] for w in seen] == ([] if factor is None else [factor])


@pytest.mark.parametrize("device", DEVICES)
def test_float32_inside_under_autocast(device):
    u = white(2, 4, 12, 12).to(device, torch.float32) + 1
    latents = field(u)
    plain = correlation_loss(latents)
    with torch.autocast(device, torch.bfloat16):
        cast = correlation_loss(latents)
        half = correlation_loss(Latents(*(t.bfloat16() for t in (latents.y, latents.mean, latents.scale))))
    assert torch.equal(plain, cast)
    assert half.dtype == torch.float32


def test_the_module_form():
    latents = field(white(1, 2, 6, 6))
    how = Correlation(5)
    assert torch.equal(CorrelationLoss(0.25, how)(latents), 0.25 * correlation_loss(latents, how))


def test_other_windows_are_refused():
    with pytest.raises(UsageError, match="window must be 3, 5 or 7"):
        Correlation(4)
