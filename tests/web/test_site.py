"""The example site on plain hosting: elements, the viewer without a network, and what `lichen view --site` writes."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import lichen
from tests.command import run
from tests.web.helpers import ROOT, serving

SHOWN = "id => { const e = document.getElementById(id); return e.complete && e.naturalWidth > 0 }"
SAMPLES = """id => {
  const shown = document.getElementById(id);
  const canvas = new OffscreenCanvas(shown.naturalWidth, shown.naturalHeight), context = canvas.getContext("2d");
  context.drawImage(shown.shadowRoot?.querySelector("canvas") ?? shown, 0, 0);
  return Array.from(context.getImageData(0, 0, canvas.width, canvas.height).data);
}"""


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def public(page: Path, sample: Image.Image, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What web/example/build makes."""
    out = tmp_path_factory.mktemp("public")
    for name in ("index.html", "style.css"):
        (out / name).write_bytes((ROOT / "web/example" / name).read_bytes())
    sample.save(out / "photo.jpg")
    data = lichen.encode(sample, quality=50)
    (out / "photo.lic").write_bytes(data)
    (out / "damaged.lic").write_bytes(data[:400] + b"x" + data[401:])
    assert run("view", "--site", str(out / "lichen")) == 0
    return out


@pytest.fixture
def hosted(public: Path) -> Iterator[tuple[str, ThreadingHTTPServer]]:
    """The folder on a server that knows nothing of it."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(public)))
    with serving(server) as address:
        yield address, server


def opened(browser, address: str, **options):
    """A page, and what its console complains of."""
    tab = browser.new_context(**options).new_page()
    complaints: list[str] = []
    tab.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.goto(address)
    return tab, complaints


def test_the_example(browser, hosted, public, sample):
    """All its pictures are shown, as Python decodes them; what is damaged has its fallback."""
    tab, complaints = opened(browser, hosted[0])
    tab.evaluate(
        "window.events = []; for (const e of document.querySelectorAll('lic-img')) for (const kind of "
        "['load', 'error']) e.addEventListener(kind, ({ type }) => events.push(`${e.id} ${type}`))"
    )
    wanted = np.asarray(lichen.decode((public / "photo.lic").read_bytes()).convert("RGBA")).astype(int)
    for shown in ("own", "any"):
        tab.wait_for_function(SHOWN, arg=shown, timeout=60_000)
        tab.wait_for_function("id => document.getElementById(id).naturalWidth == 300", arg=shown)
        assert np.abs(np.array(tab.evaluate(SAMPLES, shown)).reshape(wanted.shape) - wanted).max() <= 1, shown
    tab.wait_for_function("document.getElementById('either').currentSrc.startsWith('blob:')")
    assert tab.evaluate("document.getElementById('own').getBoundingClientRect().width") == sample.width
    assert tab.get_by_role("img", name="A cup of coffee").count() == 1
    assert tab.evaluate("document.getElementById('late').naturalWidth") == 0
    tab.evaluate("document.getElementById('late').scrollIntoView()")
    tab.wait_for_function(SHOWN, arg="late", timeout=60_000)
    assert tab.evaluate("document.getElementById('late').getBoundingClientRect().toJSON()")["height"] == 100
    tab.wait_for_function("document.getElementById('missing').error")
    assert tab.evaluate("document.getElementById('instead').shadowRoot.querySelector('span img').naturalWidth") == 300
    assert "cannot be fetched" in tab.evaluate("document.getElementById('missing').error.message")
    assert "late load" in tab.evaluate("events")
    assert all("missing.lic" in text or "404" in text for text in complaints), complaints


def test_the_viewer_without_a_network(browser, hosted, public):
    """After one visit: threads on plain hosting, and pictures when the server is gone."""
    address, server = hosted
    tab, complaints = opened(browser, f"{address}lichen/index.html")
    tab.wait_for_function("crossOriginIsolated", timeout=60_000)
    tab.wait_for_function(
        "caches.has('lichen-image').then(async found => found && "
        "(await (await caches.open('lichen-image')).keys()).length >= 11)",
        timeout=60_000,
    )
    server.shutdown()
    server.server_close()
    tab.reload()
    assert tab.evaluate("crossOriginIsolated")
    tab.set_input_files("#files", public / "photo.lic")
    tab.wait_for_function("document.getElementById('picture').width == 300", timeout=60_000)
    assert complaints == []


def test_a_site_is_written_once(public, capsys):
    assert run("view", "--site", str(public / "lichen")) == 3
    assert "--force" in capsys.readouterr().err
    assert run("view", "--site", str(public / "lichen"), "--force") == 0
    assert {path.name for path in (public / "lichen").iterdir()} >= {"lichen.js", "upgrade.js", "index.html", "sw.js"}
