"""Run by scripts/installed in the new environment: what is installed works, is small, and loads no PyTorch."""

from __future__ import annotations

import sys
import sysconfig
from importlib.metadata import metadata
from pathlib import Path

import numpy as np
from PIL import Image

import lichen
import lichen.pillow
from lichen.coding.backend import chosen

LIMIT_BYTES = 250_000_000


def main(name: str) -> None:
    """Encode a picture to the file of this name, and read it in every way. Raises `AssertionError`."""
    installed = Path(sysconfig.get_path("purelib"))
    assert installed in Path(lichen.__file__).parents, f"{lichen.__file__} is not what was installed"
    assert (Path(lichen.__file__).parent / "py.typed").is_file()
    said = metadata("lichen")
    assert said["Requires-Python"] == ">=3.11" and said["License-Expression"] == "Apache-2.0"
    assert "Typing :: Typed" in (said.get_all("Classifier") or [])
    wide, high = np.meshgrid(np.linspace(0, 255, 300), np.linspace(0, 255, 200))
    picture = Image.fromarray(np.stack([wide, high, (wide + high) / 2], axis=-1).astype(np.uint8))
    picture.save("picture.png")
    Path(name).write_bytes(lichen.encode(picture, quality=40))
    decoded = np.asarray(lichen.decode(Path(name).read_bytes())).astype(int)
    with Image.open(name) as opened:
        assert opened.size == (300, 200) and np.array_equal(np.asarray(opened), decoded)
    assert np.abs(decoded - np.asarray(picture)).mean() < 4
    assert "torch" not in sys.modules
    brought = [path for path in installed.iterdir() if not path.name.startswith("pip")]  # pip is the environment's own
    size = sum(path.stat().st_size for place in brought for path in [place, *place.rglob("*")] if path.is_file())
    assert size <= LIMIT_BYTES, f"{size} bytes are installed"
    print(f"{size / 1e6:.0f} MB, range coder: {chosen().name}")


if __name__ == "__main__":
    main(sys.argv[1])
