"""The package `image` works without PyTorch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import lichen.image

MODULES = sorted(path.stem for path in Path(lichen.image.__file__).parent.glob("*.py") if path.stem != "__init__")


@pytest.mark.parametrize("module", MODULES)
def test_no_module_loads_torch(module):
    """In a fresh interpreter: this one has it already."""
    code = f"import sys, lichen.image.{module}; print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "False\n"
