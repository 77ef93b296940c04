"""What processes take, and what is estimated of them."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from lichen.codec import Codec
from lichen.options import EngineName
from lichen.runtime import memory
from tests.small import scene

PROGRAM = """
    import re, sys
    from pathlib import Path
    from lichen.codec import Codec
    data = Path(sys.argv[1]).read_bytes()
    codec = Codec(engine=sys.argv[2])
    codec.decode(data)
    peak = int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024
    print(peak, codec.memory_to_decode_bytes(data))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not say what a process took")
def test_a_small_decode_takes_half_of_pytorchs_memory_and_less_than_estimated(tmp_path):
    """The peaks of both engines, as whole processes."""
    path = tmp_path / "a.lic"
    path.write_bytes(Codec(engine=EngineName.ONNX).encode(scene(96, 64)))
    peaks = {}
    for engine in (EngineName.ONNX, EngineName.TORCH):
        command = [sys.executable, "-c", textwrap.dedent(PROGRAM), str(path), engine.value]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        peaks[engine], estimate = map(int, done.stdout.split())
        assert peaks[engine] < estimate < 1.6 * peaks[engine], engine
    assert 2 * peaks[EngineName.ONNX] < peaks[EngineName.TORCH]


def test_the_program_is_larger_with_pytorch(monkeypatch):
    with_torch = memory.program_bytes()
    monkeypatch.setattr(memory.sys, "modules", {})
    assert memory.program_bytes() < with_torch / 2
