"""Progressive decoding: the first channel groups of a file."""

from __future__ import annotations

import pytest
import torch

from lichen.bitstream.container import Kind, read_container
from lichen.codec import Codec
from lichen.engine import FirstGroups
from lichen.errors import UsageError
from lichen.models.zoo import row
from lichen.prior.parts import ranges
from tests.conftest import scene, small_checkpoint


@pytest.fixture(scope="module", params=["elic", "cheng-charm"])
def codec(request, tmp_path_factory):
    return Codec(weights=small_checkpoint(row(request.param), tmp_path_factory.mktemp("weights")))


def latents(codec: Codec, data: bytes, first: FirstGroups | None = None) -> torch.Tensor:
    container = read_container(data)
    with torch.inference_mode():
        return codec._read(container, codec._own, first)


def test_all_groups_are_the_whole_file(codec):
    data = codec.encode(scene(100, 70))
    count = codec._own.prior.context.schedule.channel_groups
    assert torch.equal(latents(codec, data, FirstGroups(count)), latents(codec, data))
    assert codec.decode(data, first=FirstGroups(count)).tobytes() == codec.decode(data).tobytes()


def test_the_first_groups_are_those_of_the_file(codec):
    data = codec.encode(scene(100, 70))
    whole, schedule = latents(codec, data), codec._own.prior.context.schedule
    widths = getattr(schedule, "groups", None) or (schedule.latents // schedule.slices,) * schedule.slices
    known = ranges(widths)[1].stop
    for fill_mean in (True, False):
        part = latents(codec, data, FirstGroups(2, fill_mean))
        assert torch.equal(part[:, :known], whole[:, :known])
        assert not torch.equal(part[:, known:], whole[:, known:])
    assert codec.decode(data, first=FirstGroups(1)).size == (100, 70)


def test_the_payload_beyond_the_groups_is_not_read(codec):
    data = codec.encode(scene(100, 70))
    payload = read_container(data).sections[Kind.LATENTS]
    level = read_container(data).header.level
    with torch.inference_mode():
        whole = codec._own.read(payload, level, 70, 100, FirstGroups(1))
        cut = codec._own.read(payload[: len(payload) * 3 // 4], level, 70, 100, FirstGroups(1))
    assert torch.equal(whole, cut)


def test_groups_that_are_not_there(codec, tmp_path):
    data = codec.encode(scene(40, 40))
    with pytest.raises(UsageError, match="channel groups"):
        codec.decode(data, first=FirstGroups(99))
    plain = Codec(weights=small_checkpoint(row("lichen-hp"), tmp_path))
    with pytest.raises(UsageError, match="do not come in channel groups"):
        plain.decode(plain.encode(scene(40, 40)), first=FirstGroups(1))
