"""The command line, called in this process."""

from __future__ import annotations

import sys

import pytest

from lichen import cli


def run(*arguments: str) -> int:
    """The exit code of `lichen` with these arguments."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["lichen", *arguments])
        try:
            cli.main()
        except SystemExit as stop:
            return int(stop.code or 0)
    return 0
