"""The range coder in Python and constriction: the same bytes, the same symbols, the same errors."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.requirements import Requirement

from lichen.bitstream.container import Kind, read_container, write_container
from lichen.codec import Codec
from lichen.coding.backend import VARIABLE, chosen
from lichen.coding.backend_python import PythonBackend
from lichen.coding.rangecoder import SymbolReader, SymbolWriter
from lichen.coding.table_index import SYMBOL_MAX
from lichen.coding.tables import PRECISION, Tables, fractional_mean, load_tables, per_channel, zero_mean
from lichen.errors import BadCheckpoint, BadFile, UsageError
from tests.coding.backends import BACKENDS, HAS_CONSTRICTION, needs_constriction, under
from tests.small import scene

Call = tuple[list[int], list[int]]  # symbols, and the table of each
FROZEN = [zero_mean("gaussian"), zero_mean("logistic"), fractional_mean()]
GOLDEN = Path(__file__).parents[1] / "golden"
DIGESTS = json.loads((GOLDEN / "digests.json").read_text())


@pytest.fixture(scope="module", autouse=True)
def backend():
    """These tests choose for themselves."""


@st.composite
def random_tables(draw) -> Tables:
    """Tables of any sizes, some of which leave next to nothing for all entries but one."""
    entries = []
    for _ in range(draw(st.integers(1, 4))):
        size = 2 * draw(st.integers(1, 12))
        weights = np.array(draw(st.lists(st.integers(0, 2**20), min_size=size, max_size=size)), dtype=np.float64)
        weights **= draw(st.sampled_from([0.0, 1.0, 4.0]))
        frequencies = 1 + np.floor(weights / max(weights.sum(), 1) * (2**PRECISION - size)).astype(np.int64)
        frequencies[draw(st.integers(0, size - 1))] += 2**PRECISION - frequencies.sum()
        entries.append(frequencies)
    return Tables(np.array([len(f) // 2 - 1 for f in entries], np.int32), entries.__getitem__)


symbol = st.one_of(st.integers(-3, 3), st.integers(-2000, 2000), st.integers(-SYMBOL_MAX, SYMBOL_MAX))


@st.composite
def random_calls(draw) -> tuple[Tables, list[Call]]:
    tables = draw(st.one_of(random_tables(), st.sampled_from(FROZEN)))
    pair = st.tuples(symbol, st.integers(0, len(tables.radii) - 1))
    calls = draw(st.lists(st.lists(pair, max_size=40), max_size=6))
    return tables, [([s for s, _ in call], [i for _, i in call]) for call in calls]


def written(name: str, tables: Tables, calls: list[Call]) -> bytes:
    with under(name):
        writer = SymbolWriter()
        for symbols, index in calls:
            writer.write(np.array(symbols, np.int32), np.array(index, np.int64), tables)
        return writer.finish()


def read(name: str, payload: bytes, tables: Tables, calls: list[Call]) -> list[list[int]] | None:
    """The symbols, None where the payload is refused."""
    with under(name):
        reader = SymbolReader(payload)
        try:
            return [reader.read(np.array(index, np.int64), tables).tolist() for _, index in calls]
        except BadFile:
            return None


@needs_constriction
@settings(max_examples=400, deadline=None)
@given(random_calls())
def test_both_write_the_same_bytes_and_read_each_others(case):
    tables, calls = case
    payloads = [written(name, tables, calls) for name in BACKENDS]
    assert payloads[0] == payloads[1]
    for name in BACKENDS:
        assert read(name, payloads[0], tables, calls) == [symbols for symbols, _ in calls]


words = st.sampled_from([0, 1, 2**31, 2**31 - 1, 2**32 - 1]) | st.integers(0, 2**32 - 1)
payloads = st.binary(max_size=80) | st.lists(words, max_size=20).map(lambda w: np.array(w, "<u4").tobytes())
INDEX = np.tile(np.arange(64), 6).tolist()


@needs_constriction
@settings(max_examples=400, deadline=None)
@given(payloads, st.sampled_from(FROZEN), st.integers(0, 20))
def test_both_get_the_same_out_of_arbitrary_bytes_and_write_it_again(payload, tables, stride):
    """Words of ones and zeros are where an encoder's carries run far."""
    calls = [([], INDEX[:40]), ([], [i * stride % len(tables.radii) for i in INDEX]), ([], INDEX)]
    found = [read(name, payload, tables, calls) for name in BACKENDS]
    assert found[0] == found[1]
    if found[0] is not None:
        again = [(symbols, index) for symbols, (_, index) in zip(found[0], calls, strict=True)]
        assert len({written(name, tables, again) for name in BACKENDS}) == 1


@needs_constriction
@settings(max_examples=300, deadline=None)
@given(random_calls(), st.data())
def test_both_get_the_same_out_of_a_damaged_payload(case, data):
    tables, calls = case
    damaged = bytearray(written("python", tables, calls) + bytes(4))
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= data.draw(st.integers(1, 255))
    damaged = damaged[: data.draw(st.integers(0, len(damaged)))]
    assert read("python", bytes(damaged), tables, calls) == read("constriction", bytes(damaged), tables, calls)


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("count", [2, 3, 50])
@pytest.mark.parametrize("stream", [(2**31 - 1, 2**32 - 1, 2**32 - 1), (2**31, 0, 1)], ids=["no carry", "carry"])
def test_a_carry_runs_through_any_number_of_words(name, count, stream):
    """The intervals lie across the middle until the last of these words: only it decides about all before it."""
    first, middle, last = stream
    payload = np.array([first, *[middle] * count, last], "<u4").tobytes()
    calls = [([], [25] * (16 * count + 20))]
    found = read(name, payload, zero_mean(), calls)
    assert found is not None
    again = written(name, zero_mean(), [(found[0], calls[0][1])])
    assert again[: 4 * count] == payload[: 4 * count]
    assert read(name, again, zero_mean(), calls) == found


@pytest.mark.parametrize("name", BACKENDS)
def test_the_widest_range_that_is_shifted(name):
    """(2^40 - 1) * 1 is the range after the first symbol, 65535 * 65537 = 2^32 - 1 after the second."""
    edge = per_channel(np.array([[1, 65537, 2**24 - 65539, 1]]))
    calls = [([-1, 0, 0, 1], [0] * 4)]
    payload = written(name, edge, calls)
    assert payload.hex() == "00000000020102"
    assert read(name, payload, edge, calls) == [calls[0][0]]


@pytest.mark.parametrize("name", BACKENDS)
def test_a_place_beyond_all_entries_is_refused(name):
    """At the start range = 2^64 - 1, so that a point of all ones lies beyond 2^24 equal parts."""
    assert read(name, b"\xff" * 8, zero_mean(), [([], [5])]) is None


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("frequencies", [[1, 2, 3, 4], [0, 2**23, 2**23 - 1, 1], [2**24, 1, 1, 1]])
def test_what_is_no_table_is_refused(name, frequencies):
    """Frequencies of learned densities come from weights files."""
    with pytest.raises(BadCheckpoint, match="2\\^24"):
        written(name, per_channel(np.array([frequencies])), [([0], [0])])


@needs_constriction
def test_constriction_uses_exactly_our_frequencies():
    """Seen from outside: the code length of each symbol is -log2(frequency / 2^24)."""
    import constriction

    from lichen.coding.backend_constriction import ConstrictionBackend

    frequencies = load_tables()[20]
    for entry in (0, 5, len(frequencies) // 2, len(frequencies) - 1):
        encoder = constriction.stream.queue.RangeEncoder()
        encoder.encode(np.full(2000, entry, dtype=np.int32), ConstrictionBackend().table(frequencies))
        wanted = 2000 * (24 - np.log2(float(frequencies[entry])))
        assert encoder.num_bits() == pytest.approx(wanted, abs=66)


def golden_codec(name: str) -> Codec:
    return Codec(weights=next((GOLDEN / name).parent.glob("*.safetensors")))


@pytest.mark.parametrize("name", sorted(DIGESTS))
def test_golden_files_in_python(name, monkeypatch):
    """They decode to the latents that are pinned, and the symbols read are written to the same bytes."""
    writers = []

    class WritesAgain(SymbolReader):
        def __init__(self, payload: bytes) -> None:
            super().__init__(payload)
            writers.append(SymbolWriter())

        def read(self, index, tables):
            symbols = super().read(index, tables)
            writers[-1].write(symbols, index, tables)
            return symbols

    data, codec = (GOLDEN / name).read_bytes(), golden_codec(name)
    with under("python"):
        assert hashlib.sha256(latents(codec, data)).hexdigest() == DIGESTS[name]
        monkeypatch.setattr("lichen.coding.coders.SymbolReader", WritesAgain)
        codec.decode(data)
        assert tuple(writer.finish() for writer in writers) == tuple(read_container(data).latents)


def latents(codec: Codec, data: bytes) -> bytes | None:
    """Of a file; None where it is refused."""
    try:
        return codec.decode_latents(data).contiguous().numpy().astype("<f8").tobytes()
    except BadFile:
        return None


@needs_constriction
@pytest.mark.parametrize("name", sorted(name for name in DIGESTS if name.endswith("rgb.lic")))
def test_both_get_the_same_out_of_damaged_files(name):
    """Sound checks around damaged latents: what follows a wrong symbol is coded with tables that it has changed."""
    codec, rng = golden_codec(name), np.random.default_rng(0)
    container = read_container((GOLDEN / name).read_bytes())
    for _ in range(12):
        streams = [bytearray(stream) for stream in container.latents]
        stream = streams[rng.integers(len(streams))]
        stream[rng.integers(len(stream))] ^= int(rng.integers(1, 256))
        changed = {"groups": tuple(map(bytes, streams))}
        if not container.groups:
            changed = {"sections": {**container.sections, Kind.LATENTS: bytes(stream)}}
        data = write_container(dataclasses.replace(container, **changed))
        found = []
        for backend in BACKENDS:
            with under(backend):
                found.append(latents(codec, data))
        assert found[0] == found[1]


def test_constriction_is_taken_where_it_is_installed(monkeypatch):
    with under(""):
        assert chosen().name == ("constriction" if HAS_CONSTRICTION else "python")
        assert chosen() is chosen()
    monkeypatch.setitem(sys.modules, "constriction", None)
    monkeypatch.delitem(sys.modules, "lichen.coding.backend_constriction", raising=False)
    with under(""):
        assert isinstance(chosen(), PythonBackend)
    with under("constriction"), pytest.raises(UsageError, match=f"unset {VARIABLE}"):
        chosen()
    with under("rust"), pytest.raises(UsageError, match="constriction or python"):
        chosen()


PROCESS = """
import sys
from pathlib import Path
sys.modules["constriction"] = None  # as if it were not installed
from PIL import Image
from lichen.codec import Codec
codec, folder = Codec(weights=Path(sys.argv[1])), Path(sys.argv[2])
data = codec.encode(Image.open(folder / "picture.png"), 60)
(folder / "picture.lic").write_bytes(data)
codec.decode(data).save(folder / "decoded.png")
from lichen.coding.backend import chosen
print(chosen().name)
"""


@needs_constriction
def test_a_process_without_constriction_makes_the_same_file(tmp_path):
    weights = GOLDEN / "v1-lichen" / "lichen.safetensors"
    picture = scene(100, 70)
    picture.save(tmp_path / "picture.png")
    environment = {key: value for key, value in os.environ.items() if key != VARIABLE}
    command = [sys.executable, "-c", PROCESS, str(weights), str(tmp_path)]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == "python"
    with under("constriction"):
        codec = Codec(weights=weights)
        data = codec.encode(picture, 60)
        assert (tmp_path / "picture.lic").read_bytes() == data
        codec.decode(data).save(tmp_path / "wanted.png")
    assert (tmp_path / "decoded.png").read_bytes() == (tmp_path / "wanted.png").read_bytes()


LINUX, MAC, WINDOWS = ("linux", "x86_64"), ("darwin", "arm64"), ("win32", "AMD64")


@pytest.mark.parametrize(
    ("system", "machine", "python", "implementation", "wanted"),
    [
        (*LINUX, "3.11", "CPython", True),
        (*LINUX, "3.14", "CPython", True),
        (*MAC, "3.12", "CPython", True),
        ("darwin", "x86_64", "3.12", "CPython", True),
        (*WINDOWS, "3.13", "CPython", True),
        ("linux", "aarch64", "3.12", "CPython", False),
        ("linux", "armv7l", "3.12", "CPython", False),
        ("win32", "ARM64", "3.12", "CPython", False),
        (*LINUX, "3.15", "CPython", False),
        (*LINUX, "3.11", "PyPy", False),
    ],
)
def test_constriction_is_required_where_it_has_wheels(system, machine, python, implementation, wanted):
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    required = next(r for r in map(Requirement, project["dependencies"]) if r.name == "constriction")
    place = {
        "sys_platform": system,
        "platform_machine": machine,
        "python_version": python,
        "platform_python_implementation": implementation,
    }
    assert required.marker is not None and required.marker.evaluate(place) == wanted
