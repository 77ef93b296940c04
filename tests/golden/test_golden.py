"""Old files, this reader: files of earlier versions decode to the very same latents."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from lichen.codec import Codec

HERE = Path(__file__).parent
DIGESTS = json.loads((HERE / "digests.json").read_text())
MODES = {"rgb": "RGB", "grey": "L", "alpha": "RGBA"}


@pytest.mark.parametrize("name", sorted(DIGESTS))
def test_old_files_decode_to_the_same_latents(name):
    path = HERE / name
    codec = Codec(weights=next(path.parent.glob("*.safetensors")))
    data = path.read_bytes()
    y_hat = codec.decode_latents(data).contiguous().numpy().astype("<f8")
    assert hashlib.sha256(y_hat.tobytes()).hexdigest() == DIGESTS[name]
    assert codec.decode(data).mode == MODES[path.stem]


def test_every_golden_file_is_pinned():
    assert {str(p.relative_to(HERE)) for p in HERE.rglob("*.lic")} == set(DIGESTS)
