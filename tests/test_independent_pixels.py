"""Files survive their program, to the pixels: numpy makes the same picture, as docs/format.md says."""

from __future__ import annotations

import functools
import io
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import lichen
from lichen.codec import Codec
from lichen.lab.engine import precision
from tests.independent import Decoded, Weights, decode
from tests.independent_pixels import Bytes, Tensors, decode_pixels, pixels, read_synthesis
from tests.small import scene

PACKAGE = Path(lichen.__file__).parent
SHIPPED = PACKAGE / "weights" / "lichen.safetensors"
GOLDEN = Path(__file__).parent / "golden"
FEW = 0.002  # of all samples: those that a rounding may move; about 0.00002 are seen to


@functools.cache
def latents_of(data: bytes, path: Path) -> Decoded:
    return decode(data, Weights.read(path), PACKAGE / "coding")


@pytest.fixture(autouse=True)
def in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """bfloat16, where a processor has it, moves more samples (tests/lab/engine/test_precision.py)."""
    monkeypatch.setattr(precision, "native_bfloat16", lambda: False)


@pytest.fixture(scope="module")
def shipped() -> Codec:
    return Codec(weights=SHIPPED)


def difference(a: Bytes, b: Bytes) -> NDArray[np.int64]:
    assert a.shape == b.shape and a.dtype == b.dtype == np.uint8
    return np.abs(a.astype(np.int64) - b)


def alike(a: Bytes, b: Bytes) -> bool:
    """But for roundings: none is by more than 1, and they are few."""
    off = difference(a, b)
    return bool(off.max() <= 1 and np.count_nonzero(off) <= FEW * off.size)


def poster(width: int, height: int, seed: int) -> Image.Image:
    """Of black and white and pure colours: what is made of it leaves the range."""
    return scene(width, height, seed).point(lambda sample: 255 * (sample > 128))


def transparent(image: Image.Image) -> Image.Image:
    """With an alpha that knows nothing of its colours."""
    image = image.convert(image.mode + "A")
    image.putalpha(scene(*image.size, seed=9).convert("L"))
    return image


@pytest.mark.parametrize(
    ("picture", "quality"),
    [
        (scene(100, 70, seed=1), 37.3),
        (transparent(poster(130, 65, seed=2)), 90),
        (transparent(scene(70, 40, seed=3).convert("L")), 50),
        (scene(1, 1, seed=4), 0),
    ],
    ids=["between levels", "clamped, alpha", "grey and alpha", "one pixel"],
)
def test_pictures(shipped, picture, quality):
    data = shipped.encode(picture, quality)
    theirs = shipped.decode(data)
    assert theirs.mode == picture.mode and theirs.size == picture.size
    planes = np.atleast_3d(np.asarray(theirs))
    found = latents_of(data, SHIPPED)
    if picture.mode in {"LA", "RGBA"}:
        alpha = np.asarray(Image.open(io.BytesIO(found.file.sections[3])))
        assert np.array_equal(planes[..., -1], alpha) and np.array_equal(alpha, np.asarray(picture)[..., -1])
        planes = planes[..., :-1]
    assert alike(pixels(found.file, found.y_hat, read_synthesis(SHIPPED), found.own), planes)
    if min(picture.size) > 1:  # it is the picture, and not any two that agree
        assert difference(planes, np.atleast_3d(np.asarray(picture))[..., : planes.shape[2]]).mean() < 30


def test_the_other_tune():
    path = SHIPPED.with_name("lichen-ms-ssim.safetensors")
    codec = Codec(weights=path)
    data = codec.encode(scene(96, 64), 60)
    assert alike(decode_pixels(data, path, PACKAGE / "coding"), codec.decode_array(data))


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("v1-lichen*/rgb.lic")), ids=lambda path: path.parent.name)
def test_golden_files(path):
    """Other depths, and no dense block."""
    weights = next(path.parent.glob("*.safetensors"))
    data = path.read_bytes()
    assert alike(decode_pixels(data, weights, PACKAGE / "coding"), Codec(weights=weights).decode_array(data))


def test_no_tensor_goes_unseen(shipped):
    """Each of the synthesis's and of the filter's is felt: with one of them turned over, the picture is another."""
    data, tensors = shipped.encode(scene(256, 192, seed=5), 60), read_synthesis(SHIPPED)
    found, theirs = latents_of(data, SHIPPED), np.asarray(shipped.decode(data))
    assert alike(pixels(found.file, found.y_hat, tensors, found.own), theirs) and found.own is not None
    for name, tensor in tensors.items():
        turned: Tensors = {**tensors, name: np.flip(tensor)}
        assert not alike(pixels(found.file, found.y_hat, turned, found.own), theirs), name
