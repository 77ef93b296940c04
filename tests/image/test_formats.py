"""Which files are pictures, with and without plugins, and what is said of the others."""

from __future__ import annotations

import importlib
import sys

import pytest
from PIL import Image

from lichen.errors import BadPicture
from lichen.image import formats
from lichen.image.formats import is_apple_double, readable_endings, register_plugins, what_it_is
from lichen.image.picture import open_picture
from tests.image.by_hand import saved
from tests.small import scene


def test_the_endings_that_are_read():
    found = readable_endings()
    assert {".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".gif", ".bmp", ".avif", ".jp2"} <= found
    assert not {".h5", ".hdf", ".grib", ".bufr", ".mpg", ".mpeg", ".lic", ".pdf"} & found, "stubs, or never opened"
    assert ".wmf" not in found or sys.platform == "win32"


@pytest.mark.parametrize(
    ("module", "kind", "ending"), [("pillow_heif", "HEIF", ".heic"), ("pillow_jxl", "JXL", ".jxl")]
)
def test_formats_of_plugins_are_read_where_they_are_installed(module, kind, ending):
    pytest.importorskip(module, reason=f"without {module}")
    assert ending in readable_endings()
    picture = open_picture(saved(scene(64, 48), kind))
    assert picture.pixels.shape == (48, 64, 3)


def test_without_plugins_nothing_fails(monkeypatch):
    monkeypatch.setattr(importlib, "import_module", lambda name: (_ for _ in ()).throw(ImportError(name)))
    register_plugins.cache_clear()
    register_plugins()
    register_plugins.cache_clear()


@pytest.mark.parametrize(
    ("start", "known"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0", "install pillow-heif"),
        (b"\0\0\0\x18ftypcrx \0\0\0\0", "RAW"),
        (b"\xff\x0a" + bytes(14), "install pillow-jxl-plugin"),
        (b"FUJIFILMCCD-RAW ", "RAW"),
        (b"\0\x05\x16\x07" + bytes(12), "leave it out"),
        (b"%PDF-1.7" + bytes(8), "render it"),
        (b"<svg xmlns=''>  ", "render it"),
        (b"v/1\x01" + bytes(12), "OpenEXR"),
    ],
)
def test_what_is_no_picture_for_pillow_is_named_with_a_remedy(start, known, monkeypatch):
    monkeypatch.setattr("lichen.image.picture.register_plugins", lambda: None)
    monkeypatch.setattr(Image, "ID", [name for name in Image.ID if name not in {"HEIF", "JXL"}])
    assert known in (what_it_is(start) or "")
    with pytest.raises(BadPicture, match=known):
        open_picture(start + bytes(50))


@pytest.mark.parametrize("data", [b"", b"text", b"\0" * 100, b"\0\0\0\x18ftypnone\0\0\0\0"])
def test_what_nobody_knows_is_not_named(data):
    assert what_it_is(data[:16]) is None
    with pytest.raises(BadPicture, match="not a picture that Pillow can read"):
        open_picture(data)


def test_a_companion_of_macos_is_known_by_name_and_content(tmp_path):
    for name, content in (("._a.jpg", b"\0\x05\x16\x07\0"), ("._b.jpg", b"\xff\xd8"), ("c.jpg", b"\0\x05\x16\x07")):
        (tmp_path / name).write_bytes(content)
    assert [is_apple_double(path) for path in sorted(tmp_path.iterdir())] == [True, False, False]
    assert not is_apple_double(tmp_path / "._missing")


def test_only_what_pillow_does_not_know_loads_plugins(monkeypatch):
    def no_plugins() -> None:
        raise AssertionError("plugins were loaded")

    monkeypatch.setattr("lichen.image.picture.register_plugins", no_plugins)
    assert open_picture(saved(scene(8, 8), "PNG")).pixels.shape == (8, 8, 3)
    with pytest.raises(BadPicture, match="plugins were loaded"):
        open_picture(b"of another kind")
    assert formats.register_plugins is not no_plugins
