"""Make tests/golden: files of this format version, with tiny frozen weights and digests of their latents.

    python scripts/make_golden.py

Adds what is missing, weights or files, and leaves all that is there as it is: later versions must decode it
to the same latents. To make something anew, with a new format version, delete it first. After a merge, take
either side's digests.json and run this: files without a digest are given one.
"""

import hashlib
import json
import sys
from pathlib import Path

from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))

from lichen.codec import Codec
from lichen.image.files import write_atomically
from lichen.lab.models.zoo import row
from tests.small import scene, small_checkpoint

GOLDEN = Path(__file__).parents[1] / "tests/golden"
LONG = 3137  # pixels: 50 hyper-latents, more than a tile has
SMALL, SEVERAL_TILES = ("rgb", "grey", "alpha"), ("wide", "tall")
# Files of each row. Of the row `lichen`: weights of two parities (-dual), which it had before docs/decisions/0014, of
# four steps in double precision, in single (-single, docs/decisions/0018), with an adaptation (-adaptive, 0019), with
# an adaptive post-filter (-filtered, 0020), and of trellis latents (-trellis, 0027).
ROWS = {f"lichen-{kind}": "lichen" for kind in ("single", "adaptive", "filtered", "trellis")}
KINDS = ("", "-dual", "-hp", "-single", "-adaptive", "-filtered", "-trellis")
WANTED = {f"lichen{kind}": SMALL + SEVERAL_TILES for kind in KINDS} | {"elic": SMALL}


def picture_of(kind: str) -> tuple[Image.Image, float]:
    """What is in a file of this name, and its quality."""
    if kind == "rgb":
        return scene(130, 70), 80
    if kind == "grey":
        return scene(64, 64).convert("L"), 33.3
    if kind == "alpha":
        alpha = scene(45, 37).convert("RGBA")
        alpha.putalpha(scene(45, 37, 3).convert("L"))
        return alpha, 100
    return scene(*((LONG, 70) if kind == "wide" else (70, LONG))), 10


def digest(codec: Codec, data: bytes) -> str:
    """SHA-256 of the latents that a file decodes to, little-endian float64 in the order (channel, row, column)."""
    y_hat = codec.decode_latents(data).contiguous().numpy().astype("<f8")
    return hashlib.sha256(y_hat.tobytes()).hexdigest()


def main() -> None:
    path = GOLDEN / "digests.json"
    digests = json.loads(path.read_text()) if path.exists() else {}
    for name, kinds in WANTED.items():
        folder = GOLDEN / f"v1-{name}"
        folder.mkdir(exist_ok=True)
        codec = Codec(
            weights=next(folder.glob("*.safetensors"), None) or small_checkpoint(row(ROWS.get(name, name)), folder)
        )
        for kind in kinds:
            file = folder / f"{kind}.lic"
            if not file.exists():
                effort = 2 if "trellis" in name else 0
                write_atomically(file, codec.encode(*picture_of(kind), effort=effort), overwrite=False)
            digests.setdefault(f"{folder.name}/{file.name}", digest(codec, file.read_bytes()))
    there = {name: digests[name] for name in sorted(digests) if (GOLDEN / name).exists()}
    write_atomically(path, (json.dumps(there, indent=1) + "\n").encode(), overwrite=True)


if __name__ == "__main__":
    main()
