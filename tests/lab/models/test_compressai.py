"""CompressAI's checkpoints give its own latents, pictures and bits (vectors of version 1.2.8)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn.functional import conv2d

from lichen.codec import Codec
from lichen.errors import LichenError, UnknownCheckpoint
from lichen.lab.models import compressai
from lichen.lab.models.config import from_json, to_json
from lichen.lab.prior.families import gaussian_bits
from tests.helpers import OTHERS
from tests.small import scene

VECTORS = OTHERS / "vectors"
ROWS = {
    "bmshj2018-factorized": "factorized",
    "bmshj2018-hyperprior": "scale-hyperprior",
    "mbt2018-mean": "minnen-hp",
    "mbt2018": "minnen-ar",
    "cheng2020-anchor": "cheng-ar",
    "cheng2020-anchor-checkerboard": "cheng-checkerboard",
    "elic2022-official": "elic-library",
}
SERIAL = {"mbt2018", "cheng2020-anchor"}

pytestmark = pytest.mark.skipif(not VECTORS.exists(), reason="CompressAI's vectors are absent")


def vectors(name: str) -> dict[str, torch.Tensor]:
    return load_file(VECTORS / f"{name}.safetensors")


def weights(name: str) -> dict[str, torch.Tensor]:
    return {k.removeprefix("weights."): v for k, v in vectors(name).items() if k.startswith("weights.")}


@pytest.mark.parametrize("name", ROWS)
@torch.no_grad()
def test_latents_picture_and_bits_are_the_librarys(name):
    given, rate_level = vectors(name), torch.zeros(1)
    imported = compressai.load(weights(name))
    assert (imported.row, imported.architecture) == (ROWS[name], name)
    assert from_json(to_json(imported.config)) == imported.config
    model = imported.model
    y = model.analyse(given["in.x"], rate_level)
    assert float((y - given["out.y"]).abs().max()) < 1e-4
    coded = model(given["in.x"], rate_level)
    assert float((coded.x_hat - given["out.x_hat"]).abs().max()) < 1e-4
    bits_y = -torch.log2(given["out.likelihoods.y"]).sum()
    if "out.likelihoods.z" in given:
        bits_z = -torch.log2(given["out.likelihoods.z"]).sum()
        assert float(coded.bits_z) == pytest.approx(float(bits_z), rel=1e-3)
    if name in SERIAL:
        mean, scale = coded.latents.mean, coded.latents.scale
        ours = gaussian_bits(torch.round(y - mean), scale, compressai.FLOOR).sum()  # y_hat = round(y - mean) + mean
    else:
        ours = coded.bits_y.sum()
    assert float(ours) == pytest.approx(float(bits_y), rel=1e-3)


def attention_of(channels: int) -> dict[str, torch.Tensor]:
    """The tensors of CompressAI's AttentionBlock."""
    half, tensors = channels // 2, {}
    shapes = {0: (half, channels, 1, 1), 2: (half, half, 3, 3), 4: (channels, half, 1, 1)}
    for branch in ("conv_a", "conv_b"):
        for unit in range(3):
            tensors |= {f"{branch}.{unit}.conv.{i}.weight": 0.3 * torch.randn(shape) for i, shape in shapes.items()}
            tensors |= {f"{branch}.{unit}.conv.{i}.bias": torch.randn(shape[0]) for i, shape in shapes.items()}
    return tensors | {"conv_b.3.weight": torch.randn(channels, channels, 1, 1), "conv_b.3.bias": torch.randn(channels)}


def attention_by_hand(x: torch.Tensor, tensors: dict[str, torch.Tensor]) -> torch.Tensor:
    def branch(name):
        out = x
        for unit in range(3):
            inner = out
            for i in (0, 2, 4):
                key = f"{name}.{unit}.conv.{i}"
                inner = conv2d(inner, tensors[f"{key}.weight"], tensors[f"{key}.bias"], padding=int(i == 2))
                inner = inner.relu() if i < 4 else inner
            out = (inner + out).relu()
        return out

    mask = conv2d(branch("conv_b"), tensors["conv_b.3.weight"], tensors["conv_b.3.bias"])
    return x + branch("conv_a") * torch.sigmoid(mask)


@torch.no_grad()
def test_attention_blocks_are_known():
    """cheng2020-attn, made of cheng2020-anchor's tensors with attention after layers 2 and 6 of g_a, 0 and 4 of g_s."""
    torch.manual_seed(0)
    blocks = {f"g_{side}": attention_of(16) for side in "as"}
    moves = {"g_a.": lambda i: i + (i >= 3), "g_s.": lambda i: i + 1 + (i >= 4)}
    state = {}
    for key, value in weights("cheng2020-anchor").items():
        side = key[:4]
        if side in moves:
            i, rest = key[4:].split(".", 1)
            key = f"{side}{moves[side](int(i))}.{rest}"  # noqa: PLW2901
        state[key] = value
    for place in ("g_a.3", "g_a.8", "g_s.0", "g_s.5"):
        state |= {f"{place}.{name}": value for name, value in blocks[place[:3]].items()}
    imported = compressai.load(state)
    assert (imported.row, imported.architecture) == ("cheng-ar", "cheng2020-attn")
    x = torch.randn(1, 16, 6, 5)
    for layer, tensors in (
        (imported.model.analysis.body[8], blocks["g_a"]),
        (imported.model.synthesis.body[5], blocks["g_s"]),
    ):
        assert torch.allclose(layer(x), attention_by_hand(x, tensors), atol=1e-4)


OLDER = {
    "entropy_bottleneck.matrices.": ("entropy_bottleneck._matrix", "entropy_bottleneck._matrices."),
    "entropy_bottleneck.biases.": ("entropy_bottleneck._bias", "entropy_bottleneck._biases."),
    "entropy_bottleneck.factors.": ("entropy_bottleneck._factor", "entropy_bottleneck._factors."),
    ".skip.": (".downsample.", ".skip."),
}


@pytest.mark.parametrize("age", [0, 1])
@pytest.mark.parametrize("name", ["mbt2018-mean", "cheng2020-anchor"])
def test_older_names_are_the_same(name, age):
    state = weights(name)
    older = {}
    for key, value in state.items():
        then = key
        for new, olds in OLDER.items():
            then = then.replace(new, olds[age])
        older[f"module.{then}"] = value
    assert set(older) != set(state)
    now, then = (compressai.load(s).model.state_dict() for s in (state, older))
    assert all(torch.equal(now[key], then[key]) for key in now)


@pytest.mark.parametrize("name", ["cheng2020-anchor-checkerboard", "elic2022-official"])
def test_newer_wrapping_is_the_same(name):
    state = weights(name)
    newer = {k.replace("hyper.h_", "h_").replace("hyper.entropy", "z.entropy"): v for k, v in state.items()}
    now, then = (compressai.load(s).model.state_dict() for s in (state, newer))
    assert all(torch.equal(now[key], then[key]) for key in now)


@pytest.mark.parametrize("prefix", ["_orig_mod.", "model.", "net.", "module.module.", "model._orig_mod.module."])
def test_prefixes_are_left_out(prefix):
    state = weights("bmshj2018-factorized")
    now, then = (compressai.load(s).model.state_dict() for s in (state, {prefix + k: v for k, v in state.items()}))
    assert all(torch.equal(now[key], then[key]) for key in now)


@pytest.mark.parametrize("keys", [["model"], ["net"], ["model_state_dict"], ["model", "state_dict"]])
def test_what_trainers_wrap_is_unwrapped(keys, tmp_path):
    data = state = weights("bmshj2018-factorized")
    for key in reversed(keys):
        data = {key: data, "epoch": 3, "optimizer": {"state": {}}}
    torch.save(data, tmp_path / "a.pth.tar")
    assert set(compressai.read(tmp_path / "a.pth.tar")) == set(state)


def test_what_is_not_finite_is_refused():
    state = weights("bmshj2018-factorized")
    state["g_s.0.bias"] = state["g_s.0.bias"].clone()
    state["g_s.0.bias"][1] = torch.nan
    with pytest.raises(UnknownCheckpoint, match=r"g_s\.0\.bias has NaN or infinite values: its training diverged"):
        compressai.load(state)


def test_cut_files_are_said_to_be_cut(tmp_path):
    state = {f"g_a.{i}.weight": torch.randn(8, 8) for i in range(90)}
    torch.save(state, tmp_path / "new.pth")
    torch.save(state, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    save_file(state, tmp_path / "a.safetensors")
    for name in ("new.pth", "old.pth", "a.safetensors"):
        data = (tmp_path / name).read_bytes()
        for size in (len(data) - 100, len(data) // 2, 333, 222, 111, 50):
            (tmp_path / name).write_bytes(data[:size])
            with pytest.raises(UnknownCheckpoint, match="damaged"):
                compressai.read(tmp_path / name)


def without(state, key):
    return {k: v for k, v in state.items() if k != key}


@pytest.mark.parametrize(
    "spoil",
    [
        lambda s: {},
        lambda s: {"encoder.weight": torch.zeros(3)},
        lambda s: without(s, "h_s.2.bias"),
        lambda s: without(s, "entropy_bottleneck.quantiles"),
        lambda s: without(s, "context_prediction.mask"),
        lambda s: s | {"gain": torch.ones(4)},
        lambda s: s | {"g_a.9.weight": torch.zeros(4)},
        lambda s: s | {"context_prediction.mask": s["context_prediction.mask"].flip(3)},
        lambda s: s | {"h_s.4.weight": s["h_s.4.weight"][:-2]},
        lambda s: s | {"entropy_parameters.0.weight": s["entropy_parameters.0.weight"][:, 1:]},
        lambda s: without(without(s, "g_a.1.beta"), "g_a.1.gamma"),
    ],
)
def test_anything_else_is_unknown(spoil):
    with pytest.raises(UnknownCheckpoint, match="known are") as caught:
        compressai.load(spoil(weights("mbt2018")))
    assert isinstance(caught.value, LichenError) and "\n" not in str(caught.value)


def test_a_file_is_read_without_running_code(tmp_path):
    state = weights("mbt2018-mean")
    torch.save({"epoch": 3, "state_dict": state}, tmp_path / "a.pth.tar")
    assert set(compressai.read(tmp_path / "a.pth.tar")) == set(state)
    torch.save({"state_dict": state, "odd": Path("x")}, tmp_path / "b.pth.tar")
    (tmp_path / "c.pth.tar").write_bytes(b"nothing")
    save_file(state, tmp_path / "d.safetensors")
    assert set(compressai.read(tmp_path / "d.safetensors")) == set(state)
    torch.save([1, 2], tmp_path / "e.pth.tar")
    for name in ("b.pth.tar", "c.pth.tar", "e.pth.tar", "missing.pth.tar"):
        with pytest.raises(UnknownCheckpoint):
            compressai.read(tmp_path / name)


@pytest.mark.parametrize("name", ROWS)
def test_an_imported_checkpoint_codes_files(name, tmp_path):
    torch.save({"state_dict": weights(name)}, tmp_path / f"{name}.pth.tar")
    out = compressai.convert(tmp_path / f"{name}.pth.tar", tmp_path / "ours.safetensors", force=False)
    codec = Codec(weights=out.path)
    picture = scene(150, 90)
    data = codec.encode(picture)
    decoded = np.asarray(codec.decode(data))
    assert decoded.shape == (90, 150, 3)
    with torch.no_grad():
        x = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None] / 255
        model = compressai.load(weights(name)).model
        coded = model(x, torch.zeros(1))
    # Latents of random weights are often at the floor of 1e-9, where a file's escapes cost otherwise.
    assert abs(float(coded.bits) / 8 - len(data)) <= 0.15 * len(data) + 64
    wanted = (coded.x_hat[0].permute(1, 2, 0).clamp(0, 1) * 255).round().numpy()
    assert np.abs(decoded - wanted).mean() < 1
