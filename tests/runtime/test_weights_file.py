"""Weights files by numpy alone: they are those that PyTorch's library writes, and anything else is refused."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from lichen.errors import BadCheckpoint, UnknownWeights
from lichen.lab.models.checkpoint import load_checkpoint
from lichen.runtime.weights import find_by_name
from lichen.runtime.weights_file import read_weights, weights_info

FIRST, SECOND = "analysis.coarse.0.expand.bias", "prior.hyper_prior.mean.table"


class File:
    """A weights file in parts: its header, what it says of itself, and the bytes of its tensors."""

    def __init__(self, data):
        size = struct.unpack("<Q", data[:8])[0]
        self.whole, self.header, self.body = data, json.loads(data[8 : 8 + size]), data[8 + size :]
        self.about = json.loads(self.header.pop("__metadata__")["lichen"])

    def text(self):
        return json.dumps({"__metadata__": {"lichen": json.dumps(self.about)}, **self.header})

    def made(self, text=None):
        head = (self.text() if text is None else text).encode()
        return struct.pack("<Q", len(head)) + head + self.body


@pytest.fixture(scope="module")
def data(tiny):
    return tiny.engine.path.read_bytes()


def with_entry(**changes):
    def hostile(file):
        file.header[FIRST].update(changes)
        return file.made()

    return hostile


def with_about(**changes):
    def hostile(file):
        file.about.update(changes)
        return file.made()

    return hostile


def with_metadata(value):
    return lambda file: file.made(json.dumps({"__metadata__": value, **file.header}))


def moved(file):
    file.header[FIRST]["data_offsets"] = [place + 2 for place in file.header[FIRST]["data_offsets"]]
    return file.made()


def without_a_shape(file):
    del file.header[FIRST]["shape"]
    return file.made()


def left_out(file):
    del file.header[FIRST]
    return file.made()


def older_name_beside_todays(file):
    end = len(file.body)
    file.header["prior.side.mean.table"] = {"dtype": "F32", "shape": [1], "data_offsets": [end, end + 4]}
    file.body += bytes(4)
    return file.made()


def many_sides(file):
    end = len(file.body)
    file.header["more"] = {"dtype": "F32", "shape": [1] * 100, "data_offsets": [end, end + 4]}
    file.body += bytes(4)
    return file.made()


def nothing_of_much(file):
    end = len(file.body)
    file.header["more"] = {"dtype": "F32", "shape": [0, 2**62, 2**62], "data_offsets": [end, end]}
    return file.made()


DAMAGED = {
    "empty": lambda file: b"",
    "7 bytes": lambda file: file.whole[:7],
    "a length alone": lambda file: file.whole[:8],
    "cut in its header": lambda file: file.whole[:200],
    "cut in its tensors": lambda file: file.whole[:-1000],
    "a byte short": lambda file: file.whole[:-1],
    "a byte more": lambda file: file.whole + b"x",
    "a header beyond the file": lambda file: struct.pack("<Q", 2 * len(file.whole)) + file.whole[8:],
    "the longest header": lambda file: b"\xff" * 8 + file.whole[8:],
    "no JSON": lambda file: file.made("x" * 100),
    "no UTF-8": lambda file: struct.pack("<Q", 10) + b"\xff" * 10 + file.body,
    "a list": lambda file: file.made("[]"),
    "a deep list": lambda file: file.made("[" * 200_000),
    "no metadata": lambda file: file.made(json.dumps(file.header)),
    "metadata of another": with_metadata({"format": "pt"}),
    "metadata null": with_metadata(None),
    "metadata of numbers": with_metadata({"lichen": 3}),
    "metadata a list": with_metadata({"lichen": "[]"}),
    "metadata a deep list": with_metadata({"lichen": "[" * 200_000}),
    "a name that is none": with_about(name=3),
    "facts that are none": with_about(facts=[1]),
    "no config": with_about(config=None),
    "a config of text": with_about(config="lichen"),
    "a config of another thing": with_about(config={"kind": "Rates", "low": 1, "high": 2, "count": 3}),
    "an unknown type": with_entry(dtype="Q7"),
    "a type of whole numbers": with_entry(dtype="U16"),
    "another type": with_entry(dtype="F64"),
    "a type that is none": with_entry(dtype=["F16"]),
    "a scalar's shape": with_entry(shape=[]),
    "a huge shape": with_entry(shape=[10**6] * 6),
    "a shape that overflows": with_entry(shape=[2**32, 2**32]),
    "a negative shape": with_entry(shape=[-1, -1]),
    "a shape of fractions": with_entry(shape=[1.5]),
    "a shape without end": lambda file: file.made(file.text().replace('"shape": [', '"shape": [1e400, ', 1)),
    "a shape of text": with_entry(shape="abc"),
    "a shape of many sides": many_sides,
    "a huge shape of nothing": nothing_of_much,
    "places swapped": with_entry(data_offsets=[16, 0]),
    "places beyond": with_entry(data_offsets=[10**9, 10**9 + 16]),
    "negative places": with_entry(data_offsets=[-16, 0]),
    "one place": with_entry(data_offsets=[0]),
    "places that overlap": moved,
    "no shape": without_a_shape,
    "bytes between": left_out,
    "a name twice": lambda file: file.made(file.text()[:-1] + ', "x": {}, "x": {}}'),
    "metadata twice": lambda file: file.made(file.text()[:-1] + ', "__metadata__": {}}'),
    "a tensor by both its names": older_name_beside_todays,
}


@pytest.mark.parametrize("hostile", DAMAGED.values(), ids=DAMAGED)
def test_damaged_files_are_refused_by_both_readers(data, tmp_path, hostile):
    path = tmp_path / "lichen.safetensors"
    path.write_bytes(hostile(File(data)))
    for read in (read_weights, load_checkpoint):
        with pytest.raises(BadCheckpoint, match=r"lichen\.safetensors: .*train or download it anew$"):
            read(path)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", [FIRST, SECOND])
def test_weights_that_are_not_finite_are_refused(data, tmp_path, name, value):
    file, path = File(data), tmp_path / "a.safetensors"
    at = file.header[name]["data_offsets"][1]
    one = np.array(value, {"F16": "<f2", "F32": "<f4"}[file.header[name]["dtype"]]).tobytes()
    file.body = file.body[: at - len(one)] + one + file.body[at:]
    path.write_bytes(file.made())
    for read in (read_weights, load_checkpoint):
        with pytest.raises(BadCheckpoint, match="not finite; train or download it anew"):
            read(path)


def test_numbers_are_those_of_the_library(data, tmp_path):
    """In each of the types of fractions; what float32 cannot hold is refused."""
    file, path = File(data), tmp_path / "a.safetensors"
    said = {"lichen": json.dumps(file.about)}
    torch.manual_seed(0)
    types = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
    tensors = {f"t{number}": torch.randn(3, 4).to(kind) for number, kind in enumerate(types)}
    tensors |= {"none": torch.zeros(0, 2), "scalar": torch.tensor(2.5).bfloat16()}
    save_file(tensors, path, said)
    found = read_weights(path)
    assert set(found.entries) == set(tensors)
    for name, tensor in load_file(path).items():
        assert torch.equal(torch.from_numpy(found.floats(name)), tensor.float())
    with pytest.raises(BadCheckpoint, match="has no tensor other"):
        found.floats("other")
    save_file({"t": torch.tensor([1e300], dtype=torch.float64)}, path, said)
    with pytest.raises(BadCheckpoint, match="not finite"):
        read_weights(path)


def test_what_cannot_be_read(tmp_path):
    for path in (tmp_path, tmp_path / "none.safetensors"):
        for read in (read_weights, load_checkpoint):
            with pytest.raises(UnknownWeights, match="check the path"):
                read(path)


def test_a_sound_file_says_what_it_is(data, tmp_path):
    path = tmp_path / "a.safetensors"
    file = File(data)
    path.write_bytes(file.made())
    found, info = read_weights(path), weights_info(path)
    assert (found.name, found.hash) == (info.name, info.hash) == ("lichen", load_checkpoint(path).hash)
    assert set(found.entries) == set(load_checkpoint(path).model.state_dict())


@pytest.mark.parametrize("changes", [{"zzz": 1}, {"rates": json.loads("[" * 400 + "]" * 400)}, {"context": None}])
def test_configs_that_are_none_of_this_version(data, tmp_path, changes):
    """Of which graphs there are, its digest says; what it means, the lab alone."""
    file, path = File(data), tmp_path / "a.safetensors"
    file.about["config"].update(changes)
    path.write_bytes(file.made())
    assert read_weights(path).config_digest != read_weights(find_by_name("lichen")).config_digest
    with pytest.raises(BadCheckpoint, match=r"its (config is none|tensors do not fit) .* download it anew$"):
        load_checkpoint(path)


def test_what_training_started_from_is_no_matter_of_graphs(data, tmp_path):
    file, path = File(data), tmp_path / "a.safetensors"
    digests = set()
    for start in ("CosineAtoms", "RandomAtoms"):
        file.about["config"]["transform"]["start_atoms"] = {"kind": start}
        path.write_bytes(file.made())
        assert type(load_checkpoint(path).config.transform.start_atoms).__name__ == start
        digests.add(read_weights(path).config_digest)
    del file.about["config"]["transform"]["start_atoms"]
    path.write_bytes(file.made())
    assert digests == {read_weights(path).config_digest}
