"""The TypeScript of web/: formatted, small files, and types that hold."""

from __future__ import annotations

import subprocess

from tests.web.helpers import ROOT

SOURCES = sorted(path for path in (ROOT / "web/src").rglob("*") if path.suffix in {".ts", ".js", ".css", ".html"})


def test_it_is_formatted(page):
    """By the tools that `page` has installed; types are checked when it is built."""
    ended = subprocess.run(["npm", "run", "style"], cwd=ROOT / "web", capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_its_files_are_small():
    assert len(SOURCES) > 30
    for path in SOURCES:
        lines = path.read_text().splitlines()
        assert len(lines) <= 400, path
        assert max(map(len, lines)) <= 120 or path.suffix == ".html", path
