"""Files that are cut, altered or lie: our errors, nothing allocated, never a wrong picture."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest

from lichen.bitstream.container import Container, Kind, read_container, write_container
from lichen.bitstream.fields import Header
from lichen.errors import (
    BadFile,
    LichenError,
    PictureTooLarge,
    UnknownWeights,
    UnsupportedFile,
)
from lichen.image.picture import open_picture
from tests.small import scene


def reheaded(data: bytes, **changes: object) -> bytes:
    """The same file with other header fields and sound checksums."""
    container = read_container(data)
    return write_container(Container(Header(**{**vars(container.header), **changes}), container.sections))


def test_size_limits_hold_before_anything_is_allocated(tiny):
    data = tiny.encode(scene(8, 8))
    with pytest.raises(PictureTooLarge, match="raise `max_pixels`"):
        tiny.decode(reheaded(data, width=60000, height=60000))
    buffer = io.BytesIO()
    scene(50, 50).save(buffer, "PNG")
    with pytest.raises(PictureTooLarge):
        open_picture(buffer.getvalue(), max_pixels=100)


def test_files_of_other_models_and_weights(tiny, tmp_path):
    data = tiny.encode(scene(20, 20))
    with pytest.raises(UnsupportedFile, match="model 999"):
        tiny.decode(reheaded(data, model=999))
    with pytest.raises(UnknownWeights, match="LICHEN_WEIGHTS"):
        tiny.decode(reheaded(data, weights=b"nope"))
    with pytest.raises(BadFile, match="belong"):
        tiny.decode(reheaded(data, model=2))
    with pytest.raises(BadFile, match="quality"):
        tiny.decode(reheaded(data, quality_index=60000))


def test_alpha_of_another_size_is_an_error(tiny):
    image = scene(20, 20).convert("RGBA")
    data = tiny.encode(image)
    alpha = read_container(tiny.encode(scene(9, 9).convert("RGBA"))).sections[Kind.ALPHA]
    container = read_container(data)
    for bad in (alpha, b"not a png", b""):
        with pytest.raises(BadFile, match="alpha"):
            tiny.decode(write_container(Container(container.header, {**container.sections, Kind.ALPHA: bad})))
    for bad in (b"junk", b""):
        with pytest.raises(BadFile, match="profile"):
            tiny.decode(write_container(Container(container.header, {**container.sections, Kind.ICC: bad})))


def test_truncated_or_altered_files_never_give_a_picture(tiny):
    data = tiny.encode(scene(40, 30))
    rng = np.random.default_rng(0)
    for length in range(len(data)):
        with pytest.raises(BadFile):
            tiny.decode(data[:length])
    for _ in range(200):
        bad = bytearray(data)
        bad[rng.integers(len(data))] ^= 1 << rng.integers(8)
        with pytest.raises(LichenError):
            tiny.decode(bytes(bad))


def test_altered_payloads_with_sound_checksums_give_our_error_or_a_picture(tiny):
    container = read_container(tiny.encode(scene(40, 30)))
    rng = np.random.default_rng(0)
    for _ in range(100):
        payload = rng.bytes(rng.integers(0, 400))
        data = write_container(Container(container.header, {Kind.LATENTS: payload}))
        with contextlib.suppress(LichenError):
            assert tiny.decode(data).size == (40, 30)


def test_a_line_of_pixels_counts_as_its_blocks(tiny):
    data = tiny.encode(scene(8, 8))
    with pytest.raises(PictureTooLarge):
        tiny.decode(reheaded(data, width=2**24 - 1, height=1))
    assert tiny.decode(tiny.encode(scene(3000, 1))).size == (3000, 1)


def test_alpha_that_claims_to_be_huge(tiny):
    container = read_container(tiny.encode(scene(20, 20).convert("RGBA")))
    png = bytearray(container.sections[Kind.ALPHA])
    png[16:24] = (100_000).to_bytes(4, "big") * 2
    sections = {**container.sections, Kind.ALPHA: bytes(png)}
    with pytest.raises(BadFile, match="alpha"):
        tiny.decode(write_container(Container(container.header, sections)))
