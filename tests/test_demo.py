"""The newcomer's first command: `scripts/demo` without its installing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from PIL import Image

from tests.small import scene

DEMO = Path(__file__).parents[1] / "scripts/demo.py"


def test_the_demo_shows_a_picture_beside_the_peers(tmp_path):
    """Where there is no PyTorch."""
    scene(160, 200).save(tmp_path / "mine.png")
    program = f"""if True:
        import runpy, sys
        sys.modules["torch"], sys.argv = None, ["demo", "mine.png"]
        runpy.run_path({str(DEMO)!r}, run_name="__main__")
    """
    command = [sys.executable, "-c", program]
    said = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True, timeout=120).stdout
    assert all(word in said for word in ("mine.png", "Lichen", "JPEG 4:2:0", "WebP", "PSNR dB"))
    with Image.open(tmp_path / "demo/comparison.png") as drawn, Image.open(tmp_path / "demo/mine.png") as decoded:
        assert drawn.width > decoded.width == 160
    assert (tmp_path / "demo/mine.lic").stat().st_size < 160 * 200
