"""The viewer in Chromium: files by address, drop and dialog; facts, zoom, keys, PNG; light, dark and narrow."""

from __future__ import annotations

import base64
import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from lichen.viewer.server import serve
from tests.web.helpers import serving

DROP = """([name, text]) => {
  const data = new DataTransfer();
  data.items.add(new File([Uint8Array.from(atob(text), (c) => c.charCodeAt(0))], name));
  for (const kind of ["dragover", "drop"])
    dispatchEvent(new DragEvent(kind, { dataTransfer: data, cancelable: true, bubbles: true }));
}"""
SHOWN = "size => !picture.hidden && picture.width === size[0] && picture.height === size[1]"


@pytest.fixture(scope="module")
def pictures(sample, small_codec, tmp_path_factory):
    """Files to view: a photograph, a grey one with alpha and EXIF, and one that is cut."""
    folder = tmp_path_factory.mktemp("pictures")
    plain = small_codec.encode(sample, quality=50)
    other = sample.crop((0, 0, 90, 70)).convert("L")
    other.putalpha(Image.linear_gradient("L").resize(other.size))
    exif = Image.Exif()
    exif[0x010F], exif[0x0110] = "Maker", "Camera 1"
    other.info = {"exif": exif.tobytes()}
    made = {"photo.lic": plain, "other &.lic": small_codec.encode(other, quality=70), "cut.lic": plain[:-20]}
    for name, data in made.items():
        (folder / name).write_bytes(data)
    return [folder / name for name in made]


@pytest.fixture(scope="module")
def address(small_site, pictures):
    """Of the viewer with these files, as `lichen view` gives it."""
    shown = replace(
        small_site, files=small_site.files | {f"pictures/{i}/{path.name}": path for i, path in enumerate(pictures)}
    )
    with serving(serve(shown, 0)) as base:
        yield f"{base}{shown.start()}"


def opened(browser, address, **options):
    """The viewer, and what its console complains of."""
    tab = browser.new_context(viewport={"width": 1000, "height": 700}, **options).new_page()
    complaints: list[str] = []
    tab.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.goto(address)
    return tab, complaints


def facts_of(tab) -> dict[str, str]:
    names, values = (tab.locator(f"#facts {kind}").all_inner_texts() for kind in ("dt", "dd"))
    return dict(zip(names, values, strict=True))


def test_files_of_the_command_line(browser, address, pictures):
    tab, complaints = opened(browser, address)
    tab.wait_for_function(SHOWN, arg=[300, 200], timeout=60_000)
    tab.keyboard.press("i")
    facts = facts_of(tab)
    assert facts["Pixels"] == "300 \u00d7 200" and facts["Quality"] == "50.0" and facts["Model"] == "lichen"
    assert facts["Size"] == f"{pictures[0].stat().st_size / 1000:.1f} kB" and facts["Trained for"] == "PSNR"
    tab.keyboard.press("ArrowRight")
    tab.wait_for_function(SHOWN, arg=[90, 70], timeout=60_000)
    facts = facts_of(tab)
    assert facts["Colour"] == "grey and alpha" and facts["Camera"] == "Camera 1" and facts["Maker"] == "Maker"
    assert tab.title().startswith("other &.lic")
    tab.keyboard.press("ArrowRight")
    tab.wait_for_selector("#status.bad:not(:empty)")
    assert "truncated" in tab.inner_text("#status") and tab.is_disabled("#save")
    tab.keyboard.press("ArrowRight")
    assert tab.title().startswith("photo.lic")  # round again
    for _ in pictures:
        tab.keyboard.press("Delete")
    assert tab.is_visible("#start") and tab.locator("#strip button").count() == 0
    assert complaints == []


def test_a_png_is_saved(browser, address, small_codec, pictures):
    tab, _ = opened(browser, address)
    tab.wait_for_function(SHOWN, arg=[300, 200], timeout=60_000)
    tab.keyboard.press("ArrowRight")
    tab.wait_for_function(SHOWN, arg=[90, 70], timeout=60_000)
    with tab.expect_download() as waiting:
        tab.keyboard.press("s")
    assert waiting.value.suggested_filename == "other &.png"
    wanted = small_codec.decode(pictures[1].read_bytes())
    with Image.open(io.BytesIO(waiting.value.path().read_bytes())) as png:
        assert png.mode == wanted.mode == "LA" and png.getexif()[0x0110] == "Camera 1"
        assert np.abs(np.asarray(png).astype(int) - np.asarray(wanted)).max() <= 1


def test_dropped_files_and_zoom(browser, address, pictures):
    tab, complaints = opened(browser, address.partition("&")[0])
    assert tab.is_visible("#start") and tab.is_hidden("#save")
    tab.evaluate(DROP, ["dropped.lic", base64.b64encode(pictures[0].read_bytes()).decode()])
    tab.wait_for_function(SHOWN, arg=[300, 200], timeout=60_000)
    assert tab.inner_text("#title") == "dropped.lic" and tab.is_hidden("#strip")
    across = "picture.getBoundingClientRect().width"
    assert tab.evaluate(across) == 300
    tab.keyboard.press("+")
    assert tab.evaluate(across) == pytest.approx(375) and tab.inner_text("#scale") == "125 %"
    tab.keyboard.press("-")
    tab.mouse.move(500, 400)
    tab.mouse.wheel(0, -600)
    tab.wait_for_function(f"{across} > 380")
    tab.mouse.down()
    tab.mouse.move(100, 100)
    tab.mouse.up()
    tab.keyboard.press("0")
    assert tab.evaluate(across) == 300 and tab.inner_text("#scale") == "100 %"
    assert complaints == []


def test_what_is_no_lic_file_is_said(browser, address, tmp_path):
    (tmp_path / "photo.lic").write_bytes(b"\xff\xd8 a JPEG")
    tab, _ = opened(browser, address.partition("&")[0])
    tab.set_input_files("#files", tmp_path / "photo.lic")
    tab.wait_for_selector("#status.bad:not(:empty)")
    assert "not a .lic file" in tab.inner_text("#status")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone(browser, address, scheme):
    """Nothing is beyond the screen's width, buttons are large, and text stands out from what is behind it."""
    tab, _ = opened(browser, address, color_scheme=scheme, has_touch=True)
    tab.set_viewport_size({"width": 360, "height": 740})
    tab.wait_for_function(SHOWN, arg=[300, 200], timeout=60_000)
    tab.click("#facts-button")
    assert tab.evaluate("document.documentElement.scrollWidth") <= 360
    for box in tab.evaluate(
        "[...document.querySelectorAll('header button')].map(e => e.getBoundingClientRect().toJSON())"
    ):
        assert box["height"] >= 40 and box["left"] >= 0 and box["right"] <= 360
    shades = tab.evaluate("['color', 'backgroundColor'].map(name => getComputedStyle(facts)[name].match(/\\d+/g)[1])")
    assert abs(int(shades[0]) - int(shades[1])) > 150 and (int(shades[0]) > int(shades[1])) == (scheme == "dark")
