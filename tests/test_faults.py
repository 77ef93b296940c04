"""Faults of the world: killed processes, full disks, closed pipes, names too long, others at the same work."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lichen.codec import Codec
from lichen.image import files
from lichen.lab.models.zoo import ZOO
from tests.command import errors_of, run
from tests.helpers import RECIPE
from tests.small import scene, small_checkpoint

COUNT, SIZE = 8, (700, 500)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder to work in, with pictures that take a while together, and small weights."""
    small_checkpoint(ZOO[0], tmp_path / "weights")
    monkeypatch.setenv("LICHEN_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    for seed in range(COUNT):
        scene(*SIZE, seed).save(f"in/{seed:02}.png")
    return tmp_path


def start(*arguments: str) -> subprocess.Popen[bytes]:
    """With two threads, so that wherever there are many cores not all pictures are worked on at once."""
    return subprocess.Popen([sys.executable, "-m", "lichen", *arguments, "--threads", "2"], stderr=subprocess.PIPE)


def wait_for(folder: str, pattern: str, process: subprocess.Popen[bytes]) -> None:
    """Until the first result is there; the process must still be at work then."""
    until = time.monotonic() + 60
    while not list(Path(folder).glob(pattern)):
        assert time.monotonic() < until and process.poll() is None
        time.sleep(0.002)


@contextlib.contextmanager
def file_size_limit(size_bytes: int) -> Iterator[None]:
    """No file may grow beyond this: how a full disk looks to a program."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.slow
@pytest.mark.parametrize("side", ["encode", "decode"])
def test_killed_in_the_middle_and_run_again(folder, side):
    expected = {p.stem: Codec().encode(Image.open(p)) for p in sorted(Path("in").iterdir())}
    if side == "decode":
        Path("lic").mkdir()
        for stem, data in expected.items():
            Path(f"lic/{stem}.lic").write_bytes(data)
    command = ["encode", "in"] if side == "encode" else ["decode", "lic"]
    process = start(*command, "-o", "out")
    wait_for("out", "*.lic" if side == "encode" else "*.png", process)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    finished = sorted(p for p in Path("out").iterdir() if p.suffix in {".lic", ".png"})
    assert 0 < len(finished) < COUNT
    check(finished, expected)
    assert run(*command, "-o", "out", "--skip-existing") == 0
    finished = sorted(p for p in Path("out").iterdir() if p.suffix in {".lic", ".png"})
    assert len(finished) == COUNT
    check(finished, expected)


# The command line, killed by kill -9 in the middle of writing its n-th file.
KILLED = """
import os, signal, sys
left = int(sys.argv.pop(1))
def kill(handle):
    global left
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
os.fsync = kill
from lichen.cli import main
main()
"""
COMMANDS = {
    "encode": ["encode", "in", "-o", "out", "--skip-existing"],
    "decode": ["decode", "lic", "-o", "out", "--skip-existing"],
    "eval": ["eval", "lichen", "-q", "20", "-q", "60", "--data", "in", "-o", "out"],
    "report": ["report", "results", "-o", "out"],
    "train": ["train", "recipe.toml", "--data", "in", "-o", "out"],
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "file"),
    [("encode", 2), ("decode", 2), ("eval", 1), ("eval", 3), ("report", 1), ("train", 1), ("train", 2), ("train", 3)],
)
def test_killed_while_it_writes_and_run_again(folder, command, file):
    """Nothing half-written has a final name, and the same command, run again, leaves nothing else behind."""
    for name in names("in")[3:]:
        Path("in", name).unlink()
    if command == "decode":
        assert run("encode", "in", "-o", "lic") == 0
    if command == "report":
        assert run("eval", "lichen", "-q", "20", "-q", "60", "--data", "in", "-o", "results") == 0
    Path("recipe.toml").write_text(RECIPE)
    assert run(*[word.replace("out", "whole") for word in COMMANDS[command]]) == 0
    expected = names("whole")
    killed = subprocess.run([sys.executable, "-c", KILLED, str(file), *COMMANDS[command]], check=False)
    assert killed.returncode == -signal.SIGKILL
    left = names("out")
    parts = [name for name in left if name.endswith(".part")]
    assert len(parts) == 1 and {*left} - {*parts} < {*expected}
    for name in {*left} - {*parts}:  # whole: as an untroubled run wrote them, but for what it measured
        if command in {"encode", "decode"}:
            assert Path("out", name).read_bytes() == Path("whole", name).read_bytes()
    assert run(*COMMANDS[command]) == 0
    assert names("out") == expected


def names(folder: str) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in Path(folder).rglob("*") if path.is_file())


def check(finished: list[Path], expected: dict[str, bytes]) -> None:
    """Every result under a final name is whole."""
    for path in finished:
        if path.suffix == ".lic":
            assert path.read_bytes() == expected[path.stem]
        else:
            assert np.array_equal(np.asarray(Image.open(path)), Codec().decode_array(expected[path.stem]))


def interrupted(process: subprocess.Popen[bytes]) -> bytes:
    """What a process says when Ctrl-C stops it."""
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130 and b"Traceback" not in errors
    return errors


def test_interrupted_at_once_saying_what_is_done(folder):
    process = start("encode", "in", "-o", "out")
    wait_for("out", "*.lic", process)
    began = time.monotonic()
    errors = interrupted(process)
    assert time.monotonic() - began < 5  # 1 on a machine that is not busy
    assert b"stopped: " in errors and b"left; to go on, add --skip-existing" in errors
    assert not list(Path("out").glob(".*"))


# The command line, whose second picture takes minutes in one call of C.
SLOW = """
import hashlib
from lichen.batch import work
render, calls = work.render, []
def slow(*arguments):
    calls.append(1)
    return hashlib.pbkdf2_hmac("sha256", b"", b"", 10**8) if len(calls) > 1 else render(*arguments)
work.render = slow
from lichen.cli import main
main()
"""


def test_interrupted_in_a_long_call_of_a_library(folder):
    for name in names("in")[2:]:
        Path("in", name).unlink()
    assert run("encode", "in", "-o", "lic") == 0
    command = [sys.executable, "-c", SLOW, "decode", "lic", "-o", "out", "--threads", "1"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    wait_for("out", "*.png", process)
    assert b"stopped: 1 done, 0 failed, 1 left" in interrupted(process)


@pytest.mark.slow
def test_an_interrupted_evaluation_says_how_far_it_came(folder):
    process = start("eval", "lichen", "--data", "in", "-o", "out")
    wait_for("out", "table.tsv", process)
    assert b" of 88 files measured; the same command goes on" in interrupted(process)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="asks Linux for a process's children")
def test_a_killed_evaluation_leaves_no_process_behind(folder):
    process = start("eval", "lichen", "--data", "in", "-o", "out", "--jobs", "2")
    wait_for("out", "table.tsv", process)
    children = [int(p) for p in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
    for task in Path(f"/proc/{process.pid}/task").iterdir():
        children += [int(p) for p in (task / "children").read_text().split()]
    assert len(set(children)) >= 2
    process.kill()
    process.communicate()
    until = time.monotonic() + 30
    while any(Path(f"/proc/{child}").exists() for child in children):
        assert time.monotonic() < until
        time.sleep(0.1)


def test_a_full_disk_is_one_line_and_leaves_nothing(folder, capsys):
    with file_size_limit(100):
        assert run("encode", "in/00.png", "-o", "out/a.lic") == 3
    text = errors_of(capsys)
    assert text.count("\n") == 1 and "cannot be written: File too large" in text
    assert list(Path("out").iterdir()) == []


def test_a_full_standard_output(folder):
    with Path("/dev/full").open("wb") as full:
        command = [sys.executable, "-m", "lichen", "encode", "-"]
        done = subprocess.run(
            command, input=Path("in/00.png").read_bytes(), stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert done.returncode == 3
    assert b"No space left" in done.stderr and b"Traceback" not in done.stderr


def test_folders_that_cannot_be_written(folder, capsys):
    assert run("encode", "in/00.png", "-o", "/proc/lichen/a.lic") == 3
    text = errors_of(capsys)
    assert text.count("\n") == 1 and "cannot be written" in text
    if os.geteuid():  # nothing is read-only to root
        Path("locked").mkdir(mode=0o555)
        assert run("encode", "in/00.png", "-o", "locked/a.lic") == 3
        assert "Permission denied" in errors_of(capsys)


@pytest.mark.parametrize("name", ["n" * 300 + ".png", "d/" * 3000 + "a.png"])
def test_names_too_long_are_one_line(folder, capsys, name):
    for arguments in (["encode", name], ["encode", "in/00.png", "-o", name], ["encode", "in", "-o", name]):
        assert run(*arguments) == 3
        assert errors_of(capsys).strip()


def test_links_in_circles_are_one_line(folder, capsys):
    for name in ("loop", "loop.lic"):
        Path(name).symlink_to(name)
    outwards = ["encode", "in/00.png", "-o", "loop.lic"]
    for arguments in (["encode", "loop"], outwards, ["decode", "loop"], ["info", "loop"]):
        assert run(*arguments) == 3
        text = errors_of(capsys)
        assert text.count("\n") == 1 and "loop" in text


def test_inputs_too_large_are_one_line(folder, capsys):
    with Path("large").open("wb") as file:
        file.truncate(2**40)  # takes no room on the disk
    for arguments in (["encode", "large"], ["decode", "large"], ["info", "large"], ["info", "/dev/zero"]):
        if arguments[1] == "/dev/zero":
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(files, "READ_BYTES_MAX", 10**7)
                assert run(*arguments) == 3
        else:
            assert run(*arguments) == 3
        text = errors_of(capsys)
        assert text.count("\n") == 1 and f"{arguments[1]}: has more than" in text


def test_the_name_of_a_missing_picture_is_said_once(folder, capsys):
    assert run("encode", "missing.png") == 3
    assert errors_of(capsys) == "lichen: missing.png: cannot be read (No such file or directory)\n"


def test_an_output_name_beyond_255_bytes(folder, capsys):
    Path("in/00.png").rename("n" * 252 + ".p")
    assert run("encode", "n" * 252 + ".p") == 3
    assert "File name too long" in errors_of(capsys)


@pytest.mark.slow
def test_two_processes_on_one_folder(folder):
    assert run("encode", "in", "-o", "alone") == 0
    both = [start("encode", "in", "-o", "out", "--skip-existing") for _ in range(2)]
    for process in both:
        assert b"Traceback" not in process.communicate()[1]
        assert process.returncode == 0
    names = sorted(p.name for p in Path("alone").iterdir())
    assert sorted(p.name for p in Path("out").iterdir()) == names
    assert all(Path("out", n).read_bytes() == Path("alone", n).read_bytes() for n in names)
