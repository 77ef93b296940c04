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
from lichen.lab.inspection.inspect import inspect_model, saving_bits
from lichen.lab.inspection.latent_figures import draw
from lichen.lab.inspection.lookup_figures import draw_lookups
from lichen.lab.losses.correlation import channel_maps
from lichen.lab.models.checkpoint import load_checkpoint
from lichen.lab.models.zoo import row
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


@torch.no_grad()
def test_numbers_are_those_of_the_model(checkpoint):
    pictures = [from_pil(scene(160, 128, seed)) for seed in range(2)]
    found = inspect_model(checkpoint, [*pictures, from_pil(scene(40, 40))], 50)
    assert found.pictures == 2 and found.name == "lichen-hp"
    assert found.estimated_bpp == pytest.approx(_estimate(checkpoint, pictures), rel=1e-4)
    assert found.off_centre == pytest.approx(
        float((found.correlation[1:4, 1:4].abs().sum() - found.correlation[2, 2]) / 8)
    )
    assert found.first.rate.shape == found.first.y_hat.shape == (8, 12)
    residual = found.first.y_hat - found.first.mean
    assert torch.allclose(residual, residual.round(), atol=1e-4)
    assert 0 <= found.saving_bpp < found.estimated_bpp
    assert json.loads(json.dumps(found.numbers()))["pictures"] == 2


def _estimate(checkpoint, pictures) -> float:
    from lichen.lab.tensors import to_float

    level = torch.tensor([0.5 * (checkpoint.config.rates.count - 1)])
    bits = [float(checkpoint.model(to_float(p.pixels), level).bits) for p in pictures]
    return sum(bits) / sum(p.pixels.shape[0] * p.pixels.shape[1] for p in pictures)


def test_two_models_side_by_side(checkpoint):
    found = inspect_model(checkpoint, [from_pil(scene(160, 128))])
    one, two = (Image.open(io.BytesIO(draw([found] * count))) for count in (1, 2))
    assert two.width == 2 * one.width and two.height == one.height
    assert len(one.convert("RGB").getcolors(1 << 20)) > 100


def test_what_global_reference_refers_to(checkpoint, tmp_path):
    found = load_checkpoint(small_checkpoint(row("global-reference"), tmp_path))
    seen = inspect_model(found, [from_pil(scene(160, 128)), from_pil(scene(128, 192, 1))])
    assert seen.lookup is not None and torch.equal(seen.first.y_hat, seen.first.y_hat.round())
    matches = seen.lookup.matches
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
    assert draw_lookups([seen]).startswith(b"\x89PNG")


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
    assert target.read_bytes().startswith(b"\x89PNG")
    assert isinstance(CliRunner().invoke(app, [*both, "-o", str(target)]).exception, LichenError)
    assert len(open_pictures(tmp_path / "pictures/a.png", 3)) == 1
    (tmp_path / "pictures/a.png").unlink()
    with pytest.raises(BadData, match="none of its pictures"):
        open_pictures(tmp_path / "pictures", 3)
