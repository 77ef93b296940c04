"""Inspection: the saving of a known field, the planes and numbers of a model, and the command."""

from __future__ import annotations

import io
import json
import math

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from lichen.cli import app
from lichen.errors import BadData, LichenError, UsageError
from lichen.image.picture import from_pil
from lichen.lab.inspection.channel_figures import draw_channels
from lichen.lab.inspection.inspect import inspect_model, magnitudes_of
from lichen.lab.inspection.latent_figures import draw_latents
from lichen.lab.inspection.latent_statistics import (
    CodedLatents,
    Spread,
    latent_histograms,
    neighbours_mean,
    rate_weighted,
    relative,
    saving_bits,
    spread_of,
)
from lichen.lab.inspection.reference_figures import draw_references
from lichen.lab.losses.correlation import channel_maps
from lichen.lab.models.checkpoint import load_checkpoint
from lichen.lab.models.zoo import row
from lichen.lab.prior.families import OURS
from lichen.lab.prior.latents import Latents
from lichen.lab.training.data import open_pictures
from tests.small import scene, small_checkpoint


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return load_checkpoint(small_checkpoint(row("lichen-hp"), tmp_path_factory.mktemp("inspect")))


def test_the_saving_of_fields_in_closed_form():
    """White noise: nothing. AR(1) along rows: -1/2 log2(1 - rho^2). Separable: the same in both directions."""
    white = torch.randn(1, 3, 400, 400, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    u, rho = white.clone(), 0.8
    for i in range(1, 400):
        u[0, 1:, :, i] = rho * u[0, 1:, :, i - 1] + math.sqrt(1 - rho**2) * white[0, 1:, :, i]
    for i in range(1, 400):
        u[0, 2, i] = rho * u[0, 2, i - 1] + math.sqrt(1 - rho**2) * u[0, 2, i]
    nothing, one, both = saving_bits(channel_maps(u, 5), 396**2).tolist()
    assert nothing < 1e-3
    assert one == pytest.approx(-0.5 * math.log2(1 - rho**2), rel=0.03)
    assert both == pytest.approx(-math.log2(1 - rho**2), rel=0.03)


def autoregressive(rhos: tuple[float, ...], seed: int = 1) -> torch.Tensor:
    """(1, C, 500, 500): in channel i neighbours in a row are correlated by rhos[i], rows are independent."""
    u = torch.randn(1, len(rhos), 500, 500, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    rho = torch.tensor(rhos, dtype=torch.float64)[None, :, None]
    for i in range(1, 500):
        u[..., i] = rho * u[..., i - 1] + (1 - rho**2).sqrt() * u[..., i]
    return u


def test_the_correlations_of_known_fields():
    """rho at a distance d along the row is rho^d, whatever the variance; elsewhere 0."""
    scale = torch.tensor([1.0, 3.0, 0.2])[None, :, None, None]
    rho = relative(channel_maps(scale * autoregressive((0.0, 0.8, -0.5)), 5))
    assert rho[:, 2].tolist() == [
        pytest.approx([0, 0, 1, 0, 0], abs=0.01),
        pytest.approx([0.64, 0.8, 1, 0.8, 0.64], abs=0.01),
        pytest.approx([0.25, -0.5, 1, -0.5, 0.25], abs=0.01),
    ]
    assert float(rho[:, [0, 1, 3, 4]].abs().max()) < 0.02
    assert neighbours_mean(rho).tolist() == pytest.approx([0, 2 * 0.8 / 8, 2 * 0.5 / 8], abs=0.005)


def test_signs_cancel_in_the_map_of_all_channels_but_not_by_rate():
    maps = channel_maps(autoregressive((0.6, -0.6, 0.0)), 5)
    assert float(neighbours_mean(relative(maps.mean(dim=0)))) < 0.005
    rho = relative(maps)
    assert rate_weighted(rho, torch.tensor([1.0, 1.0, 0.0])) == pytest.approx(2 * 0.6 / 8, abs=0.005)
    assert rate_weighted(rho, torch.tensor([1.0, 1.0, 6.0])) == pytest.approx(2 * 0.6 / 8 / 4, abs=0.005)
    assert rate_weighted(rho, torch.zeros(3)) == 0
    assert relative(torch.zeros(2, 5, 5)).abs().max() == 0  # a channel that is always its mean


def test_latents_are_counted_by_channel():
    y = torch.tensor([[[[0.0, 0.49, 0.5], [-0.01, 127.9, 5000.0]], [[-128.0, -9000.0, 3.2], [3.3, 3.4, 3.49]]]])
    counts = latent_histograms(y)
    assert counts.shape == (2, 512) and counts.sum(dim=1).tolist() == [6, 6]
    assert {i: int(n) for i, n in enumerate(counts[0]) if n} == {255: 1, 256: 2, 257: 1, 511: 2}
    assert {i: int(n) for i, n in enumerate(counts[1]) if n} == {0: 2, 262: 4}


def test_magnitudes_are_those_of_the_paper():
    """ELIC supplement, eq. 1 and 2: over the largest of all channels, in the order of their energies."""
    y_hat = torch.zeros(1, 10, 2, 2)
    y_hat[0, 7] = torch.tensor([[4.0, -2.0], [0.0, 1.0]])
    y_hat[0, 3] = 2.0
    found = magnitudes_of(y_hat)
    assert found.channels[:2] == (7, 3) and len(found.channels) == 8
    assert found.energy[:3].tolist() == [(16 + 4 + 1) / 4, 4, 0]
    assert found.maps[0].tolist() == [[1, 0.5], [0, 0.25]] and found.maps[1].eq(0.5).all()


def test_pictures_add_up():
    """The statistics of two pictures are those of their positions together."""
    y = (
        torch.randn(1, 3, 30, 40, generator=torch.Generator().manual_seed(2))
        + torch.tensor([0.0, 3.0, -1.0])[:, None, None]
    )
    zero, one = torch.zeros_like(y), torch.ones_like(y)
    parts = [y[..., :15], y[..., 15:]]
    each = [
        spread_of(
            CodedLatents(Latents(p, zero[..., : p.shape[3]], one[..., : p.shape[3]]), p.round(), OURS, 5.0, 2.0), 100
        )
        for p in parts
    ]
    both = Spread.added(each)
    assert (both.positions, both.pixels, both.bits_y, both.bits_z) == (1200, 200, 10.0, 4.0)
    assert (both.total / both.positions).tolist() == pytest.approx(y.mean(dim=(0, 2, 3)).tolist(), abs=1e-5)
    assert both.latent_histograms.equal(latent_histograms(y)) and both.centres == 26 * (11 + 21)
    assert (both.maps / both.centres)[:, 2, 2].tolist() == pytest.approx([1, 10, 2], rel=0.15)


@torch.no_grad()
def test_numbers_are_those_of_the_model(checkpoint):
    pictures = [from_pil(scene(160, 128, seed)) for seed in range(2)]
    found = inspect_model(checkpoint, [*pictures, from_pil(scene(40, 40))], 50)
    assert found.pictures == 2 and found.name == "lichen-hp"
    y_bpp, z_bpp = _estimate(checkpoint, pictures)
    assert (found.estimated_y_bpp, found.estimated_z_bpp) == (
        pytest.approx(y_bpp, rel=1e-4),
        pytest.approx(z_bpp, rel=1e-4),
    )
    assert found.estimated_bpp == pytest.approx(y_bpp + z_bpp, rel=1e-4) and z_bpp > 0
    assert found.off_centre == pytest.approx(
        float((found.correlation[1:4, 1:4].abs().sum() - found.correlation[2, 2]) / 8)
    )
    assert found.first.rate.shape == found.first.y_hat.shape == (8, 12)
    residual = found.first.y_hat - found.first.mean
    assert torch.allclose(residual, residual.round(), atol=1e-4)
    assert 0 <= found.saving_bpp < found.estimated_bpp
    numbers = json.loads(json.dumps(found.numbers()))
    assert numbers["pictures"] == 2 and numbers["rho_map"][2][2] == 1
    assert len(numbers["channel_rho_maps"]) == len(numbers["channel_bpp"]) == len(numbers["channel_mean"])
    assert 0 < numbers["rate_weighted_rho"] <= 1
    assert numbers["highest_entropy_channels"][0] == int(found.channel_bpp.argmax())
    assert f"y {y_bpp:.4f} and z {z_bpp:.4f}" in found.summary()


def _estimate(checkpoint, pictures) -> tuple[float, float]:
    """Bits per pixel of y and of z, by the model's own pass."""
    from lichen.lab.tensors import to_float

    rate_level = torch.tensor([0.5 * (checkpoint.config.rates.count - 1)])
    coded = [checkpoint.model(to_float(p.pixels), rate_level) for p in pictures]
    pixels = sum(p.pixels.shape[0] * p.pixels.shape[1] for p in pictures)
    return sum(float(c.bits_y) for c in coded) / pixels, sum(float(c.bits_z) for c in coded) / pixels


def test_two_models_side_by_side(checkpoint):
    found = inspect_model(checkpoint, [from_pil(scene(160, 128))])
    one, two = (Image.open(io.BytesIO(draw_latents([found] * count))) for count in (1, 2))
    assert two.width == 2 * one.width and two.height == one.height
    assert len(one.convert("RGB").getcolors(1 << 20)) > 100
    one, two = (Image.open(io.BytesIO(draw_channels([found] * count))) for count in (1, 2))
    assert two.height == 2 * one.height and two.width == one.width
    assert len(one.convert("RGB").getcolors(1 << 20)) > 100


def test_what_global_reference_refers_to(checkpoint, tmp_path):
    found = load_checkpoint(small_checkpoint(row("global-reference"), tmp_path))
    seen = inspect_model(found, [from_pil(scene(160, 128)), from_pil(scene(128, 192, 1))])
    assert seen.references is not None and torch.equal(seen.first.y_hat, seen.first.y_hat.round())
    matches = seen.references.matches
    places = torch.arange(matches.winner.numel()).view_as(matches.winner)
    assert (matches.winner < places.clamp(min=1)).all()
    assert matches.similarity.min() >= 0 and matches.similarity.max() <= 1
    assert matches.confidence.min() >= 0 and matches.confidence.max() <= 1
    numbers = json.loads(json.dumps(seen.numbers()))["global_reference"]
    assert numbers["stage_bpp"][-1] == pytest.approx(float(seen.channel_bpp.sum()), rel=1e-3)
    for region in numbers["regions"]:
        (down, right), (up, left) = region["target"], region["reference"]
        assert max(abs(down - up), abs(right - left)) > 2
        assert numbers["reference_map"][down][right] == [up, left]
        assert region["similarity"] == numbers["similarity_map"][down][right]
    assert "global_reference" not in inspect_model(checkpoint, [from_pil(scene(160, 128))]).numbers()
    assert draw_references([seen]).startswith(b"\x89PNG")


def test_what_cannot_be_inspected_is_said(checkpoint, tmp_path):
    with pytest.raises(BadData, match="5 x 5 latents"):
        inspect_model(checkpoint, [from_pil(scene(64, 64))])
    with pytest.raises(UsageError, match="quality"):
        inspect_model(checkpoint, [], 101)
    without = load_checkpoint(small_checkpoint(row("factorized"), tmp_path))
    with pytest.raises(UsageError, match="no scale"):
        inspect_model(without, [from_pil(scene(160, 128))])


def test_the_command(tmp_path):
    weights = small_checkpoint(row("lichen-hp"), tmp_path)
    (tmp_path / "pictures").mkdir()
    scene(160, 128).save(tmp_path / "pictures/a.png")
    (tmp_path / "pictures/b.png").write_bytes(b"broken")
    both = ["inspect", str(weights), str(weights), str(tmp_path / "pictures")]
    result = CliRunner().invoke(app, [*both, "--json"])
    assert result.exit_code == 0 and [m["pictures"] for m in json.loads(result.stdout)] == [1, 1]
    target = tmp_path / "a.png"
    assert CliRunner().invoke(app, [*both, "-o", str(target)]).exit_code == 0
    assert all((tmp_path / name).read_bytes().startswith(b"\x89PNG") for name in ("a.png", "a-channels.png"))
    target.unlink()
    assert isinstance(CliRunner().invoke(app, [*both, "-o", str(target)]).exception, LichenError)  # its other sheet
    assert not target.exists() and CliRunner().invoke(app, [*both, "-o", str(target), "--force"]).exit_code == 0
    assert isinstance(CliRunner().invoke(app, [*both, "-o", str(target)]).exception, LichenError)
    assert len(open_pictures(tmp_path / "pictures/a.png", 3)) == 1
    (tmp_path / "pictures/a.png").unlink()
    with pytest.raises(BadData, match="none of its pictures"):
        open_pictures(tmp_path / "pictures", 3)
