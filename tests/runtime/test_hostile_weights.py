"""Weights files that fit no graphs, and damaged graphs: errors of ours, those of the other engine where it can tell."""

from __future__ import annotations

import json
import shutil
import struct

import numpy as np
import pytest

from lichen.codec import Codec
from lichen.errors import BadCheckpoint, LichenError, OutOfMemory, UnknownWeights, UsageError
from lichen.options import EngineName
from lichen.runtime import graphs
from lichen.runtime.graphs import PACKAGED, Graphs, _Session
from lichen.runtime.weights import find_by_name
from tests.small import scene

ENGINES = (EngineName.ONNX, EngineName.TORCH)


class Shipped:
    """The shipped weights, to be bent: tensors by their stored names."""

    def __init__(self, name="lichen"):
        data = find_by_name(name).read_bytes()
        size = struct.unpack("<Q", data[:8])[0]
        header, body = json.loads(data[8 : 8 + size]), data[8 + size :]
        self.about = json.loads(header.pop("__metadata__")["lichen"])
        self.tensors = {}
        for key, entry in header.items():
            first, last = entry["data_offsets"]
            kind = {"F16": "<f2", "F32": "<f4"}[entry["dtype"]]
            self.tensors[key] = np.frombuffer(body[first:last], kind).reshape(entry["shape"])

    def one(self, start, end):
        """The name of the first tensor that starts and ends so."""
        return next(key for key in self.tensors if key.startswith(start) and key.endswith(end))

    def made(self):
        """The bytes of a sound file of these tensors."""
        header, body = {"__metadata__": {"lichen": json.dumps(self.about)}}, b""
        for key, tensor in self.tensors.items():
            kind = {"f2": "F16", "f4": "F32"}[tensor.dtype.str[1:]]
            place = [len(body), len(body) + tensor.nbytes]
            header[key] = {"dtype": kind, "shape": list(tensor.shape), "data_offsets": place}
            body += tensor.tobytes()
        text = json.dumps(header).encode()
        return struct.pack("<Q", len(text)) + text + body


def lacking(start, end):
    return lambda file: file.tensors.pop(file.one(start, end))


def reshaped(start, change):
    def hostile(file):
        name = next(k for k, t in file.tensors.items() if k.startswith(start) and len(set(t.shape)) > 1)
        file.tensors[name] = change(file.tensors[name])

    return hostile


def filled(start, end, value):
    def hostile(file):
        name = file.one(start, end)
        file.tensors[name] = np.full_like(file.tensors[name], value)

    return hostile


def other_config(file):
    file.about["config"] = Shipped("lichen-ms-ssim").about["config"]


MISFITS = {
    "no transform's weight": lacking("analysis.", "weight"),
    "no synthesis' bias": lacking("synthesis.", "bias"),
    "no prior's weight": lacking("prior.", "weight"),
    "no prior's bias": lacking("prior.", "bias"),
    "no table": lacking("prior.", "table"),
    "no filters": lacking("picture_filter.", "filters"),
    "one more": lambda file: file.tensors.update(more=np.zeros(3, "<f4")),
    "one more of nothing": lambda file: file.tensors.update(more=np.zeros(0, "<f4")),
    "a flat transform": reshaped("synthesis.", np.ravel),
    "a turned transform": reshaped("analysis.", np.transpose),
    "a flat prior": reshaped("prior.synthesis.", np.ravel),
    "a turned prior": reshaped("prior.context.", np.transpose),
    "turned filters": reshaped("picture_filter.", np.transpose),
    "another config": other_config,
    "a huge weight of the prior": filled("prior.synthesis.", "weight", 1000),
    "a huge filter": filled("picture_filter.", "filters", 1e30),
}


@pytest.mark.parametrize("hostile", MISFITS.values(), ids=MISFITS)
def test_weights_that_fit_no_graph_are_refused_by_both_engines(tmp_path, hostile):
    file, path = Shipped(), tmp_path / "lichen.safetensors"
    hostile(file)
    path.write_bytes(file.made())
    for engine in ENGINES:
        with pytest.raises(BadCheckpoint, match="train or download it anew"):
            Codec(weights=path, engine=engine).encode(scene(48, 32))


@pytest.mark.parametrize(
    ("start", "end"), [("analysis.", "weight"), ("synthesis.", "bias"), ("prior.", "bias"), ("prior.", "table")]
)
def test_extreme_weights_code_and_decode(tmp_path, start, end):
    """Large and finite: a file comes of it, and both engines decode it to the same latents."""
    file, path = Shipped(), tmp_path / "lichen.safetensors"
    filled(start, end, 6e4)(file)
    path.write_bytes(file.made())
    codecs = [Codec(weights=path, engine=engine) for engine in ENGINES]
    data = codecs[0].encode(scene(48, 32), 20)
    first, second = (codec.decode_latents(data).numpy() for codec in codecs)
    assert np.array_equal(first, second)


def test_a_config_without_graphs_is_named(tmp_path):
    """The lab says what is wrong with a config; graphs, that they are of others."""
    file, path = Shipped(), tmp_path / "lichen.safetensors"
    file.about["config"]["rates"]["low"] = float("nan")
    path.write_bytes(file.made())
    for engine in (EngineName.AUTO, EngineName.TORCH):
        with pytest.raises(BadCheckpoint, match="low must be positive"):
            Codec(weights=path, engine=engine)
    with pytest.raises(UsageError, match=r"no exported graphs .* leave `engine` out"):
        Codec(weights=path, engine=EngineName.ONNX)


def test_a_name_of_no_model(tmp_path):
    file, path = Shipped(), tmp_path / "lichen.safetensors"
    file.about["name"] = "nobody"
    path.write_bytes(file.made())
    for engine in ENGINES:
        with pytest.raises(UnknownWeights, match="nobody"):
            Codec(weights=path, engine=engine).encode(scene(48, 32))


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A copy of the graphs of the default model, in the place of those in the box."""
    folder = tmp_path / "graphs" / "lichen"
    shutil.copytree(PACKAGED / "lichen", folder)
    monkeypatch.setattr(graphs, "PACKAGED", folder.parent)
    graphs.packaged.cache_clear()
    yield folder
    graphs.packaged.cache_clear()


def with_manifest(change):
    def damage(folder):
        manifest = json.loads((folder / "manifest.json").read_text())
        change(manifest)
        (folder / "manifest.json").write_text(json.dumps(manifest))

    return damage


DAMAGES = {
    "a cut manifest": lambda folder: (folder / "manifest.json").write_text('{"model": "lich'),
    "a manifest of nothing": lambda folder: (folder / "manifest.json").write_text("[]"),
    "a manifest without halos": with_manifest(lambda manifest: manifest.pop("halos")),
    "no graph": lambda folder: (folder / "analysis.onnx").unlink(),
    "an empty graph": lambda folder: (folder / "predict2.onnx").write_bytes(b""),
    "a cut graph": lambda folder: (folder / "synthesis.onnx").write_bytes(
        (folder / "synthesis.onnx").read_bytes()[:999]
    ),
    "another graph": lambda folder: shutil.copy(folder / "post_filter.onnx", folder / "analysis.onnx"),
    "another step's": lambda folder: shutil.copy(folder / "predict1.onnx", folder / "predict2.onnx"),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_installation_is_said(installed, damage):
    damage(installed)
    with pytest.raises(UsageError, match="install Lichen anew, or set `engine` to torch"):
        codec = Codec(engine=EngineName.ONNX)
        codec.decode(codec.encode(scene(48, 32), 60))


def test_no_manifest_leaves_the_lab(installed):
    (installed / "manifest.json").unlink()
    with pytest.raises(UsageError, match="no exported graphs"):
        Codec(engine=EngineName.ONNX)
    codec = Codec()
    assert codec.decode(codec.encode(scene(48, 32))).size == (48, 32)


def test_what_runs_graphs_may_want_memory(monkeypatch):
    """Its own errors are none of Python's: of memory and of anything else."""

    class Session:
        def __init__(self, said):
            self.said = said

        def run(self, *_):
            raise type("RuntimeException", (Exception,), {})(self.said)

    codec = Codec(engine=EngineName.ONNX)
    full, faulty = (_Session(Session(said), [], []) for said in ("Failed to allocate memory for 9", "a fault"))
    monkeypatch.setattr(Graphs, "_session", lambda self, name: full)
    with pytest.raises(OutOfMemory, match="free some"):
        codec.encode(scene(48, 32))
    monkeypatch.setattr(Graphs, "_session", lambda self, name: faulty)
    with pytest.raises(Exception, match="a fault") as caught:
        codec.encode(scene(48, 32))
    assert not isinstance(caught.value, LichenError)
