"""What `scripts/demo` runs: encode, decode, compare at equal bytes, draw."""

import io
import sys
from pathlib import Path

import skimage
from PIL import Image
from rich.console import Console
from rich.table import Table

import lichen
from lichen.image.files import write_atomically
from lichen.image.picture import Picture, open_picture, to_pil
from lichen.lab.evaluation.peers import available
from lichen.lab.reporting.compare import compare, draw

QUALITY = 30
PEERS = ("JPEG 4:2:0", "WebP", "AVIF")
SAMPLES = ("coffee.png", "chelsea.png", "astronaut.png")


def rgb(path: Path) -> Image.Image:
    """The picture without alpha, as all of these codecs can code it."""
    return to_pil(Picture(open_picture(path).pixels))


def main() -> None:
    samples = Path(skimage.__file__).parent / "data"
    paths = [Path(a) for a in sys.argv[1:]] or [samples / name for name in SAMPLES]
    out, console = Path.cwd() / "demo", Console(soft_wrap=True)
    codec = lichen.Codec()
    peers = [p for p in available() if p.name in PEERS]
    codec.encode(rgb(paths[0]), QUALITY)  # the first call of a process is slower: not what we time
    rows = []
    for path in paths:
        image = rgb(path)
        results = compare(path.name, image, codec, lambda picture: codec.encode(picture, QUALITY), peers)
        rows.append((path.name, image, results))
        raw_bytes = image.width * image.height * 3
        title = f"{path.name}, {image.width} x {image.height}: {path.stat().st_size} bytes, {raw_bytes} as raw pixels"
        table = Table(title=title, title_justify="left")
        for name in ("codec", "bytes", "bpp", "PSNR dB", "MS-SSIM", "encode s", "decode s"):
            table.add_column(name, justify="left" if name == "codec" else "right")
        for r in results:
            figures = (f"{r.psnr_db:.2f}", f"{r.ms_ssim:.4f}", f"{r.encode_s:.3f}", f"{r.decode_s:.3f}")
            table.add_row(r.codec, str(r.size_bytes), f"{r.bpp:.3f}", *figures)
        console.print(table)
        data = codec.encode(image, QUALITY)
        write_atomically(out / f"{path.stem}.lic", data, overwrite=True)
        write_atomically(out / f"{path.stem}.png", png(codec.decode(data)), overwrite=True)
    write_atomically(out / "comparison.png", png(draw(rows)), overwrite=True)
    console.print(f"Files: {out}\nSide by side: {out / 'comparison.png'}")


def png(image: Image.Image) -> bytes:
    """The picture as PNG bytes."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


if __name__ == "__main__":
    try:
        main()
    except lichen.LichenError as error:
        sys.exit(f"demo: {error}")
