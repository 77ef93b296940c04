"""What `scripts/demo` runs: encode, decode, compare at equal bytes, draw. Needs no PyTorch."""

from __future__ import annotations

import io
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from rich.console import Console
from rich.table import Table

import lichen
from lichen.image.files import write_atomically
from lichen.image.picture import Picture, open_picture, to_pil
from lichen.lab.evaluation.peers import Peer, available
from lichen.metrics import psnr_db

QUALITY = 30
PEERS = ("JPEG 4:2:0", "WebP", "AVIF")
PANEL, CAPTION = 320, 30  # pixels of the drawing: side of a crop, height of its caption


@dataclass(frozen=True)
class Coded:
    """A codec's file of a picture, and what it decodes to. Seconds are of one call."""

    codec: str
    data: bytes
    decoded: Image.Image
    encode_s: float
    decode_s: float


def rgb(path: Path) -> Image.Image:
    """The picture without alpha, as all of these codecs can code it."""
    return to_pil(Picture(open_picture(path).pixels))


def by_lichen(codec: lichen.Codec, image: Image.Image) -> Coded:
    """The picture by Lichen."""
    start = time.perf_counter()
    data = codec.encode(image, QUALITY)
    encoded = time.perf_counter()
    decoded = codec.decode(data)
    return Coded("Lichen", data, decoded, encoded - start, decode_s=time.perf_counter() - encoded)


def by_peer(peer: Peer, image: Image.Image, size_bytes: int) -> Coded:
    """The picture by another codec, in no more bytes unless its smallest file is larger."""
    found = peer.at_most(image, size_bytes)
    start = time.perf_counter()
    peer.encode(image, found.setting)
    encoded = time.perf_counter()
    decoded = peer.decode(found.data)
    return Coded(peer.name, found.data, decoded, encoded - start, decode_s=time.perf_counter() - encoded)


def table_of(title: str, image: Image.Image, files: list[Coded]) -> Table:
    """A line for each codec; by how many per cent its bytes differ from those of the first."""
    table = Table(title=title, title_justify="left")
    for name in ("codec", "bytes", "% bytes", "bpp", "PSNR dB", "encode s", "decode s"):
        table.add_column(name, justify="left" if name == "codec" else "right")
    for f in files:
        bpp, psnr = 8 * len(f.data) / (image.width * image.height), psnr_db(np.asarray(image), np.asarray(f.decoded))
        over = f"{100 * (len(f.data) / len(files[0].data) - 1):+.1f}"
        figures = over, f"{bpp:.3f}", f"{psnr:.2f}", f"{f.encode_s:.3f}", f"{f.decode_s:.3f}"
        table.add_row(f.codec, str(len(f.data)), *figures)
    return table


def draw(rows: list[tuple[Image.Image, list[Coded]]]) -> Image.Image:
    """A row for each picture: the middle of the original, then of what each codec made of it."""
    sheet = Image.new("RGB", (max(len(files) + 1 for _, files in rows) * PANEL, len(rows) * (PANEL + CAPTION)), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=16)
    for number, (image, files) in enumerate(rows):
        side, top = min(PANEL, *image.size), number * (PANEL + CAPTION)
        x, y = (image.width - side) // 2, (image.height - side) // 2
        panels = [("original", image), *((f"{f.codec}, {len(f.data)} bytes", f.decoded) for f in files)]
        for column, (caption, picture) in enumerate(panels):
            sheet.paste(picture.crop((x, y, x + side, y + side)), (column * PANEL, top))
            pen.text((column * PANEL + 4, top + PANEL + 4), caption, fill="black", font=font)
    return sheet


def png(image: Image.Image) -> bytes:
    """The picture as PNG bytes."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def main() -> None:
    out, console, codec = Path.cwd() / "demo", Console(soft_wrap=True), lichen.Codec()
    paths = [Path(argument) for argument in sys.argv[1:]]
    peers = [p for p in available() if p.name in PEERS]
    by_lichen(codec, rgb(paths[0]))  # the first call of a process is slower: not what we time
    rows = []
    for path in paths:
        image = rgb(path)
        ours = by_lichen(codec, image)
        files = [ours, *(by_peer(peer, image, len(ours.data)) for peer in peers)]
        raw_bytes = image.width * image.height * 3
        title = f"{path.name}, {image.width} x {image.height}: {path.stat().st_size} bytes, {raw_bytes} as raw pixels"
        console.print(table_of(title, image, files))
        write_atomically(out / f"{path.stem}.lic", ours.data, overwrite=True)
        write_atomically(out / f"{path.stem}.png", png(ours.decoded), overwrite=True)
        rows.append((image, files))
    write_atomically(out / "comparison.png", png(draw(rows)), overwrite=True)
    console.print(f"Files: {out}\nSide by side: {out / 'comparison.png'}")


if __name__ == "__main__":
    try:
        main()
    except lichen.LichenError as error:
        sys.exit(f"demo: {error}")
