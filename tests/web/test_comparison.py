"""A page of `lichen compare` that is served beside the decoder: Lichen's pictures are decoded in the page."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lichen.codec import Codec
from lichen.lab.reporting import pairs
from lichen.lab.reporting.compare import compare
from lichen.viewer.server import serve
from lichen.viewer.site import SHOWN_PAGE, Site
from tests.web.helpers import serving

SIDE = 120  # of the part that is shown
SAMPLES = """() => {
  const shown = document.querySelector(".stage .side img");
  const canvas = new OffscreenCanvas(shown.naturalWidth, shown.naturalHeight), context = canvas.getContext("2d");
  context.drawImage(shown, 0, 0);
  return Array.from(context.getImageData(0, 0, canvas.width, canvas.height).data);
}"""


@pytest.fixture
def served(
    small_site: Site, small_codec: Codec, sample: Image.Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """A page whose embedded pixels are black, of a sound file and of one that is cut."""
    monkeypatch.setattr(pairs, "SHOWN_SIDE_MAX", SIDE)
    (result,) = compare("photo.png", sample, small_codec, small_codec.encode, peers=[])
    sound = replace(result, decoded=Image.new("RGB", sample.size))
    cut = replace(sound, data=result.data[:-20])
    page = tmp_path / "photo-compare.html"
    page.write_bytes(pairs.comparison_page([("photo.png", sample, [sound]), ("cut.png", sample, [cut])]))
    with serving(serve(replace(small_site, files=small_site.files | {SHOWN_PAGE: page}), 0)) as address:
        yield f"{address}{SHOWN_PAGE}"


def test_the_file_is_decoded_in_the_page(browser, served, small_codec, sample):
    tab = browser.new_page()
    complaints: list[str] = []
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.goto(served)
    notes = tab.locator(".notes")
    notes.get_by_text("decoded in this page").wait_for(timeout=60_000)
    tab.wait_for_function("document.querySelector('.stage .side img').complete")
    shown = np.array(tab.evaluate(SAMPLES)).reshape(SIDE, SIDE, 4)[..., :3]
    decoded = small_codec.decode(small_codec.encode(sample)).crop(pairs.part_to_show(sample).box)
    assert np.abs(shown - np.asarray(decoded).astype(int)).max() <= 1
    tab.get_by_role("button", name="cut.png").click()
    notes.get_by_text("not in this page: the file is truncated").wait_for(timeout=60_000)
    tab.wait_for_function("document.querySelector('.stage .side img').complete")
    assert not np.any(np.array(tab.evaluate(SAMPLES)).reshape(SIDE, SIDE, 4)[..., :3])
    assert notes.get_by_role("link", name="cut.lic").count() == 1 and complaints == []
