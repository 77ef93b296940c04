"""Make tests/golden: files of this format version, with tiny frozen weights and digests of their latents.

Later versions must decode these files to the same latents. What is there already is kept: golden bytes change
only with the format version.
"""

import hashlib
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from lichen.codec import Codec
from lichen.files import write_atomically
from lichen.models.zoo import row
from tests.conftest import scene, small_checkpoint

GOLDEN = Path(__file__).parents[1] / "tests/golden"


def main() -> None:
    table = GOLDEN / "digests.json"
    digests = json.loads(table.read_text()) if table.exists() else {}
    for name in ("lichen", "lichen-hp", "elic"):
        folder = GOLDEN / f"v1-{name}"
        if folder.exists():
            continue
        codec = Codec(weights=small_checkpoint(row(name), folder))
        alpha = scene(45, 37).convert("RGBA")
        alpha.putalpha(scene(45, 37, 3).convert("L"))
        pictures = {"rgb": (scene(130, 70), 80), "grey": (scene(64, 64).convert("L"), 33.3), "alpha": (alpha, 100)}
        for kind, (picture, quality) in pictures.items():
            data = codec.encode(picture, quality)
            write_atomically(folder / f"{kind}.lic", data, overwrite=False)
            y_hat = codec.decode_latents(data).contiguous().numpy().astype("<f8")
            digests[f"{folder.name}/{kind}.lic"] = hashlib.sha256(y_hat.tobytes()).hexdigest()
    write_atomically(table, (json.dumps(digests, indent=1) + "\n").encode(), overwrite=True)


if __name__ == "__main__":
    main()
