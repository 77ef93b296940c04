"""The container: round trip, both directions of time, every truncation, alteration and splice."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lichen.bitstream import fields
from lichen.bitstream.container import Container, read_arrived, read_container, write_container
from lichen.bitstream.fields import Cursor, Header, Varint, read_header, write_header
from lichen.errors import BadFile, LichenError, UnsupportedFile

HEADER = Header(model=1, weights=b"\x01\x02\x03\x04", width=768, height=512, quality_index=1792, flags=0)
headers = st.builds(
    Header,
    model=st.integers(0, 2**16 - 1),
    weights=st.binary(min_size=4, max_size=4),
    width=st.integers(1, fields.SIDE_MAX),
    height=st.integers(1, fields.SIDE_MAX),
    quality_index=st.integers(0, 2**16 - 1),
    flags=st.integers(0, 7),
)
sections = st.dictionaries(st.sampled_from([2, 3, 4]), st.binary(max_size=300)).map(lambda d: {1: b"payload", **d})


@given(headers, sections)
def test_round_trip(header, payloads):
    container = Container(header, payloads)
    assert read_container(write_container(container)) == container


@given(headers)
def test_header_has_its_exact_size(header):
    written = write_header(header)
    cursor = Cursor(written)
    assert read_header(cursor) == header
    assert cursor.at == len(written) == fields.header_size_bytes(header)


def test_golden_bytes():
    data = write_container(Container(HEADER, {1: b"abc"}))
    assert data.hex() == "8b4c4301" + "01" + "01020304" + "8006" + "8004" + "800e" + "00" + "0103616263" + "892b2622"


def test_truncated_at_any_length():
    data = write_container(Container(HEADER, {1: b"latents", 2: b"icc", 3: b"alpha"}))
    for length in range(len(data)):
        with pytest.raises(BadFile):
            read_container(data[:length])


@settings(max_examples=300)
@given(st.data())
def test_any_altered_byte_is_noticed(data):
    good = write_container(Container(HEADER, {1: b"latents" * 5, 2: b"icc"}))
    at = data.draw(st.integers(0, len(good) - 1))
    bad = bytearray(good)
    bad[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(LichenError):
        read_container(bytes(bad))


def test_sections_of_two_files_cannot_be_spliced():
    one = write_container(Container(HEADER, {1: b"first", 3: b"alpha1"}))
    two = write_container(Container(HEADER, {1: b"other", 3: b"alpha2"}))
    cut = len(one) - (1 + 1 + 6 + 4)
    assert one[cut] == two[cut] == 3
    with pytest.raises(BadFile, match="checksum"):
        read_container(one[:cut] + two[cut:])


def test_bytes_after_the_end_are_refused():
    with pytest.raises(BadFile, match="follow"):
        read_container(write_container(Container(HEADER, {1: b""})) + b"\0")


def test_a_newer_file_with_an_ancillary_section_is_read():
    data = write_container(Container(HEADER, {1: b"latents", 100: b"of the future"}))
    assert read_container(data).sections == {1: b"latents"}


def test_a_newer_file_with_a_critical_section_is_refused():
    with pytest.raises(UnsupportedFile, match="newer"):
        read_container(write_container(Container(HEADER, {1: b"latents", 101: b"of the future"})))


def test_a_newer_flag_or_version_is_refused():
    flagged = Header(**{**vars(HEADER), "flags": 8})
    with pytest.raises(UnsupportedFile, match="upgrade"):
        read_container(write_container(Container(flagged, {1: b""})))
    data = bytearray(write_container(Container(HEADER, {1: b""})))
    data[3] = 2
    with pytest.raises(UnsupportedFile, match="version 2"):
        read_container(bytes(data))


GROUPS = Container(HEADER, {2: b"icc", 3: b"alpha"}, (b"first", b"", b"third"))


def test_groups_are_the_last_sections():
    data = write_container(GROUPS)
    assert read_container(data) == GROUPS and GROUPS.latents == GROUPS.groups
    assert data.index(b"icc") < data.index(b"alpha") < data.index(b"first") < data.index(b"third")
    assert read_arrived(data) == GROUPS
    assert read_arrived(data, 2).groups == (b"first", b"")
    with pytest.raises(BadFile, match="twice or after"):
        read_container(_sealed((7, b"first"), (7, b"second"), (2, b"icc")))
    with pytest.raises(BadFile, match="two kinds"):
        read_container(_sealed((1, b"all"), (7, b"first"), (7, b"second")))
    with pytest.raises(BadFile, match="after the last"):
        read_container(_sealed(*[(7, b"")] * 1025))


def test_cut_groups_arrive_as_far_as_they_are_whole():
    data = write_container(GROUPS)
    for length in range(len(data)):
        arrived = read_container_or_none(data[:length])
        whole = sum(length >= data.index(payload) + len(payload) + 4 for payload in (b"first", b"third"))
        if length < data.index(b"first") + 9:
            assert arrived is None
        elif length < len(data):
            assert arrived.groups == GROUPS.groups[: len(arrived.groups)] and arrived.sections == GROUPS.sections
            assert len(arrived.groups) >= whole
    assert read_arrived(data[:-1]).groups == (b"first", b"")


def read_container_or_none(data: bytes) -> Container | None:
    try:
        return read_arrived(data)
    except BadFile:
        return None


def _sealed(*sections: tuple[int, bytes]) -> bytes:
    out = write_header(HEADER)
    check = zlib.crc32(out)
    for place, (kind, payload) in enumerate(sections, 1):
        section = bytes([kind | (128 if place < len(sections) else 0), len(payload)]) + payload
        check = zlib.crc32(section, check)
        out += section + check.to_bytes(4, "little")
    return out


def test_missing_latents_and_double_sections():
    with pytest.raises(BadFile, match="no latents"):
        read_container(write_container(Container(HEADER, {2: b"icc"})))
    data = bytearray(write_header(HEADER))
    check = zlib.crc32(data)
    for section in (b"\x81\0", b"\x01\0"):
        check = zlib.crc32(section, check)
        data += section + check.to_bytes(4, "little")
    with pytest.raises(BadFile, match="twice"):
        read_container(bytes(data))


@pytest.mark.parametrize("written", [b"\x80\x00", b"\xff" * 9, b"\x80"])
def test_bad_varints(written):
    with pytest.raises(BadFile):
        Varint(0, 2**28).read(Cursor(written))


@pytest.mark.parametrize("data", [b"", b"\x8b", b"PNG", b"\x89PNG\r\n", b"\x8bLD\x01"])
def test_not_a_lic_file(data):
    with pytest.raises(BadFile):
        read_container(data)
