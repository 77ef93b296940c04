"""Packages that only a part of Lichen needs: whether they are installed, and the command that installs them."""

from __future__ import annotations

import functools
import importlib.util
import json
import shlex
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any
from urllib.parse import urlparse
from urllib.request import url2pathname

from lichen.errors import UsageError

_LAB = ("torch", "safetensors", "onnx", "onnxscript", "accelerate", "tensorboard", "pytorch_msssim")
_EVAL = ("matplotlib", "bjontegaard", "scipy", "pillow_heif", "pillow_jxl")
_RAY = ("ray", "pyarrow", "fsspec")
# The extra that brings a module.
EXTRAS = dict.fromkeys(_LAB, "lab") | dict.fromkeys(_EVAL, "eval") | dict.fromkeys(_RAY, "ray")


def is_installed(*modules: str) -> bool:
    """Whether all of these modules can be imported; none of them is."""
    return all(importlib.util.find_spec(name) is not None for name in modules)


def require(*modules: str) -> None:
    """Raises `UsageError`, with the command that installs it, for the first module that is missing."""
    for name in modules:
        if not is_installed(name):
            raise UsageError(missing(name))


def missing(module: str) -> str:
    """What to say where a module of an extra is missing."""
    return f"this needs {module}: {install_command(EXTRAS[module])}"


@functools.cache
def install_command(extra: str) -> str:
    """The command that adds an extra to this very installation: from a folder, a repository, or an index."""
    try:
        text = distribution("lichen").read_text("direct_url.json")
        facts: dict[str, Any] = json.loads(text) if text else {}
    except (PackageNotFoundError, ValueError):
        facts = {}
    return f"pip install {_what(extra, facts)}"


def _what(extra: str, facts: dict[str, Any]) -> str:
    """pip's argument, by what it noted of the installation (PEP 610)."""
    url = str(facts.get("url", ""))
    local = Path(url2pathname(urlparse(url).path)) if url.startswith("file:") else Path(__file__).parents[2]
    if (local / "pyproject.toml").is_file():
        editable = "-e " if facts.get("dir_info", {}).get("editable") else ""
        return editable + shlex.quote(f"{local}[{extra}]")
    vcs = facts.get("vcs_info", {})
    if vcs:
        url = f"{vcs['vcs']}+{url}@{vcs['commit_id']}"
    return shlex.quote(f"lichen[{extra}] @ {url}" if vcs or local.is_file() else f"lichen[{extra}]")
