"""Old files, this reader: files of earlier versions decode to the very same latents."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path

import pytest
import torch

from lichen.bitstream.container import read_container
from lichen.bitstream.fields import FILTERED, TRELLIS
from lichen.codec import Codec
from lichen.errors import BadFile
from lichen.lab.models.config import LEVEL_STEPS
from lichen.lab.prior.file_coder import FileReader, FileWriter
from lichen.runtime import tiles
from lichen.runtime.engine import Reading

HERE = Path(__file__).parent
DIGESTS = json.loads((HERE / "digests.json").read_text())
MODES = {"grey": "L", "alpha": "RGBA"}  # RGB otherwise


@pytest.mark.parametrize("name", sorted(DIGESTS))
def test_old_files_decode_to_the_same_latents(name):
    path = HERE / name
    codec = Codec(weights=next(path.parent.glob("*.safetensors")))
    data = path.read_bytes()
    y_hat = codec.decode_latents(data).contiguous().numpy().astype("<f8")
    assert hashlib.sha256(y_hat.tobytes()).hexdigest() == DIGESTS[name]
    assert codec.decode(data).mode == MODES.get(path.stem, "RGB")


@pytest.mark.parametrize("name", sorted(DIGESTS))
@torch.inference_mode()
def test_their_latents_are_written_to_the_same_bytes(name):
    """Files of another machine: from the same y and z this one writes them again."""
    path = HERE / name
    codec = Codec(weights=next(path.parent.glob("*.safetensors")))
    container, engine = read_container(path.read_bytes()), codec.engine
    header, stride = container.header, engine.checkpoint.model.hyper_stride
    shape = (-(-header.height // stride), -(-header.width // stride))
    rate_level = torch.tensor([header.quality_index / LEVEL_STEPS], dtype=torch.float64)
    z_hat = engine.prior.code_hyper(FileReader(container.latents), rate_level, shape, None)
    filtered, trellis = bool(header.flags & FILTERED), bool(header.flags & TRELLIS)
    y_hat, coefficients = engine.read_filtered(
        container.latents,
        header.quality_index,
        header.height,
        header.width,
        how=Reading(filtered=filtered, trellis=trellis),
    )
    writer, last = FileWriter(), engine.channel_groups - 1
    again = engine._walk(writer, header.quality_index, shape, y=y_hat, z=z_hat, trellis=trellis)
    assert (
        torch.equal(again, y_hat)
        and trellis == ("trellis" in name)
        and (coefficients is not None) == filtered == ("filtered" in name or "trellis" in name)
    )
    if coefficients is not None:
        principal, place = engine.checkpoint.model.post_filter, (header.quality_index / LEVEL_STEPS, math.prod(shape))
        numbers = (coefficients / principal.step(*place)).round().long().numpy()
        assert torch.equal(principal.code(writer, *place, numbers, last), coefficients) and numbers.any()
    assert writer.finish() == tuple(container.latents)


@pytest.mark.parametrize("name", sorted(name for name in DIGESTS if Path(name).stem in {"wide", "tall"}))
def test_their_tiles_are_those_of_the_format(name, monkeypatch):
    """A reader with other tiles gets nothing out of them: the order of symbols is held."""
    path = HERE / name
    codec = Codec(weights=next(path.parent.glob("*.safetensors")))
    monkeypatch.setattr(tiles, "CODING_SIDE", tiles.CODING_SIDE - 1)
    with pytest.raises(BadFile):
        codec.decode_latents(path.read_bytes())


def test_every_golden_file_is_pinned():
    assert {str(p.relative_to(HERE)) for p in HERE.rglob("*.lic")} == set(DIGESTS)
