"""Which file each input becomes."""

from __future__ import annotations

from pathlib import Path

from lichen.batch.tasks import STANDARD, Task, plan


def test_one_file_to_standard_output():
    assert plan([Path("a.png")], STANDARD, ".lic", {".png"}, False) == [Task(Path("a.png"), STANDARD)]
