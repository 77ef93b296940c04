"""What several test modules use: the folder of vectors, sizes of pictures, a recipe of seconds."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

# What the repository does not hold: vectors of CompressAI, curves of other codecs, Kodak. Where the folder is absent,
# tests that need it are left out. It lies beside the checkout, or above a folder of worktrees.
OTHERS = next((p / "shared" for p in Path(__file__).parents[1:] if (p / "shared").is_dir()), Path("shared"))

RECIPE_STEPS = 16
RECIPE = f"""
model = "lichen-hp"
steps = {RECIPE_STEPS}
crop = 64
batch = 4
warmup = 2
[correlation]
alpha = 1
map.source = "noisy"
[config]
transform.latents = 24
transform.fine = 8
transform.coarse = 8
transform.encoder_depth = [1, 1]
transform.decoder_depth = [1, 1]
hyper.width = 12
hyper.features = 16
hyper.hyper_latents = 6
rates.count = 3
"""


def size_of(path: str | Path) -> tuple[int, int]:
    """Width and height of a picture file."""
    with Image.open(path) as image:
        return image.size
