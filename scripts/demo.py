"""What `scripts/demo` runs: encode, decode, compare at equal bytes, draw. Needs no PyTorch."""

from __future__ import annotations

import functools
import io
import sys
from collections.abc import Sequence
from pathlib import Path

from PIL import Image
from rich.console import Console
from rich.table import Table

import lichen
from lichen.image.files import write_atomically
from lichen.image.picture import Picture, open_picture, to_pil
from lichen.lab.evaluation.peers import available
from lichen.lab.reporting.compare import FileResult, compare, draw

QUALITY = 30
PEERS = ("JPEG 4:2:0", "WebP", "AVIF")


def rgb(path: Path) -> Image.Image:
    """The picture without alpha, as all of these codecs can code it."""
    return to_pil(Picture(open_picture(path).pixels))


def table_of(title: str, results: Sequence[FileResult]) -> Table:
    """A line for each codec; by how many per cent its bytes differ from those of the first."""
    table = Table(title=title, title_justify="left")
    for name in ("codec", "bytes", "% bytes", "bpp", "PSNR dB", "encode s", "decode s"):
        table.add_column(name, justify="left" if name == "codec" else "right")
    for r in results:
        figures = f"{r.over_ours_percent:+.1f}", f"{r.bpp:.3f}", f"{r.psnr_db:.2f}"
        table.add_row(r.codec, str(r.size_bytes), *figures, f"{r.encode_s:.3f}", f"{r.decode_s:.3f}")
    return table


def png(image: Image.Image) -> bytes:
    """The picture as PNG bytes."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def main() -> None:
    out, console, codec = Path.cwd() / "demo", Console(soft_wrap=True), lichen.Codec()
    paths = [Path(argument) for argument in sys.argv[1:]]
    peers = [p for p in available() if p.name in PEERS]
    encode = functools.partial(codec.encode, quality=QUALITY)
    codec.decode(encode(rgb(paths[0])))  # the first call of a process is slower: not what we time
    rows = []
    for path in paths:
        image = rgb(path)
        results = compare(path.name, image, codec, encode, peers=peers, left_out=console.print)
        raw_bytes = image.width * image.height * 3
        title = f"{path.name}, {image.width} x {image.height}: {path.stat().st_size} bytes, {raw_bytes} as raw pixels"
        console.print(table_of(title, results))
        write_atomically(out / f"{path.stem}.lic", results[0].data, overwrite=True)
        write_atomically(out / f"{path.stem}.png", png(results[0].decoded), overwrite=True)
        rows.append((path.name, image, results))
    write_atomically(out / "comparison.png", png(draw(rows)), overwrite=True)
    console.print(f"Files: {out}\nSide by side: {out / 'comparison.png'}")


if __name__ == "__main__":
    try:
        main()
    except lichen.LichenError as error:
        sys.exit(f"demo: {error}")
