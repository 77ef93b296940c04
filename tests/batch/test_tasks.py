"""Which file each input becomes, and what is left out of a folder or refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lichen.batch.tasks import STANDARD, Naming, Task, check_ends, plan
from lichen.errors import BadInput, OutputExists, UsageError

PICTURES = Naming(".lic", frozenset({".png", ".jpg"}), only_ending=True)


def names(folder: Path, *files: str) -> None:
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(b"")


def test_one_file_to_standard_output():
    assert plan([Path("a.png")], STANDARD, PICTURES).tasks == [Task(Path("a.png"), STANDARD)]


def test_a_folder_says_what_it_leaves_out(tmp_path):
    names(tmp_path, "a.png", "b.JPG", "c.heic", "d.HEIC", "raw.cr2", "README", "old.lic", ".DS_Store", "deep/e.gif")
    (tmp_path / "._a.png").write_bytes(b"\0\x05\x16\x07 of macOS")
    found = plan([tmp_path], None, PICTURES)
    assert [task.source.name for task in found.tasks] == ["a.png", "b.JPG"]
    assert found.remainder() == "1 without an ending, 1 .cr2, 2 .heic"
    assert plan([tmp_path], None, PICTURES, recursive=True).left_out[".gif"] == 1
    (tmp_path / "a.png").unlink()
    (tmp_path / "b.JPG").unlink()
    with pytest.raises(BadInput, match=r"nothing in it to work on \(1 without an ending, 1 .cr2, 2 .heic left out\)"):
        plan([tmp_path], None, PICTURES)


def test_two_of_one_name_hold_up_no_other(tmp_path):
    names(tmp_path, "a.png", "a.jpg", "b.png")
    refused = [task.refusal for task in plan([tmp_path], None, PICTURES).tasks]
    assert refused[2] is None and all(isinstance(refusal, UsageError) for refusal in refused[:2])
    assert "`keep_ending` names it a.jpg.lic" in str(refused[0])
    kept = plan([tmp_path], None, Naming(".lic", PICTURES.accepted, keep_ending=True)).tasks
    assert [task.target.name for task in kept] == ["a.jpg.lic", "a.png.lic", "b.png.lic"]
    assert all(task.refusal is None for task in kept)


def test_one_file_twice_has_another_remedy(tmp_path):
    twice = plan([tmp_path / "a.png", tmp_path / "a.png"], tmp_path, PICTURES).tasks
    assert "work on them apart" in str(twice[0].refusal)


def test_no_lic_under_the_name_of_another_format():
    with pytest.raises(UsageError, match=r"wrong.png would be no .png file: give it the ending .lic"):
        plan([Path("a.png")], Path("wrong.png"), PICTURES)
    (task,) = plan([Path("small.lic")], None, PICTURES).tasks
    assert "small.lic is a .lic file already" in str(task.refusal)


def test_a_missing_input_comes_before_an_existing_output(tmp_path):
    names(tmp_path, "a.lic", "b.png")
    with pytest.raises(BadInput, match=r"a.png: cannot be read \(No such file or directory\)"):
        check_ends(Task(tmp_path / "a.png", tmp_path / "a.lic"), force=False)
    with pytest.raises(OutputExists):
        check_ends(Task(tmp_path / "b.png", tmp_path / "a.lic"), force=False)
    check_ends(Task(tmp_path / "b.png", tmp_path / "a.lic"), force=True)


def test_a_pipe_is_an_output_like_standard_output(tmp_path):
    os.mkfifo(tmp_path / "63")
    (task,) = plan([tmp_path / "b.png"], tmp_path / "63", PICTURES).tasks
    names(tmp_path, "b.png")
    assert task.target == tmp_path / "63"
    check_ends(task, force=False)
