"""What a person sees while one picture is worked on."""

from __future__ import annotations

import io

from rich.console import Console
from rich.progress import Progress, TextColumn

from lichen.cli import progress
from lichen.cli.progress import Bar
from lichen.progress import Stage, listening, tell
from tests.command import run


def test_one_file_says_how_far_it_is(folder, monkeypatch):
    out = io.StringIO()
    terminal = Console(file=out, force_terminal=True, width=100)
    monkeypatch.setattr(progress, "console", terminal)
    assert run("encode", "in/a.png", "--refine", "3") == 0
    assert "0:00:0" in out.getvalue()  # for how long it has run
    out.truncate(0)
    assert run("encode", "in/a.png", "-f", "--quiet") == 0
    assert out.getvalue().strip("\0") == ""


def test_a_stage_is_shown():
    with Progress(TextColumn("{task.description}"), console=Console(file=io.StringIO())) as shown:
        Bar(shown, "", 1).show(Stage("search", 2, 30))
        assert shown.tasks[0].description == "search 2 of 30"


def test_parts_are_told_where_there_are_several():
    heard: list[Stage] = []
    with listening(heard.append):
        tell("analysis", 0, 1)
        tell("analysis", 1, 4)
    tell("analysis", 2, 4)
    assert heard == [Stage("analysis", 1, 4)]
