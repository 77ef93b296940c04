"""What tests of the browser's decoder share."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

from lichen.runtime.weights_file import WeightsFile

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
GOLDEN = ROOT / "tests/golden"
WITH_GRAPHS = {  # golden files, and whose graphs (made by `lichen export`) run them
    "v1-lichen-single": "v1-lichen-single",
    "v1-lichen-adaptive": "v1-lichen-filtered",
    "v1-lichen-filtered": "v1-lichen-filtered",
    "v1-lichen-trellis": "v1-lichen-filtered",
}
SMALL_PIXELS = 2**16  # the limit of the small codec
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


def golden_weights(name: str) -> Path:
    """The frozen weights of a folder of tests/golden."""
    return next((GOLDEN / name).glob("*.safetensors"))


def graphs_for(weights: WeightsFile, source: Path, folder: Path) -> Path:
    """The graphs of a model, in a folder, for weights of the same without a filter, or with one."""
    if weights.config.get("post_filter") is not None or "single" in source.name:
        return source
    shutil.copytree(source, folder, dirs_exist_ok=True)
    said: dict[str, Any] = json.loads((source / "manifest.json").read_text())
    tensors = {name: shape for name, shape in said["tensors"].items() if not name.startswith("post_filter.")}
    said |= {"configs": [weights.config_digest], "post_filter_side": None, "tensors": tensors}
    (folder / "manifest.json").write_text(json.dumps(said))
    return folder


@dataclass(frozen=True)
class InNode:
    """The decoder in Node."""

    node: str
    folder: Path

    def outcomes(self, cases: list[bytes], max_pixels: int = 2**26) -> list[dict[str, Any]]:
        """What comes of decoding each of these files, in one process."""
        given = json.dumps({"cases": [base64.b64encode(data).decode() for data in cases], "maxPixels": max_pixels})
        command = [self.node, str(HERE / "decode.mjs"), str(self.folder)]
        ended = subprocess.run(command, input=given, capture_output=True, text=True, timeout=300, check=False)
        assert ended.returncode == 0, ended.stderr
        return [json.loads(line) for line in ended.stdout.splitlines()]


@contextmanager
def serving(server: ThreadingHTTPServer) -> Iterator[str]:
    """The address of a server while it runs."""
    with server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()
        thread.join()
