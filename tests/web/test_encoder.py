"""Pictures become `.lic` files in Chromium, which Python reads, beside the browser's own codecs."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from PIL import Image

from lichen.metrics import psnr_db
from lichen.viewer.server import serve
from tests.web.helpers import serving

ENCODED = """async ([width, height, samples, quality]) => {
  const { encode } = await import("./lichen-encode.js"), { latentsDigest } = await import("./lichen.js");
  const file = await encode({ width, height, data: Uint8ClampedArray.from(samples) }, quality);
  return [Array.from(file), await latentsDigest(file)];
}"""
REFUSED = """async () => {
  const { encode } = await import("./lichen-encode.js");
  const dot = { width: 1, height: 1, data: new Uint8ClampedArray(4) };
  return encode(dot, 101).catch(({ name, message }) => [name, message]);
}"""


@pytest.fixture(scope="module")
def address(small_site):
    with serving(serve(small_site, 0)) as base:
        yield base


@pytest.fixture
def tab(browser, address):
    """The page that encodes."""
    opened = browser.new_context().new_page()
    opened.goto(f"{address}encode.html?local")
    return opened


@pytest.mark.parametrize(("size", "quality"), [((131, 67), 100), ((64, 64), 0), ((1, 1), 50)])
def test_python_reads_a_browsers_files(tab, small_codec, sample, size, quality):
    """To the very latents that the browser wrote, and as near to the picture as Python's own files of that size."""
    image = sample.resize(size)
    rgba = np.asarray(image.convert("RGBA"))
    file, digest = tab.evaluate(ENCODED, [*size, rgba.reshape(-1).tolist(), quality])
    data = bytes(file)
    y_hat, _ = small_codec.open_file(data).latents()
    assert hashlib.sha256(np.asarray(y_hat, "<f8").tobytes()).hexdigest() == digest
    engine, index = small_codec.engine, small_codec.open_file(data).container.header.quality_index
    (payload,), own = engine.write(*engine.latents(rgba[..., :3], index), index)
    assert len(small_codec.open_file(data).container.latents[0]) == pytest.approx(len(payload), rel=0.01, abs=2)
    wanted = psnr_db(engine.pixels(own, index, size[1], size[0]), rgba[..., :3])
    assert psnr_db(small_codec.decode_array(data), rgba[..., :3]) == pytest.approx(wanted, abs=0.1)


def test_alpha_is_kept(tab, small_codec, sample):
    image = sample.crop((0, 0, 50, 40)).convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    rgba = np.asarray(image)
    file, _ = tab.evaluate(ENCODED, [*image.size, rgba.reshape(-1).tolist(), 70])
    decoded = small_codec.decode(bytes(file))
    assert decoded.mode == "RGBA" and np.array_equal(np.asarray(decoded)[..., 3], rgba[..., 3])


def test_a_quality_out_of_range_is_refused(tab):
    assert tab.evaluate(REFUSED) == ["UsageError", "quality must lie in 0 ... 100, not 101"]


def test_the_page(tab, small_codec, sample, tmp_path):
    """A picture in, its file out; the browser's own codecs have no more bytes."""
    sample.save(tmp_path / "cup.png")
    tab.set_input_files("#files", tmp_path / "cup.png")
    tab.wait_for_function("rows.children.length >= 4", timeout=60_000)
    rows = [button.inner_text().split("\n") for button in tab.locator("#rows button").all()]
    assert [row[0] for row in rows[:4]] == ["Picture", "Lichen", "JPEG", "WebP"]
    assert tab.locator("#rows button[aria-checked=true]").inner_text().startswith("Lichen")
    with tab.expect_download() as waiting:
        tab.keyboard.press("s")
    assert waiting.value.suggested_filename == "cup.lic"
    data = waiting.value.path().read_bytes()
    decoded = small_codec.decode_array(data)
    assert float(rows[1][3].split()[0]) == pytest.approx(psnr_db(decoded, np.asarray(sample)), abs=0.02)
    tab.keyboard.press("1")
    assert tab.locator("#rows button[aria-checked=true]").inner_text().startswith("Picture")
    tab.fill("#quality", "100")
    tab.wait_for_function("size => !rows.children[1].innerText.includes(size)", arg=rows[1][1], timeout=60_000)


def test_what_is_no_picture_is_said(tab, tmp_path):
    (tmp_path / "notes.png").write_text("no picture")
    tab.set_input_files("#files", tmp_path / "notes.png")
    tab.wait_for_selector("#status.bad:not(:empty)")
    assert "notes.png is no picture" in tab.inner_text("#status")
