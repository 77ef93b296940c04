"""Models and weights on the command line: lists, versions, imports, folders of weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from lichen.codec import Codec
from lichen.lab.models.zoo import ZOO
from lichen.options import Tune
from lichen.version import __version__
from tests.command import errors_of, run
from tests.helpers import OTHERS, size_of


def test_version_names_the_weights(folder, capsys):
    assert run("--version") == 0
    out = capsys.readouterr().out
    assert __version__ in out and Codec().checkpoint.hash.hex() in out


def test_models_are_listed(capsys):
    assert run("models") == 0
    listed = capsys.readouterr().out.splitlines()
    rows = [line.split()[:2] for line in listed if not line.startswith("     ")]
    assert rows == [[str(row.id), row.name] for row in ZOO]
    assert listed[1].startswith(f"     weights {Codec().checkpoint.hash.hex()}, trained for psnr: ")
    tuned = Codec(tune=Tune.MS_SSIM).checkpoint.hash.hex()
    assert listed[2].startswith(f"     weights {tuned}, trained for ms-ssim: ")
    assert run("models", "--json") == 0
    listed = json.loads(capsys.readouterr().out)
    assert [entry["id"] for entry in listed] == [row.id for row in ZOO]
    assert listed[0]["weights"][0]["hash"] == Codec().checkpoint.hash.hex() and not listed[1]["weights"]


def test_the_table_of_models(capsys, monkeypatch):
    monkeypatch.setattr("lichen.lab.models.zoo.ZOO", ZOO[:1])
    assert run("models", "--table") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].startswith(ZOO[0].name) and len(lines[1]) == len(lines[2])
    assert any("counted with their stride" in line for line in lines[3:])
    assert run("models", "--table", "--json") == 0
    (facts,) = json.loads(capsys.readouterr().out)
    assert facts["parameters"] == sum(part["parameters"] for part in facts["parts"].values())


def test_an_unknown_checkpoint_is_refused(folder, capsys):
    torch.save({"state_dict": {"a": torch.zeros(2)}}, "other.pth.tar")
    assert run("import", "other.pth.tar") == 3
    assert "none that is known" in errors_of(capsys) and not Path("other.safetensors").exists()


@pytest.mark.skipif(not (OTHERS / "vectors").exists(), reason="CompressAI's vectors are absent")
def test_import_then_encode(folder, capsys):
    stored = load_file(OTHERS / "vectors/mbt2018-mean.safetensors")
    state = {key.removeprefix("weights."): value for key, value in stored.items() if key.startswith("weights.")}
    torch.save({"state_dict": state}, "mean-3.pth.tar")
    assert run("import", "mean-3.pth.tar") == 0
    assert "mbt2018-mean -> mean-3.safetensors: minnen-hp" in capsys.readouterr().out
    assert run("import", "mean-3.pth.tar") == 3 and "exists" in errors_of(capsys)
    assert run("encode", "in/a.png", "--weights", "mean-3.safetensors") == 0
    assert run("decode", "in/a.lic", "--weights", "mean-3.safetensors", "-o", "a.png") == 0
    assert size_of("a.png") == (60, 40)


def test_a_weights_folder_without_the_model_is_not_passed_over(folder, capsys):
    Path("others").mkdir()
    assert run("encode", "in/a.png", "--weights", "others") == 3
    assert "no weights 'lichen' in others" in errors_of(capsys) and not Path("in/a.lic").exists()
    assert run("encode", "in/a.png") == 0 and run("decode", "in/a.lic", "--weights", "others", "-o", "b.png") == 0
