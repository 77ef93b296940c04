"""The browser's decoder beside Python's, in one run: bits, pixels, time and memory.

    scripts/web && python -m benchmarks.web FOLDER [--pictures 24] [--rounds 7]

FOLDER has pictures, Kodak's. All are encoded at quality 50 and decoded by Python (graphs, one thread), by Node, and by
Chromium with one and with four threads. Bars: latents are Python's everywhere, samples within 1, PSNR to 0.01 dB, our
own code at most 40 kB, and a picture of Kodak's size in a second on one thread. Times of Python and of Chromium are
measured in turn; what is said of them is their ratio. `first` has nothing in the browser's cache, `again` all: both
are from the start of the page's script to the picture. A picture of 12 megapixels is Kodak's side
by side. Memory is the peak of the page's process.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from benchmarks.common import Bar, finish, show, weights_hash
from lichen.codec import Codec
from lichen.metrics import psnr_db
from lichen.options import EngineName
from lichen.runtime.threads import set_threads
from lichen.viewer.models import Models
from lichen.viewer.server import serve
from lichen.viewer.site import PAGE, Site
from tests.web.helpers import BROWSERS, InNode, serving

OURS = ("lichen.js", "lichen-worker.js")
LARGE = (4000, 3000)
Pixels = NDArray[np.uint8]

DECODED = """async ([name, threads]) => {
  const began = performance.now(), lichen = await import("./lichen.js");
  if (!window.ready) { lichen.configure({ threads }); window.ready = true; }
  const data = await (await fetch(name)).arrayBuffer();
  (await lichen.decode(data)).close();
  return performance.now() - began;
}"""
SAMPLES = """async (name) => {
  const lichen = await import("./lichen.js"), data = await (await fetch(name)).arrayBuffer();
  const digest = await lichen.latentsDigest(data), picture = await lichen.decodePicture(data);
  let text = "";
  for (let at = 0; at < picture.data.length; at += 8192)
    text += String.fromCharCode(...picture.data.subarray(at, at + 8192));
  return [digest, picture.height, picture.width, btoa(text)];
}"""


def digest_of(codec: Codec, data: bytes) -> str:
    y_hat, _ = codec.open_file(data).latents()
    return hashlib.sha256(np.asarray(y_hat, "<f8").tobytes()).hexdigest()


def mosaic(pictures: list[Pixels]) -> Pixels:
    """A picture of 12 megapixels, of pictures side by side."""
    width, height = LARGE
    wide = [p if p.shape[1] > p.shape[0] else p.transpose(1, 0, 2) for p in pictures]
    down, across = min(p.shape[0] for p in wide), min(p.shape[1] for p in wide)
    rows, columns = -(-height // down), -(-width // across)
    chosen = [[wide[(r * columns + c) % len(wide)][:down, :across] for c in range(columns)] for r in range(rows)]
    return np.concatenate([np.concatenate(row, axis=1) for row in chosen])[:height, :width]


@contextmanager
def visited(browser: Browser, address: str) -> Iterator[Page]:
    """A page of the site in a profile of its own."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{address}blank.html")
    yield page
    context.close()


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def compared(browser: Browser, address: str, codec: Codec, files: dict[str, bytes], *, originals: list[Pixels]) -> Any:
    """Bits and pixels of all files, in Chromium with one and four threads."""
    found = []
    for threads in (1, 4):
        with visited(browser, address) as page:
            page.evaluate(DECODED, [next(iter(files)), threads])
            for (name, data), original in zip(files.items(), originals, strict=True):
                digest, height, width, text = page.evaluate(SAMPLES, name)
                samples = np.frombuffer(base64.b64decode(text), np.uint8).reshape(height, width, 4)[..., :3]
                wanted = codec.decode_array(data)
                apart = np.abs(samples.astype(int) - wanted)
                found.append(
                    {
                        "picture": Path(name).name,
                        "threads": threads,
                        "latents_equal": digest == digest_of(codec, data),
                        "most": int(apart.max()),
                        "share_differing": float((apart > 0).mean()),
                        "psnr_apart_db": abs(psnr_db(samples, original) - psnr_db(wanted, original)),
                    }
                )
    return found


def timed(
    browser: Browser, address: str, codec: Codec, name: str, *, data: bytes, rounds: int, visits: int = 1
) -> dict[str, Any]:
    """Python and Chromium in turn, one thread each, in seconds; the medians' ratio; a first visit and a second."""
    python, chromium, first, again = [], [], [], []
    with visited(browser, address) as page:
        page.evaluate(DECODED, [name, 1])
        codec.decode(data)
        for _ in range(rounds):
            python.append(seconds(lambda: codec.decode(data)))
            chromium.append(page.evaluate(DECODED, [name, 1]) / 1000)
        memory = peak_bytes(browser)
    for _ in range(visits):
        with visited(browser, address) as page:
            first.append(page.evaluate(DECODED, [name, 1]) / 1000)
            page.goto(f"{address}blank.html?again")
            again.append(page.evaluate(DECODED, [name, 1]) / 1000)
    ratio = statistics.median(chromium) / statistics.median(python)
    times = {"python_s": python, "chromium_s": chromium, "first_s": first, "again_s": again}
    return {"ratio": ratio, **times, "page_peak_bytes": memory}


def peak_bytes(browser: Browser) -> int:
    """The most memory that the largest of the browser's pages has had."""
    found = browser.new_browser_cdp_session().send("SystemInfo.getProcessInfo")["processInfo"]
    pages = [process["id"] for process in found if process["type"] == "renderer"]
    status = [Path(f"/proc/{process}/status").read_text() for process in pages]
    return max(int(text.partition("VmHWM:")[2].split()[0]) * 1024 for text in status)


def in_node(site: Site, codec: Codec, files: dict[str, bytes], folder: Path) -> int:
    """How many files have other latents in Node."""
    site.write(folder, overwrite=True)
    found = InNode(shutil.which("node") or "node", folder).outcomes(list(files.values()))
    return sum(one.get("digest") != digest_of(codec, data) for one, data in zip(found, files.values(), strict=True))


def written(folder: Path, contents: dict[str, bytes]) -> dict[str, Path]:
    """Files with these contents in a folder."""
    placed = {name: folder / name for name in contents}
    for name, path in placed.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(contents[name])
    return placed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pictures", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    set_threads(1)
    run(args.folder, args.pictures, args.rounds)


def run(folder: Path, count: int, rounds: int) -> None:
    codec, paths = Codec(engine=EngineName.ONNX), sorted(folder.glob("*.png"))[:count]
    originals = [np.asarray(Image.open(path).convert("RGB")) for path in paths]
    files = {f"kodak/{p.stem}.lic": codec.encode(x, quality=50) for p, x in zip(paths, originals, strict=True)}
    large = {"large.lic": codec.encode(mosaic(originals), quality=50)}
    site = Site.with_models(Models.available())
    blank = {"blank.html": b"<!doctype html><title>blank</title>"}
    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as playwright:
        placed = written(Path(temporary), files | large | blank)
        browser_path = next(path for name in BROWSERS if (path := shutil.which(name)))
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox", "--disable-gpu"])
        with serving(serve(replace(site, files=site.files | placed), 0)) as address:
            bits = compared(browser, address, codec, files, originals=originals)
            name, data = next(iter(files.items()))
            small = timed(browser, address, codec, name, data=data, rounds=rounds, visits=3)
            big = timed(browser, address, codec, "large.lic", data=large["large.lic"], rounds=min(rounds, 2))
        browser.close()
        wrong_in_node = in_node(site, codec, files, Path(temporary) / "site")
    report(bits, {"768 x 512": small, "4000 x 3000": big}, wrong_in_node)


def report(bits: list[dict[str, Any]], times: dict[str, dict[str, Any]], wrong_in_node: int) -> None:
    columns = ("picture", "threads", "latents", "most", "differing", "dB apart")
    show("bits and pixels in Chromium", columns, [tuple(row.values()) for row in bits])
    rows = [
        (size, t["ratio"], *(statistics.median(t[f"{k}_s"]) for k in ("python", "chromium", "first", "again")))
        for size, t in times.items()
    ]
    show("one thread, seconds", ("size", "ratio", "Python", "Chromium", "first visit", "second"), rows)
    code = sum((PAGE / name).stat().st_size for name in OURS)
    kodak = statistics.median(times["768 x 512"]["chromium_s"])
    bars = [
        Bar("files with other latents in Chromium", sum(not row["latents_equal"] for row in bits), 0),
        Bar("files with other latents in Node", wrong_in_node, 0),
        Bar("samples apart", max(row["most"] for row in bits), 1),
        Bar("PSNR apart, dB", max(row["psnr_apart_db"] for row in bits), 0.01),
        Bar("our own code, bytes", code, 40_000),
        Bar("a picture of 768 x 512 in Chromium, s", kodak, 1),
    ]
    sizes = {path.relative_to(PAGE).as_posix(): path.stat().st_size for path in sorted(PAGE.rglob("*.*js"))}
    finish("web", {"weights": weights_hash(), "bits": bits, "times": times, "bytes": sizes}, bars)


if __name__ == "__main__":
    main()
