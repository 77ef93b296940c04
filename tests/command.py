"""The command line, called in this process, and what it prints for people."""

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


def errors_of(capsys: pytest.CaptureFixture[str]) -> str:
    """What was printed for people since the last call; never a traceback."""
    text = capsys.readouterr().err
    assert "Traceback" not in text
    return text
