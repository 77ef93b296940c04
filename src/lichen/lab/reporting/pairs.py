"""A picture coded by several codecs at the same bytes, embedded losslessly in a page with a slider."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lichen.codec import Codec
from lichen.image.picture import Picture, open_picture, to_pil
from lichen.lab.evaluation.peers import available
from lichen.lab.reporting.compare import OURS, FileResult, busiest, compare, signed
from lichen.lab.reporting.html import page

SHOWN_SIDE_MAX = 1024  # pixels shown of a large photograph
_FIRST = "AVIF"  # the peer that pages open on: the strongest that browsers know


@dataclass(frozen=True)
class Shown:
    """The part of a picture that a page shows: left, top, right, bottom."""

    box: tuple[int, int, int, int]
    whole: bool


def part_to_show(image: Image.Image) -> Shown:
    """All of a picture of up to 1024 x 1024 pixels; of a larger one the part with the most contrast."""
    width, height = min(image.width, SHOWN_SIDE_MAX), min(image.height, SHOWN_SIDE_MAX)
    x, y = busiest(image, width, height)
    return Shown((x, y, x + width, y + height), (width, height) == image.size)


def pair_data(name: str, image: Image.Image, results: Sequence[FileResult]) -> dict[str, Any]:
    """A picture and its versions as the page's slider reads them; all pixels lossless, and Lichen's file itself."""
    shown = part_to_show(image)
    part = image.crop(shown.box)
    side = min(160, *part.size)
    originals = {"name": "Original", "note": f"{image.width} x {image.height} pixels", "src": _embedded(part)}
    return {
        "name": name,
        "width": part.width,
        "height": part.height,
        "left": shown.box[0],
        "top": shown.box[1],
        "whole": shown.whole,
        "full": [image.width, image.height],
        "crop": [*busiest(part, side, side), side],
        "versions": [originals, *(_version(name, result, shown) for result in results)],
        "opens": [1 + next((i for i, result in enumerate(results) if result.codec == _FIRST), -1), 1],  # left, right
    }


def _version(name: str, result: FileResult, shown: Shown) -> dict[str, Any]:
    similarity = "" if np.isnan(result.ms_ssim) else f" · MS-SSIM {result.ms_ssim:.4f}"
    over = "" if result.codec == OURS else f" ({signed(result.over_ours_percent)})"
    note = f"{result.size_bytes:,} bytes{over} · {result.bpp:.3f} bpp · {result.psnr_db:.2f} dB{similarity}".replace(
        ",", " "
    )
    version: dict[str, Any] = {"name": result.codec, "note": note, "src": _embedded(result.decoded.crop(shown.box))}
    if result.codec == OURS:
        version["file"] = {"name": f"{Path(name).stem}.lic", "src": _data_url("image/x-lichen", result.data)}
    return version


def _embedded(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", lossless=True, method=6)
    return _data_url("image/webp", buffer.getvalue())


def _data_url(media_type: str, data: bytes) -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


Photo = tuple[str, Image.Image, list[FileResult]]  # a name, the original, and what each codec made of it


def photo_by_all(
    path: Path,
    codec: Codec,
    quality: float,
    size_bytes: int | None,
    max_pixels: int,
    left_out: Callable[[str], None] | None = None,
) -> Photo:
    """A photograph by Lichen, at a quality or for a size, and by every peer of this machine at no more bytes.

    `left_out` is told of a peer that cannot code it, which is an error otherwise.
    """
    image = to_pil(Picture(open_picture(path, max_pixels).pixels))
    encode = lambda picture: codec.encode(picture, quality, target_size_bytes=size_bytes)  # noqa: E731
    return path.name, image, compare(str(path), image, codec, encode, peers=available(), left_out=left_out)


def comparison_page(pictures: Sequence[Photo]) -> bytes:
    """The slider alone, as a page of one file, for (name, original, results) of each picture."""
    pairs = [pair_data(*picture) for picture in pictures]
    how = [
        "Each codec got the bytes of Lichen's file, or as many as its settings allow without more; where even its "
        "smallest file is larger, that one is shown. The bytes are of whole files; beside them stands by how many per "
        "cent they differ from Lichen's.",
        "What you see is embedded losslessly: the decoded pixels, not another compression. Lichen's file can be saved "
        "from under its picture. Where lichen view serves this page, Lichen's pixels are decoded from it in the page.",
    ]
    for pair in pairs:
        if not pair["whole"]:
            width, height = pair["full"]
            how.append(
                f"{pair['name']} has {width} x {height} pixels; the page shows the {pair['width']} x {pair['height']} "
                "with the most contrast, the figures are of the whole picture."
            )
    title = pairs[0]["name"] if len(pairs) == 1 else f"{len(pairs)} pictures"
    title = f"{title}, at equal bytes"
    data = {
        "title": title,
        "lead": "Drag the divider, or use the arrow keys on the slider; double-click or use the buttons to zoom.",
        "how": how,
        "pictures": pairs,
    }
    return page(title, "compare.html", ("slider.js", "compare.js"), data)
