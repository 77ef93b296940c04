"""Damaged and hostile files end in typed errors, as in Python, and never in a hung decoder or a wrong picture."""

from __future__ import annotations

import hashlib
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from benchmarks.fuzz import Seed, cases
from lichen.bitstream.container import read_container
from lichen.bitstream.fields import Cursor, read_header
from lichen.codec import Codec
from lichen.errors import LichenError
from tests.web.helpers import SMALL_PIXELS

CASES = 2000
MOST_MS = 20_000  # for one file, on a busy machine
NAMES = {"BadFile", "TruncatedFile", "UnsupportedFile", "PictureTooLarge", "UnknownWeights"}


@pytest.fixture(scope="module")
def seeds(small_codec: Codec) -> list[Seed]:
    """Small files: colour, grey, alpha and metadata."""
    rich = picture(40, 30)
    rich.putalpha(Image.linear_gradient("L").resize(rich.size))
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    rich.info = {"icc_profile": b"profile" * 20, "exif": exif.tobytes(), "xmp": b"<x>packet</x>"}
    return [seed_of(small_codec.encode(image, 80)) for image in (picture(60, 50), picture(33, 20).convert("L"), rich)]


def outcome(codec: Codec, data: bytes) -> str:
    """What Python makes of a file: the error's name, or the digest of its latents."""
    try:
        opened = codec.open_file(data)
        y_hat, _ = opened.latents()
        opened.picture()
    except LichenError as error:
        return type(error).__name__
    return hashlib.sha256(np.asarray(y_hat, "<f8").tobytes()).hexdigest()


def picture(width: int, height: int) -> Image.Image:
    rows, columns = np.mgrid[:height, :width]
    waves = [127 + 120 * np.sin(rows / (3 + i) + columns / (5 - i)) for i in range(3)]
    return Image.fromarray(np.stack(waves, axis=2).astype(np.uint8))


def seed_of(data: bytes) -> Seed:
    container = read_container(data)
    return Seed(data, container.header, list(container.sections.items()), b"")


def test_damaged_files_in_node(in_node, small_codec, seeds):
    made = list(cases(seeds, CASES, np.random.default_rng(0)))
    found = in_node.outcomes([data for _, _, data in made], max_pixels=SMALL_PIXELS)
    counts: Counter[str] = Counter()
    for (kind, sealed, data), one in zip(made, found, strict=True):
        said, expected = f"{kind}: {one}", outcome(small_codec, data)
        counts[one.get("error", "picture")] += 1
        assert one["ms"] < MOST_MS, said
        if one.get("error") == "UnsupportedFile" and expected in {"BadFile", "UnknownWeights"}:
            assert "model" in one["message"], said  # another model, which the site does not have
        elif "its alpha" in one.get("message", ""):
            assert sealed  # bent under a sound checksum: Pillow shows a PNG without its end, and smaller samples
        else:
            assert one.get("error", one.get("digest")) == expected, f"{said} instead of {expected}"
        if "error" in one:
            assert one["typed"] and one["message"], said
        else:
            header = read_header(Cursor(data))
            assert (one["width"], one["height"]) == (header.width, header.height), said
            assert sealed or data in {seed.data for seed in seeds}, f"{said}: a picture of a damaged file"
    assert len(made) == CASES and {"picture", *NAMES} <= set(counts), counts
