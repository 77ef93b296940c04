"""What goes wrong in reading: every error is ours and names the picture, Pillow's warnings are not shown."""

from __future__ import annotations

import struct
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError

from lichen.errors import BadPicture, OutOfMemory, PictureTooLarge, UsageError
from lichen.image.picture import open_picture, picture_size
from lichen.image.reading import reading
from tests.image.by_hand import saved
from tests.small import scene

RAISED = [
    ValueError("v"),
    TypeError("t"),
    KeyError(5),
    IndexError(),
    AssertionError(),
    RuntimeError("r"),
    SyntaxError("s"),
    OSError("o"),
    EOFError(),
    struct.error("e"),
    AttributeError("a"),
    ZeroDivisionError("z"),
    UnidentifiedImageError("u"),
    np.exceptions.AxisError("x"),
]


@pytest.mark.parametrize("error", RAISED, ids=lambda error: type(error).__name__)
def test_whatever_is_raised_becomes_a_bad_picture_of_that_name(error):
    with pytest.raises(BadPicture, match=r"^a\.png: .+;") as found, reading("a.png"):
        raise error
    assert found.value.__cause__ is error


def test_a_message_that_is_empty_is_replaced_by_its_kind():
    with pytest.raises(BadPicture, match="IndexError"), reading("a.png"):
        raise IndexError


def test_our_errors_keep_their_kind_and_get_the_name():
    with pytest.raises(PictureTooLarge, match=r"^a\.png: too large$"), reading("a.png"):
        raise PictureTooLarge("too large")
    with pytest.raises(PictureTooLarge, match=r"^a\.png: bomb; split it$"), reading("a.png"):
        raise Image.DecompressionBombError("bomb")
    for error in (UsageError("usage"), OutOfMemory("memory"), MemoryError("memory"), KeyboardInterrupt("stop")):
        with pytest.raises(type(error), match=f"^{error}$"), reading("a.png"):
            raise error


def test_files_are_named(tmp_path):
    (path := tmp_path / "a.png").write_bytes(saved(scene(16, 16), "PNG")[:60])
    for read in (
        lambda: open_picture(path),
        lambda: open_picture(tmp_path / "missing.png"),
        lambda: open_picture(tmp_path),
    ):
        with pytest.raises(BadPicture, match=str(tmp_path)):
            read()
    with pytest.raises(PictureTooLarge, match=r"^standard input: 16 x 16"):
        open_picture(saved(scene(16, 16), "PNG"), max_pixels=100)
    with pytest.raises(BadPicture, match=str(tmp_path)):
        picture_size(tmp_path / "missing.png")


def test_a_text_beyond_pillow_s_limit_says_what_to_do(monkeypatch):
    monkeypatch.setattr("PIL.PngImagePlugin.MAX_TEXT_CHUNK", 100)
    with pytest.raises(BadPicture, match="strip it first"):
        open_picture(saved(scene(16, 16), "PNG", icc_profile=bytes(1000)))


def test_pillow_s_warnings_are_not_shown_and_others_are():
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        with reading("a.png"):
            warnings.warn_explicit("of Pillow", UserWarning, "TiffImagePlugin.py", 1, module="PIL.TiffImagePlugin")
            warnings.warn("of somebody else", UserWarning, stacklevel=1)
        warnings.warn_explicit("of Pillow, later", UserWarning, "Image.py", 1, module="PIL.Image")
    assert [str(found.message) for found in shown] == ["of somebody else", "of Pillow, later"]


def test_threads_that_overlap_leave_the_filters_as_they_were():
    before, barrier = warnings.filters[:], threading.Barrier(4)

    def read(seconds: int) -> None:
        with reading("a.png"):
            barrier.wait(10)
            threading.Event().wait(seconds / 100)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(read, range(4)))
    assert warnings.filters == before
