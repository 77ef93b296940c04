"""The browser's decoder gives Python's latents, bit for bit, and its pixels but for a rounding."""

from __future__ import annotations

import hashlib
import io
import json

import numpy as np
import pytest
from PIL import Image, ImageCms

import lichen
from lichen.codec import Codec
from lichen.options import EngineName, Tune
from tests.web.helpers import GOLDEN, WITH_GRAPHS

DIGESTS = json.loads((GOLDEN / "digests.json").read_text())
DECODED = sorted(name for name in DIGESTS if name.partition("/")[0] in WITH_GRAPHS)
OTHERS = sorted(set(DIGESTS) - set(DECODED))  # of models that have no graphs, in Python neither


def digest_of(codec: Codec, data: bytes) -> str:
    y_hat, _ = codec.open_file(data).latents()
    return hashlib.sha256(np.asarray(y_hat, "<f8").tobytes()).hexdigest()


@pytest.fixture(scope="module")
def codec() -> Codec:
    return Codec(engine=EngineName.ONNX)


@pytest.fixture(scope="module")
def pictures(sample: Image.Image) -> dict[str, bytes]:
    """Files of the shipped weights: both tunes, grey, odd sizes, the ends of the quality, a filter or none."""
    odd = sample.crop((0, 0, 131, 67))
    return {
        "best": lichen.encode(odd, quality=100),
        "worst": lichen.encode(sample, quality=0),
        "middle": lichen.encode(sample, quality=45.7),
        "ms-ssim": Codec(tune=Tune.MS_SSIM, engine=EngineName.ONNX).encode(odd, quality=60),
        "grey": lichen.encode(odd.convert("L"), quality=50),
        "dot": lichen.encode(odd.crop((0, 0, 1, 1)), quality=50),
    }


def test_golden_files_in_node(in_node):
    found = in_node.outcomes([(GOLDEN / name).read_bytes() for name in DECODED])
    assert {name: one.get("digest") for name, one in zip(DECODED, found, strict=True)} == {
        n: DIGESTS[n] for n in DECODED
    }


def test_files_of_models_without_graphs_are_refused(in_node):
    found = in_node.outcomes([(GOLDEN / name).read_bytes() for name in OTHERS])
    assert len(found) == len(OTHERS) and {one["error"] for one in found} == {"UnknownWeights", "UnsupportedFile"}


def test_files_of_the_shipped_weights_in_node(in_node, codec, pictures):
    for (name, data), one in zip(pictures.items(), in_node.outcomes(list(pictures.values())), strict=True):
        assert one.get("digest") == digest_of(codec, data), f"{name}: {one}"


CHROMIUM = """async ([names, threads]) => {
  const lichen = await import("./lichen.js");
  lichen.configure({ threads });
  const bytes = async (name) => (await fetch(`golden/${name}`)).arrayBuffer();
  return Promise.all(names.map(async (name) => [name, await lichen.latentsDigest(await bytes(name))]));
}"""


@pytest.mark.parametrize("threads", [1, 4])
def test_golden_files_in_chromium(browser, served, threads):
    tab = browser.new_context().new_page()
    tab.goto(served)
    assert tab.evaluate("crossOriginIsolated")
    assert dict(tab.evaluate(CHROMIUM, [DECODED, threads])) == {name: DIGESTS[name] for name in DECODED}


SAMPLES = """async (data) => {
  const lichen = await import("./lichen.js");
  const picture = await lichen.decodePicture(Uint8Array.from(data));
  return [picture.width, picture.height, Array.from(picture.data)];
}"""


def test_pixels_in_chromium(browser, served, codec, pictures):
    tab = browser.new_context().new_page()
    tab.goto(served)
    for name in ("middle", "ms-ssim", "grey"):
        width, height, samples = tab.evaluate(SAMPLES, list(pictures[name]))
        wanted = np.asarray(codec.decode(pictures[name]).convert("RGBA")).astype(int)
        found = np.array(samples).reshape(height, width, 4)
        assert np.abs(found - wanted).max() <= 1 and (found != wanted).mean() < 1e-3, name


PNG = """async (data) => {
  const lichen = await import("./lichen.js");
  const png = await lichen.decodeToPng(Uint8Array.from(data));
  return Array.from(new Uint8Array(await png.arrayBuffer()));
}"""


@pytest.mark.parametrize("colour", ["RGB", "L"])
def test_a_png_from_chromium_has_alpha_profile_and_metadata(browser, served, sample, colour):
    """They are exact, as in Python."""
    image = sample.crop((0, 0, 61, 43)).convert(colour)
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes() if colour == "RGB" else None
    image.info = {"exif": exif.tobytes(), "xmp": b"<x>packet</x>"} | ({"icc_profile": profile} if profile else {})
    data = lichen.encode(image, quality=50)
    tab = browser.new_context().new_page()
    tab.goto(served)
    with Image.open(io.BytesIO(bytes(tab.evaluate(PNG, list(data))))) as png:
        png.load()
    wanted = lichen.decode(data)
    assert png.mode == wanted.mode == colour + "A"
    assert np.array_equal(np.asarray(png)[..., -1], np.asarray(wanted)[..., -1])
    assert np.abs(np.asarray(png).astype(int) - np.asarray(wanted)).max() <= 1
    assert png.info.get("icc_profile") == wanted.info.get("icc_profile") == profile
    assert png.getexif()[0x010F] == "Maker" and png.info["xmp"] == b"<x>packet</x>"
