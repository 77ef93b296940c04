"""A picture coded by Lichen and by peers at the same bytes: figures, and one drawing."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from lichen.codec import Codec
from lichen.errors import BadPicture
from lichen.extras import is_installed
from lichen.lab.evaluation.peers import Peer, peer_errors
from lichen.metrics import ms_ssim, psnr_db

OURS = "Lichen"
MEASURES_MS_SSIM = ("torch", "pytorch_msssim")
_PANEL = 320  # pixels: side of a crop in the drawing
_CAPTION = 52


@dataclass(frozen=True)
class FileResult:
    """One codec's file of one picture. Seconds are of one call, entropy coding and container included.

    `over_ours_percent` is by how much its bytes are more than those of Lichen's file; `ms_ssim` is nan without the
    package that measures it.
    """

    codec: str
    data: bytes
    over_ours_percent: float
    bpp: float
    psnr_db: float
    ms_ssim: float
    encode_s: float
    decode_s: float
    decoded: Image.Image

    @property
    def size_bytes(self) -> int:
        """Of the file."""
        return len(self.data)


def compare(
    name: str,
    image: Image.Image,
    codec: Codec,
    encode: Callable[[Image.Image], bytes],
    *,
    peers: Sequence[Peer],
    left_out: Callable[[str], None] | None = None,
) -> list[FileResult]:
    """`image` (RGB) by Lichen as `encode` does it, then by each peer at no more bytes (see `Peer.at_most`).

    What a peer cannot code (WebP ends at 16383 pixels a side) is told to `left_out`, with the picture's name and the
    reason. Without it `BadPicture` is raised.
    """
    start = time.perf_counter()
    data = encode(image)
    encoded = time.perf_counter()
    decoded = codec.decode(data)
    made = _Coded(data, decoded, encoded - start, time.perf_counter() - encoded)
    results = [_result(OURS, image, made, len(data))]
    for peer in peers:
        try:
            with peer_errors(f"{name}: {peer.name}"):
                made = _at_most(peer, image, len(data))
        except BadPicture as error:
            if left_out is None:
                raise
            left_out(str(error))
        else:
            results.append(_result(peer.name, image, made, len(data)))
    return results


@dataclass(frozen=True)
class _Coded:
    """A file, what it decodes to, and the seconds of both ways."""

    data: bytes
    decoded: Image.Image
    encode_s: float
    decode_s: float


def _at_most(peer: Peer, image: Image.Image, size_bytes: int) -> _Coded:
    """A peer's file of no more bytes."""
    found = peer.at_most(image, size_bytes)
    start = time.perf_counter()
    peer.encode(image, found.setting)
    encoded = time.perf_counter()
    decoded = peer.decode(found.data)
    return _Coded(found.data, decoded, encoded - start, time.perf_counter() - encoded)


def _result(name: str, image: Image.Image, made: _Coded, ours_bytes: int) -> FileResult:
    original, back = np.asarray(image), np.asarray(made.decoded)
    return FileResult(
        codec=name,
        data=made.data,
        over_ours_percent=100 * (len(made.data) / ours_bytes - 1),
        bpp=8 * len(made.data) / (image.width * image.height),
        psnr_db=psnr_db(original, back),
        ms_ssim=ms_ssim(original, back) if is_installed(*MEASURES_MS_SSIM) else math.nan,
        encode_s=made.encode_s,
        decode_s=made.decode_s,
        decoded=made.decoded,
    )


def signed(percent: float) -> str:
    """A difference as people read it: `-3.1 %`, `+0.0 %`."""
    return f"{percent:+.1f} %"


def draw(rows: Sequence[tuple[str, Image.Image, Sequence[FileResult]]]) -> Image.Image:
    """A sheet: a row for each (title, original, results), the same crop by each codec, captions below."""
    columns = 1 + max(len(results) for _, _, results in rows)
    sheet = Image.new("RGB", (columns * (_PANEL + 8) + 8, len(rows) * (_PANEL + _CAPTION) + 8), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=16)
    for number, (title, image, results) in enumerate(rows):
        top = number * (_PANEL + _CAPTION) + 8
        panels = [(image, title, f"original, {image.width} x {image.height}")]
        panels += [(r.decoded, f"{r.codec}  {in_bytes(r)}", f"{r.psnr_db:.2f} dB, {r.bpp:.3f} bpp") for r in results]
        for column, (picture, first, second) in enumerate(panels):
            left = column * (_PANEL + 8) + 8
            sheet.paste(_detail(picture, image), (left, top))
            pen.text((left, top + _PANEL + 4), first, fill="black", font=font)
            pen.text((left, top + _PANEL + 24), second, fill="#555555", font=font)
    return sheet


def in_bytes(result: FileResult) -> str:
    """`4021 bytes (-3.1 %)`; ours without the difference."""
    over = "" if result.codec == OURS else f" ({signed(result.over_ours_percent)})"
    return f"{result.size_bytes} bytes{over}"


def _detail(picture: Image.Image, original: Image.Image) -> Image.Image:
    """The crop with the most contrast in the original, so that all codecs are shown at the hardest place."""
    side = min(_PANEL, *original.size)
    x, y = busiest(original, side, side)
    return picture.crop((x, y, x + side, y + side)).resize((_PANEL, _PANEL), Image.Resampling.NEAREST)


def busiest(image: Image.Image, width: int, height: int) -> tuple[int, int]:
    """Left and top of the place of this size with the most contrast in the picture."""
    grey = np.asarray(image.convert("L"), dtype=np.float64)
    places = [
        (float(grey[y : y + height, x : x + width].std()), x, y)
        for y in range(0, image.height - height + 1, max(height // 4, 1))
        for x in range(0, image.width - width + 1, max(width // 4, 1))
    ]
    _, x, y = max(places)
    return x, y
