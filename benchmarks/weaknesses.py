"""What the default model was not trained for, text, a screenshot, line art, noise, beside peers at no more bytes.

    python -m benchmarks.weaknesses [--tune ms-ssim] [--sheet docs/weaknesses.jpg]

Pictures are scikit-image's, the screenshot is drawn here, the noise is Gaussian (10 of 255) on a photograph. There are
no bars: the table goes into the model card, the sheet shows the crops.
"""

from __future__ import annotations

import argparse
import io
import itertools
from pathlib import Path

import numpy as np
import skimage
from PIL import Image, ImageDraw, ImageFont

from benchmarks.common import finish, show
from lichen.codec import Codec
from lichen.image.files import write_atomically
from lichen.lab.evaluation.peers import available
from lichen.lab.reporting.compare import compare, draw
from lichen.metrics import decibels
from lichen.options import Tune

QUALITY = 40
PEERS = ("JPEG 4:2:0", "WebP", "AVIF")


def sample(name: str) -> Image.Image:
    return Image.open(Path(skimage.__file__).parent / "data" / name).convert("RGB")


def screenshot() -> Image.Image:
    """A window of text on plain colours, 640 x 400."""
    image = Image.new("RGB", (640, 400), "#eceff4")
    pen = ImageDraw.Draw(image)
    pen.rectangle((20, 20, 620, 380), fill="white", outline="#4c566a")
    pen.rectangle((20, 20, 620, 48), fill="#5e81ac")
    pen.text((30, 26), "codec.py", fill="white", font=ImageFont.load_default(size=14))
    lines = [line for line in Path(skimage.__file__).read_text().splitlines() if line.strip()][:20]
    for number, line in enumerate(lines):
        colour = ("#2e3440", "#bf616a", "#5e81ac")[number % 3]
        pen.text((32, 58 + 16 * number), line[:76], fill=colour, font=ImageFont.load_default(size=12))
    return image


def noisy(image: Image.Image) -> Image.Image:
    noise = np.random.default_rng(1).normal(0, 10, np.asarray(image).shape)
    return Image.fromarray((np.asarray(image) + noise).round().clip(0, 255).astype(np.uint8))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sheet", type=Path)
    parser.add_argument("--tune", type=Tune, default=Tune.PSNR)
    args = parser.parse_args()
    pictures = {
        "photograph": sample("coffee.png"),
        "the same with noise": noisy(sample("coffee.png")),
        "scan of text": sample("page.png"),
        "screenshot": screenshot(),
        "line art": sample("horse.png"),
    }
    codec, peers = Codec(tune=args.tune), [p for p in available() if p.name in PEERS]
    rows = [
        (n, im, compare(n, im, codec, lambda x: codec.encode(x, QUALITY), peers=peers)) for n, im in pictures.items()
    ]
    table = {name: {r.codec: round(r.psnr_db, 2) for r in results} for name, _, results in rows}
    similar = {name: {r.codec: round(decibels(r.ms_ssim), 2) for r in results} for name, _, results in rows}
    sizes = {name: {r.codec: r.size_bytes for r in results} for name, _, results in rows}
    codecs = list(next(iter(table.values())))
    for measure, found in (("PSNR", table), ("MS-SSIM", similar)):
        lines = [[n, *itertools.chain(*zip(sizes[n].values(), found[n].values(), strict=True))] for n in found]
        show(f"{measure}, dB, at no more than Lichen's bytes", ["", *[h for c in codecs for h in ("bytes", c)]], lines)
    if args.sheet is not None:
        buffer = io.BytesIO()
        draw(rows).save(buffer, "JPEG", quality=70)
        write_atomically(args.sheet, buffer.getvalue(), overwrite=True)
    facts = {"psnr_db": table, "ms_ssim_db": similar, "size_bytes": sizes, "weights": codec.engine.hash.hex()}
    finish(args.tune.weights("weaknesses"), facts, [])


if __name__ == "__main__":
    main()
