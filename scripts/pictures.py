"""What `scripts/pictures` runs: each picture of docs/ by the command that shows it, as JPEG."""

import io
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import skimage
from PIL import Image

from lichen.codec import Codec
from lichen.image.files import write_atomically
from lichen.image.picture import Picture, open_picture, to_pil
from lichen.lab.evaluation.peers import available
from lichen.lab.reporting.compare import compare, draw

DOCS = Path(__file__).parents[1] / "docs"
SAMPLE, QUALITY, PEERS = "chelsea.png", 30, ("JPEG 4:2:0", "WebP", "AVIF")
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
VIEW, HALF = (1000, 1227), (750, 920)  # pixels: the report's page, and what it becomes in half of its picture
SECTION = "Rate and distortion"  # of the report, where the dark half begins
EVIDENCE_WIDTH = 1100


def save(name: str, image: Image.Image, quality: int) -> None:
    """A picture of docs/."""
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "JPEG", quality=quality)
    write_atomically(DOCS / name, buffer.getvalue(), overwrite=True)
    print(DOCS / name)


def command(*words: str) -> None:
    """A command of this project, in its root."""
    subprocess.run([sys.executable, "-m", *words], cwd=DOCS.parent, check=True)


def comparison() -> None:
    """One sample photograph by Lichen and by others in no more bytes, as `scripts/demo` draws it."""
    opened, codec = open_picture(Path(skimage.__file__).parent / "data" / SAMPLE), Codec()
    image = to_pil(Picture(opened.pixels))  # without its profile, as the others are made
    peers = [peer for peer in available() if peer.name in PEERS]
    results = compare(SAMPLE, image, codec, lambda picture: codec.encode(picture, QUALITY), peers=peers)
    save("comparison.jpg", draw([(SAMPLE, image, results)]), 85)


def report(kodak: str, folder: Path) -> None:
    """Two views of `lichen report`: the top in light colours, the charts in dark ones."""
    from playwright.sync_api import sync_playwright

    browser = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if browser is None:
        sys.exit("report.jpg needs Chromium: apt-get install chromium")
    command("lichen", "report", "results/kodak", "--data", kodak, "-o", str(folder))
    views = []
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        for scheme in ("light", "dark"):
            page = opened.new_page(viewport={"width": VIEW[0], "height": VIEW[1]}, color_scheme=scheme)
            page.goto((folder / "index.html").as_uri())
            if scheme == "dark":
                page.get_by_role("heading", name=SECTION).evaluate("heading => heading.scrollIntoView()")
            page.wait_for_timeout(500)
            views.append(Image.open(io.BytesIO(page.screenshot())).resize(HALF, Image.Resampling.LANCZOS))
        opened.close()
    both = Image.new("RGB", (2 * HALF[0], HALF[1]))
    for number, view in enumerate(views):
        both.paste(view, (number * HALF[0], 0))
    save("report.jpg", both, 85)


def evidence(kodak: str, weights: Path, folder: Path) -> None:
    """Both models of seed 1 by `lichen inspect`."""
    pair = [str(weights / "weights" / f"{name}-1.safetensors") for name in ("plain", "corr")]
    command("lichen", "inspect", *pair, kodak, "-o", str(folder / "evidence.png"))
    with Image.open(folder / "evidence.png") as drawn:
        height = round(drawn.height * EVIDENCE_WIDTH / drawn.width)
        save(
            "experiments/correlation-loss.jpg",
            drawn.convert("RGB").resize((EVIDENCE_WIDTH, height), Image.Resampling.LANCZOS),
            85,
        )


def main() -> None:
    kodak, weights = [*map(str, map(Path.absolute, map(Path, sys.argv[1:]))), None, None][:2]
    comparison()
    command("benchmarks.weaknesses", "--sheet", str(DOCS / "weaknesses.jpg"))
    with tempfile.TemporaryDirectory() as folder:
        if kodak is not None:
            report(kodak, Path(folder) / "report")
        if kodak is not None and weights is not None:
            evidence(kodak, Path(weights), Path(folder))


if __name__ == "__main__":
    main()
