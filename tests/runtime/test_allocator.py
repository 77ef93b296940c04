"""Freed memory stays with the process, so that the next map need not be zeroed by the system."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

HELD = """
import threading
import torch
from lichen.runtime.allocator import keep_freed_memory
if {kept}:
    keep_freed_memory()
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096
def work():
    torch.ones(25_000_000)
before = resident()
worker = threading.Thread(target=work)  # as the commands code
worker.start()
worker.join()
print(resident() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="asks glibc's allocator")
@pytest.mark.parametrize("kept", [True, False])
def test_freed_memory_is_kept(kept):
    command = [sys.executable, "-c", HELD.format(kept=kept)]
    held = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert (held > 80_000_000) == kept
