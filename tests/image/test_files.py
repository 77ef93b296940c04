"""Files that appear whole or not at all: writers killed with kill -9, several at one output, systems without locks."""

from __future__ import annotations

import errno
import fcntl
import subprocess
import sys
from pathlib import Path

import pytest

from lichen.errors import OutputExists
from lichen.image import files
from lichen.image.files import write_atomically

# Writes its argument's file, and stops in the middle of it until there is a line on its standard input.
WRITER = """
import os, sys
from pathlib import Path
from lichen.image.files import write_atomically
def wait(handle):
    print("writing", flush=True)
    sys.stdin.readline()
os.fsync = wait
write_atomically(Path(sys.argv[1]), b"the child's" * 1000, overwrite=sys.argv[2] == "overwrite")
"""


def writer(path: Path, how: str = "overwrite") -> subprocess.Popen[bytes]:
    """A process in the middle of writing `path`."""
    command = [sys.executable, "-c", WRITER, str(path), how]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == b"writing\n"
    return process


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("name", ["a.lic", "n" * 255])
def test_what_a_killed_writer_left_is_removed_by_the_next_of_the_same_output(tmp_path, name):
    target = tmp_path / name
    killed, other = writer(target), writer(tmp_path / "b")
    for process in (killed, other):
        process.kill()
        process.communicate()
    assert len(names(tmp_path)) == 2 and all(n.endswith(".part") for n in names(tmp_path))
    write_atomically(target, b"ours", overwrite=False)
    assert target.read_bytes() == b"ours"
    assert len(names(tmp_path)) == 2, "what was left of another output is not ours to remove"
    write_atomically(tmp_path / "b", b"ours", overwrite=False)
    assert names(tmp_path) == sorted(["b", name])


def test_what_a_live_process_is_writing_is_left_alone(tmp_path):
    target = tmp_path / "a.lic"
    process = writer(target)
    (temporary,) = names(tmp_path)
    for _ in range(2):
        write_atomically(target, b"ours", overwrite=True)
        assert target.read_bytes() == b"ours"
        assert names(tmp_path) == sorted([temporary, "a.lic"])
    process.communicate(b"\n")
    assert process.returncode == 0
    assert target.read_bytes().startswith(b"the child's")
    assert names(tmp_path) == ["a.lic"]


def test_the_first_of_two_wins_where_nothing_may_be_overwritten(tmp_path):
    target = tmp_path / "a.lic"
    process = writer(target, "keep")
    write_atomically(target, b"ours", overwrite=False)
    _, errors = process.communicate(b"\n")
    assert b"OutputExists" in errors
    with pytest.raises(OutputExists):
        write_atomically(target, b"again", overwrite=False)
    assert target.read_bytes() == b"ours" and names(tmp_path) == ["a.lic"]


def no_locks(handle: int, how: int) -> None:
    raise OSError(errno.ENOLCK, "No locks available")


@pytest.mark.parametrize("lacking", ["module", "file system"])
def test_without_locks_files_are_written_all_the_same(tmp_path, monkeypatch, lacking):
    if lacking == "module":
        monkeypatch.setattr(files, "fcntl", None)
    else:
        monkeypatch.setattr(fcntl, "flock", no_locks)
    for data in (b"one", b"two"):
        write_atomically(tmp_path / "a", data, overwrite=True)
        assert names(tmp_path) == ["a"] and (tmp_path / "a").read_bytes() == data


def test_a_link_in_the_temporary_files_place_is_not_followed(tmp_path):
    (tmp_path / "precious").write_bytes(b"theirs")
    process = writer(tmp_path / "a")
    (temporary,) = (n for n in names(tmp_path) if n.endswith(".part"))
    process.kill()
    process.communicate()
    (tmp_path / temporary).unlink()
    (tmp_path / temporary).symlink_to(tmp_path / "precious")
    write_atomically(tmp_path / "a", b"ours", overwrite=False)
    assert (tmp_path / "precious").read_bytes() == b"theirs" and (tmp_path / "a").read_bytes() == b"ours"


def test_without_links_what_came_meanwhile_is_not_replaced(tmp_path, monkeypatch):
    def no_links(*arguments: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(Path, "hardlink_to", no_links)
    for name in ("a", "new"):
        (tmp_path / name).write_bytes(name.encode())
    with pytest.raises(OutputExists):
        files._publish(tmp_path / "new", tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == b"a"
    files._publish(tmp_path / "new", tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == b"new"


def test_an_output_keeps_its_rights(tmp_path):
    path = tmp_path / "private"
    path.write_bytes(b"old")
    path.chmod(0o600)
    write_atomically(path, b"new", overwrite=True)
    assert path.read_bytes() == b"new" and path.stat().st_mode & 0o777 == 0o600
