"""Rate and distortion on Kodak by file bytes, against the codecs people use, run here.

    python -m benchmarks.kodak ../shared/kodak [--weights FILE] [--quick]

Writes results/kodak.tsv (a row for each picture, codec and setting), results/kodak.json and the mean
curves; exits 1 unless Lichen's BD-rate is below 0 against WebP and below -40 % against the better JPEG.
`--quick` takes every fourth picture, only prints, and is for looking at a training.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

import lichen
from benchmarks.common import RESULTS, Bar, finish, show
from lichen.errors import BadInput
from lichen.evaluation.bdrate import Curve, bd_rate_percent
from lichen.evaluation.metrics import decibels, ms_ssim, psnr_db
from lichen.evaluation.peers import Peer, available
from lichen.files import write_atomically
from lichen.training.data import list_pictures

QUALITIES = (0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100)
PEER_SETTINGS = 16  # spread over each peer's range
VTM = Path("../shared/rd/kodak/vtm.json")


@dataclass(frozen=True)
class Measured:
    """One file: `codec` at `setting` on `picture`."""

    picture: str
    codec: str
    setting: float
    size_bytes: int
    bpp: float
    psnr_db: float
    ms_ssim: float


def measure(
    name: str, codec: str, setting: float, image: Image.Image, data: bytes, decoded: Image.Image, similarity: bool
) -> Measured:
    a, b = np.asarray(image), np.asarray(decoded.convert("RGB"))
    bpp = 8 * len(data) / (image.width * image.height)
    return Measured(name, codec, setting, len(data), bpp, psnr_db(a, b), ms_ssim(a, b) if similarity else 0.0)


def peer_settings(peer: Peer) -> list[int]:
    """Some of a peer's settings, evenly over its range."""
    count = min(PEER_SETTINGS, len(peer.settings))
    picked = np.linspace(0, len(peer.settings) - 1, count).round().astype(int)
    return [peer.settings[i] for i in picked]


def of_lichen(codec: lichen.Codec, path: Path, similarity: bool) -> Iterable[Measured]:
    image = Image.open(path).convert("RGB")
    for quality in QUALITIES:
        data = codec.encode(image, quality)
        yield measure(path.stem, "Lichen", quality, image, data, codec.decode(data), similarity)


def of_peers(path: Path, similarity: bool) -> Iterable[Measured]:
    image = Image.open(path).convert("RGB")
    for peer in available():
        for setting in peer_settings(peer):
            data = peer.encode(image, setting)
            yield measure(path.stem, peer.name, setting, image, data, Image.open(io.BytesIO(data)), similarity)


def mean_points(rows: list[Measured], codec: str) -> list[tuple[float, float, float]]:
    """(bpp, PSNR, MS-SSIM), each averaged over the pictures, for each setting of a codec."""
    settings = sorted({r.setting for r in rows if r.codec == codec})
    chosen = [[r for r in rows if r.codec == codec and r.setting == s] for s in settings]
    return [tuple(float(np.mean([getattr(r, k) for r in c])) for k in ("bpp", "psnr_db", "ms_ssim")) for c in chosen]


def curve(name: str, points: list[tuple[float, float, float]]) -> Curve:
    """The rising part of a codec's mean points (a peer's last settings may add bytes for nothing)."""
    rising: list[tuple[float, float]] = []
    for bpp, psnr, _ in sorted(points):
        if not rising or (bpp > rising[-1][0] and psnr > rising[-1][1]):
            rising.append((bpp, psnr))
    return Curve.of(name, rising)


def bd_rates(curves: dict[str, Curve]) -> dict[str, tuple[float, tuple[float, float]]]:
    """Lichen's BD-rate over each other curve, with the overlap in dB."""
    found = {}
    for name, anchor in curves.items():
        if name == "Lichen":
            continue
        try:
            found[name] = bd_rate_percent(anchor, curves["Lichen"])
        except BadInput as error:
            print(f"{name}: {error}")
    return found


def everything(codec: lichen.Codec, paths: list[Path], similarity: bool) -> list[Measured]:
    rows = [row for path in paths for row in of_lichen(codec, path, similarity)]
    work: Callable[[Path], list[Measured]] = lambda path: list(of_peers(path, similarity))  # noqa: E731
    with ThreadPoolExecutor(2) as pool:
        for more in pool.map(work, paths):
            rows += more
    return rows


def write_table(rows: list[Measured]) -> None:
    head = "picture\tcodec\tsetting\tsize_bytes\tbpp\tpsnr_db\tms_ssim\n"
    lines = "".join(
        f"{r.picture}\t{r.codec}\t{r.setting}\t{r.size_bytes}\t{r.bpp:.4f}\t{r.psnr_db:.3f}\t{r.ms_ssim:.5f}\n"
        for r in rows
    )
    write_atomically(RESULTS / "kodak.tsv", (head + lines).encode(), overwrite=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    paths = list_pictures(args.data)[:: 4 if args.quick else 1]
    codec = lichen.Codec(weights=args.weights)
    rows = everything(codec, paths, similarity=not args.quick)
    names = list(dict.fromkeys(r.codec for r in rows))
    points = {name: mean_points(rows, name) for name in names}
    columns = ("quality", "bpp", "PSNR dB", "MS-SSIM dB")
    lines = [(q, b, p, decibels(s)) for q, (b, p, s) in zip(QUALITIES, points["Lichen"], strict=True)]
    show(f"Lichen, {len(paths)} pictures, file bytes", columns, lines)
    curves = {name: curve(name, points[name]) for name in names}
    if VTM.exists() and not args.quick:
        curves["VTM (published)"] = Curve.load(VTM)
    rates = bd_rates(curves)
    show(
        "BD-rate (PSNR)",
        ("over", "%", "overlap dB"),
        [(n, v, f"{o[0]:.2f} ... {o[1]:.2f}") for n, (v, o) in rates.items()],
    )
    if args.quick:
        return
    write_table(rows)
    facts = {
        "weights": codec.checkpoint.hash.hex(),
        "training": codec.checkpoint.facts,
        "pictures": len(paths),
        "curves": {n: [list(p) for p in points[n]] for n in names},
        "bd_rate_percent": {n: {"value": v, "overlap_db": o} for n, (v, o) in rates.items()},
    }
    jpeg = max(rates[n][0] for n in rates if n.startswith("JPEG 4"))
    finish(
        "kodak",
        facts,
        [Bar("BD-rate over WebP, %", rates["WebP"][0], 0.0), Bar("BD-rate over the better JPEG, %", jpeg, -40.0)],
    )


if __name__ == "__main__":
    main()
