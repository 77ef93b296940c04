"""Weights of one model for two ends: chosen when encoding, found by their hash when decoding."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from PIL import Image

from lichen.bitstream.container import read_container
from lichen.cli import app
from lichen.codec import Codec
from lichen.errors import UnknownWeights, UsageError
from lichen.lab.models.checkpoint import available_weights
from lichen.lab.models.config import MsSsimRates, Rates
from lichen.lab.models.zoo import ZOO
from lichen.metrics import psnr_db
from lichen.options import Tune
from lichen.runtime import weights as weights_room
from lichen.runtime.weights import PACKAGED
from lichen.runtime.weights_file import weights_info
from tests.small import scene, small_checkpoint

PICTURE = scene(70, 50)


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """A folder of small weights of the default model for either end."""
    folder, other = tmp_path_factory.mktemp("both"), tmp_path_factory.mktemp("other")
    small_checkpoint(ZOO[0], folder)
    similar = dataclasses.replace(ZOO[0], config=dataclasses.replace(ZOO[0].config, rates=MsSsimRates()))
    small_checkpoint(similar, other, seed=1).rename(folder / "lichen-ms-ssim.safetensors")
    return folder


def run(*args):
    """The application's exit code; errors come out."""
    return app(list(map(str, args)), standalone_mode=False)


def test_a_file_finds_its_weights(both):
    plain, tuned = Codec(weights=both), Codec(weights=both, tune=Tune.MS_SSIM)
    data = tuned.encode(PICTURE, 70)
    assert plain.checkpoint.hash != tuned.checkpoint.hash == read_container(data).header.weights
    assert plain.checkpoint.name == tuned.checkpoint.name == "lichen"
    assert np.array_equal(plain.decode_array(data), tuned.decode_array(data))
    assert tuned.decode(plain.encode(PICTURE)).size == PICTURE.size


def test_the_command_line(both, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("LICHEN_WEIGHTS", str(both))
    monkeypatch.chdir(tmp_path)
    PICTURE.save("a.png")
    run("encode", "a.png", "--tune", "ms-ssim")
    run("encode", "a.png", "-o", "b.lic", "--tune", "psnr")
    capsys.readouterr()
    run("info", "--json", "a.lic", "b.lic")
    facts = json.loads(capsys.readouterr().out)
    assert [f["trained_for"] for f in facts] == ["ms-ssim", "psnr"]
    assert facts[0]["weights_at"] == str(both / "lichen-ms-ssim.safetensors")
    run("decode", "a.lic", "-o", "back.png")
    wanted = Codec(tune=Tune.MS_SSIM).decode_array((tmp_path / "a.lic").read_bytes())
    assert np.array_equal(np.asarray(Image.open("back.png")), wanted)
    run("models")
    assert f"trained for ms-ssim: {both / 'lichen-ms-ssim.safetensors'}" in capsys.readouterr().out


def test_targets_are_met(both):
    codec = Codec(weights=both, tune=Tune.MS_SSIM)
    size = len(codec.encode(PICTURE, 60))
    assert len(codec.encode(PICTURE, target_size_bytes=size)) <= size
    wanted = psnr_db(codec.decode_picture(codec.encode(PICTURE, 40)).pixels, np.asarray(PICTURE))
    data = codec.encode(PICTURE, target_psnr_db=wanted)
    assert psnr_db(codec.decode_picture(data).pixels, np.asarray(PICTURE)) >= wanted


def test_without_the_weights(both, tmp_path, monkeypatch):
    monkeypatch.setattr(weights_room, "PACKAGED", tmp_path)
    with pytest.raises(UnknownWeights, match=r"no weights 'lichen-ms-ssim' in .*, or leave the tune ms-ssim out"):
        Codec(tune=Tune.MS_SSIM)
    data = Codec(weights=both, tune=Tune.MS_SSIM).encode(PICTURE)
    with pytest.raises(UnknownWeights, match="give them by `weights`"):
        Codec(weights=both / "lichen.safetensors").decode(data)


def test_a_tune_by_its_name(both):
    assert Codec(weights=both, tune="ms-ssim").checkpoint.hash == Codec(weights=both, tune=Tune.MS_SSIM).checkpoint.hash
    with pytest.raises(UsageError, match="`tune` must be psnr or ms-ssim, not 'ssim'"):
        Codec(weights=both, tune="ssim")


def test_a_weights_file_needs_no_tune(both):
    with pytest.raises(UsageError, match="not both"):
        Codec(weights=both / "lichen.safetensors", tune=Tune.MS_SSIM)
    assert Codec(weights=both / "lichen-ms-ssim.safetensors").checkpoint.config.rates.count == 3


def test_refining_is_refused(both):
    codec = Codec(weights=both, tune=Tune.MS_SSIM)
    with pytest.raises(UsageError, match="leave it out, or tune for psnr"):
        codec.encode(PICTURE, refine_steps=1)


def test_shipped_weights_are_what_their_names_say():
    shipped = [weights_info(path) for path in PACKAGED.glob("*.safetensors")]
    assert shipped
    for weights in shipped:
        assert weights.trained_for.weights(weights.name) == weights.path.stem


def test_files_of_others_are_not_weights_info(both, tmp_path, monkeypatch):
    (tmp_path / "strange.safetensors").write_bytes(b"not weights")
    monkeypatch.setenv("LICHEN_WEIGHTS", f"{tmp_path}:{both}")
    assert [w.path.parent for w in available_weights()][:2] == [both, both]


def test_rates_for_either_end_mean_files_of_like_size():
    """Level by level, the rates of MS-SSIM know those of MSE."""
    for rate_level in range(8):
        assert MsSsimRates().mse_lam(rate_level) == pytest.approx(Rates().mse_lam(rate_level), rel=0.02)
