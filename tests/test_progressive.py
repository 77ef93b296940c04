"""Progressive decoding: the first channel groups of a file."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lichen.bitstream.container import Container, Kind, read_arrived, read_container, write_container
from lichen.bitstream.fields import Varint
from lichen.codec import Codec, OpenFile
from lichen.errors import BadFile, LichenError, TruncatedFile, UsageError
from lichen.lab.models.zoo import row
from lichen.lab.prior.schedules import ranges
from lichen.options import FirstGroups
from lichen.runtime import tiles
from tests.laws.laws import threads
from tests.small import scene, small_checkpoint


@pytest.fixture(scope="module", params=["elic", "cheng-charm"])
def codec(request, tmp_path_factory):
    return Codec(weights=small_checkpoint(row(request.param), tmp_path_factory.mktemp("weights")))


def latents(codec: Codec, data: bytes, first: FirstGroups | None = None) -> torch.Tensor:
    return OpenFile(read_container(data), codec.engine, first, 0).latents()[0]


def test_all_groups_are_the_whole_file(codec):
    data = codec.encode(scene(100, 70))
    count = codec.engine.channel_groups
    assert torch.equal(latents(codec, data, FirstGroups(count)), latents(codec, data))
    assert codec.decode(data, first=FirstGroups(count)).tobytes() == codec.decode(data).tobytes()


def test_the_first_groups_are_those_of_the_file(codec):
    data = codec.encode(scene(100, 70))
    whole, schedule = latents(codec, data), codec.engine.prior.context.schedule
    widths = getattr(schedule, "groups", None) or (schedule.latents // schedule.slices,) * schedule.slices
    known = ranges(widths)[1].stop
    for fill_mean in (True, False):
        part = latents(codec, data, FirstGroups(2, fill_mean))
        assert torch.equal(part[:, :known], whole[:, :known])
        assert not torch.equal(part[:, known:], whole[:, known:])
    assert codec.decode(data, first=FirstGroups(1)).size == (100, 70)


def cuts(codec: Codec, data: bytes) -> list[int]:
    """The lengths of `data` at which one more channel group has arrived whole."""
    lengths, at = [], len(data)
    for payload in reversed(read_container(data).groups):
        lengths.append(at)
        at -= 1 + len(Varint(0, 2**35).write(len(payload))) + len(payload) + 4
    return lengths[::-1]


def test_a_file_cut_at_any_length_decodes_by_the_groups_that_arrived(codec):
    data = codec.encode(scene(40, 30))
    lengths, engine = cuts(codec, data), codec.engine
    whole = [latents(codec, data, FirstGroups(n)) for n in range(1, engine.channel_groups + 1)]
    for length in range(len(data)):
        with pytest.raises(TruncatedFile if length else BadFile):
            codec.decode(data[:length])
        arrived = sum(length >= needed for needed in lengths)
        if not arrived:
            with pytest.raises(TruncatedFile if length else BadFile):
                read_arrived(data[:length])
            continue
        container = read_arrived(data[:length])
        assert len(container.groups) == arrived
        if length in lengths:
            assert torch.equal(OpenFile(container, engine, FirstGroups(), 0).latents()[0], whole[arrived - 1])
            assert codec.decode(data[:length], first=FirstGroups(arrived)).size == (40, 30)
            with pytest.raises(TruncatedFile, match=f"{arrived} of its channel groups arrived"):
                codec.decode(data[:length], first=FirstGroups(arrived + 1))


def test_what_arrived_is_said(codec):
    data = codec.encode(scene(40, 30))
    groups, cut = codec.engine.channel_groups, data[: cuts(codec, data)[1]]
    partial = codec.decode_picture(cut, first=FirstGroups())
    assert partial.notices == (f"2 of {groups} channel groups arrived, the rest is filled",)
    assert codec.decode_picture(data, first=FirstGroups()).notices == ()
    with pytest.raises(TruncatedFile, match="2 of its channel groups arrived"):
        codec.decode(cut)


def test_few_groups_lack_neither_alpha_nor_profile(codec):
    image = scene(40, 30).convert("RGBA")
    image.putalpha(scene(40, 30, 3).convert("L"))
    image.info["icc_profile"] = b"profile"
    data = codec.encode(image)
    partial = codec.decode(data[: cuts(codec, data)[0]], first=FirstGroups())
    assert partial.getchannel("A").tobytes() == image.getchannel("A").tobytes()
    assert partial.info["icc_profile"] == b"profile"


def test_groups_of_two_files_cannot_be_spliced(codec):
    one, two = codec.encode(scene(40, 30)), codec.encode(scene(40, 30, 1))
    at, other = cuts(codec, one)[1], cuts(codec, two)[1]
    for spliced in (one[:at] + two[other:], one[:at] + two[at:]):
        for first in (None, FirstGroups(), FirstGroups(3)):
            with pytest.raises(BadFile):
                codec.decode(spliced, first=first)
        assert torch.equal(
            latents(codec, one, FirstGroups(2)),
            OpenFile(read_arrived(spliced, 2), codec.engine, FirstGroups(2), 0).latents()[0],
        )


def test_an_altered_file_is_refused_as_far_as_it_is_read(codec):
    data, rng = codec.encode(scene(40, 30)), np.random.default_rng(0)
    needed = cuts(codec, data)[1]
    expected = codec.decode(data, first=FirstGroups(2)).tobytes()
    for at in rng.permutation(needed)[:40]:
        bad = bytearray(data)
        bad[at] ^= 1 << rng.integers(8)
        for first in (None, FirstGroups(), FirstGroups(2)):
            with pytest.raises(LichenError):
                codec.decode(bytes(bad), first=first)
    bad = data[:needed] + bytes(b ^ 255 for b in data[needed:])
    assert codec.decode(bad, first=FirstGroups(2)).tobytes() == expected


@pytest.mark.parametrize("fill_mean", [True, False])
def test_first_groups_are_the_same_bits_everywhere(codec, fill_mean):
    data = codec.encode(scene(100, 70))
    first = FirstGroups(2, fill_mean)
    expected = latents(codec, data, first)
    with threads(3), torch.backends.mkldnn.flags(enabled=False, allow_tf32=None):
        assert torch.equal(latents(codec, data, first), expected)


def test_a_tile_at_a_time_or_all_at_once(codec, monkeypatch):
    data = codec.encode(scene(300, 200))
    expected = latents(codec, data, FirstGroups(2))
    monkeypatch.setattr(tiles, "CODING_SIDE", 2)
    small = codec.encode(scene(300, 200))
    assert (small != data) == (codec.checkpoint.name == "elic")  # ChARM is never coded in tiles
    assert torch.equal(latents(codec, small, FirstGroups(2)).double(), expected)


def test_latents_in_the_sections_of_another_model(codec, tiny):
    container = read_container(codec.encode(scene(40, 30)))
    joined = Container(container.header, {Kind.LATENTS: container.groups[0]})
    fewer = Container(container.header, {}, container.groups[:-1])
    more = Container(container.header, {}, (*container.groups, b""))
    plain = read_container(tiny.encode(scene(40, 30)))
    grouped = Container(plain.header, {}, (plain.sections[Kind.LATENTS],))
    for owner, wrong in ((codec, joined), (codec, fewer), (codec, more), (tiny, grouped)):
        with pytest.raises(BadFile):
            owner.decode(write_container(wrong))
    for owner, wrong in ((codec, joined), (codec, more), (tiny, grouped)):
        with pytest.raises(BadFile):
            owner.decode(write_container(wrong), first=FirstGroups())


def test_groups_that_are_not_there(codec, tmp_path):
    data = codec.encode(scene(40, 40))
    with pytest.raises(UsageError, match="channel groups"):
        codec.decode(data, first=FirstGroups(99))
    with pytest.raises(UsageError, match="one channel group at least"):
        FirstGroups(0)
    plain = Codec(weights=small_checkpoint(row("lichen-hp"), tmp_path))
    with pytest.raises(UsageError, match="do not come in channel groups"):
        plain.decode(plain.encode(scene(40, 40)), first=FirstGroups(1))
