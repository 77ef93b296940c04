"""Inputs and outputs of the command line: what is kept, refused, followed, and named."""

from __future__ import annotations

import io
import json
import os
import pty
import socket
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lichen.codec import Codec
from tests.command import errors_of, run
from tests.helpers import size_of
from tests.small import scene


def test_folders_keep_their_tree(folder, capsys):
    assert run("encode", "in", "-r", "-o", "out") == 0
    assert sorted(str(p.relative_to("out")) for p in Path("out").rglob("*.lic")) == ["a.lic", "deep/b.lic"]
    assert run("decode", "out", "-r", "-o", "pictures", "--to", "jpg") == 0
    assert size_of("pictures/deep/b.jpg") == (50, 70)
    assert "2 done, 0 failed" in errors_of(capsys)


def test_a_name_gives_no_orders_to_the_terminal(folder, capsys):
    Path("in/\x1b]0;title\x07\x9b2J.png").write_bytes(Path("in/a.png").read_bytes())
    assert run("encode", "in", "-o", "out", "--dry-run") == 0
    said = errors_of(capsys)
    assert not {"\x1b", "\x07", "\x9b"} & set(said) and r"\x1b]0;title\x07\x9b2J.png" in said


def test_a_link_to_nothing_is_named(folder, capsys):
    Path("in/lost.jpg").symlink_to("nowhere.jpg")
    Path("in/round").symlink_to("../in")
    assert run("encode", "in", "-r", "-o", "out") == 3
    assert "in/lost.jpg: cannot be read (No such file or directory)" in (said := errors_of(capsys))
    assert "2 done, 1 failed" in said


def test_names_are_printed_as_they_are(folder, capsys):
    scene(20, 20).save(":100:.png")
    scene(20, 20).save("[red]b.png")
    assert run("encode", ":100:.png", "[red]b.png", "-o", "out") == 0
    text = errors_of(capsys)
    assert ":100:.png -> out/:100:.lic" in text and "[red]b.png -> out/[red]b.lic" in text


def test_existing_outputs_are_kept_without_force(folder, capsys):
    Path("a.lic").write_bytes(b"precious")
    assert run("encode", "in/a.png", "-o", "a.lic") == 3
    assert "--force" in errors_of(capsys) and Path("a.lic").read_bytes() == b"precious"
    assert run("encode", "in/a.png", "-o", "a.lic", "--force") == 0
    assert Path("a.lic").read_bytes() != b"precious"


def test_damaged_files_leave_no_output(folder, capsys):
    run("encode", "in/a.png", "-o", "a.lic")
    data = Path("a.lic").read_bytes()
    Path("cut.lic").write_bytes(data[:-3])
    Path("bent.lic").write_bytes(data[:20] + bytes([data[20] ^ 1]) + data[21:])
    for name in ("cut", "bent"):
        assert run("decode", f"{name}.lic") == 3
        assert not Path(f"{name}.png").exists()
    assert "damaged" in errors_of(capsys)


def test_an_input_is_never_overwritten_under_another_name(folder, capsys):
    before = Path("in/a.png").read_bytes()
    assert run("encode", "in/a.png", "-o", str(folder / "in/a.png"), "-f") == 2
    assert run("encode", "in/a.png", str(folder / "in/../in/a.jpg"), "-f") == 2
    assert Path("in/a.png").read_bytes() == before
    assert run("encode", "in/a.png", "in/deep/b.jpg", "-o", "-") == 2


def test_a_file_named_as_standard_input_and_other_names_of_standard_output(folder, monkeypatch):
    monkeypatch.chdir("in")
    Path("a.png").rename("-")
    assert run("encode", "./-", "-o", "./-.lic") == 0 and Path("-.lic").stat().st_size > 0
    command = [sys.executable, "-m", "lichen", "decode", "./-.lic", "-o", "/dev/stdout"]
    shown = subprocess.run(command, capture_output=True, check=True).stdout
    assert size_of(io.BytesIO(shown)) == (60, 40)


def test_nothing_is_loaded_for_what_is_refused_already(folder, capsys, monkeypatch):
    monkeypatch.setattr("lichen.codec.Codec.__init__", None)
    Path("in/a.lic").write_bytes(b"precious")
    assert run("encode", "in/a.png") == 3 and "exists; use --force" in errors_of(capsys)
    assert run("encode", "in/b.png", "-o", "in/a.lic") == 3 and "in/b.png: cannot be read" in errors_of(capsys)
    assert run("encode", "in/a.png", "--skip-existing") == 0


def test_links_are_followed_and_special_files_refused(folder, capsys):
    Path("real.lic").write_bytes(b"old")
    Path("link.lic").symlink_to("real.lic")
    assert run("encode", "in/a.png", "-o", "link.lic", "-f") == 0
    assert Path("link.lic").is_symlink() and Path("real.lic").read_bytes() != b"old"
    os.mkfifo("pipe.lic")
    with ThreadPoolExecutor(1) as pool:
        read = pool.submit(Path("pipe.lic").read_bytes)
        assert run("encode", "in/a.png", "-o", "pipe.lic") == 0
        assert read.result() == Path("real.lic").read_bytes() and Path("pipe.lic").is_fifo()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind("socket.lic")
        assert run("encode", "in/a.png", "-o", "socket.lic", "-f") == 3
    assert "regular file" in errors_of(capsys)


def test_a_job_that_was_stopped_is_finished(folder, capsys):
    run("encode", "in/a.png", "-o", "out/a.lic")
    before = Path("out/a.lic").stat().st_mtime_ns
    assert run("encode", "in", "-r", "-o", "out", "--skip-existing") == 0
    assert Path("out/a.lic").stat().st_mtime_ns == before and Path("out/deep/b.lic").exists()
    assert "1 done, 1 skipped, 0 failed" in errors_of(capsys)


def test_a_single_output_without_an_ending_is_refused(folder, capsys):
    assert run("encode", "in/a.png", "-o", "results/") == 2
    assert "make that folder first" in errors_of(capsys)
    Path("results").mkdir()
    assert run("encode", "in/a.png", "-o", "results/") == 0 and Path("results/a.lic").is_file()


@pytest.mark.parametrize("ending", ["pictures/", ".", "doc"])
def test_an_ending_that_is_none(ending, tmp_path, capsys):
    (tmp_path / "a.lic").write_bytes(b"")
    assert run("decode", str(tmp_path / "a.lic"), "--to", ending) == 2
    assert "no picture format for the ending" in capsys.readouterr().err


def test_standard_input_and_output(folder):
    picture = Path("in/a.png").read_bytes()
    command = [sys.executable, "-m", "lichen"]
    data = subprocess.run([*command, "encode", "-"], input=picture, capture_output=True, check=True).stdout
    assert data == Codec().encode(Image.open("in/a.png"))
    back = subprocess.run([*command, "decode", "-", "--to", "png"], input=data, capture_output=True, check=True).stdout
    Path("back.png").write_bytes(back)
    assert np.array_equal(np.asarray(Image.open("back.png")), Codec().decode_array(data))


def test_permissions_and_times_are_those_of_the_input(folder):
    Path("in/a.png").chmod(0o600)
    os.utime("in/a.png", ns=(10**18, 10**18))
    assert run("encode", "in/a.png", "-o", "a.lic") == 0
    made = Path("a.lic").stat()
    assert (stat.S_IMODE(made.st_mode), made.st_mtime_ns) == (0o600, 10**18)
    Path("a.lic").chmod(0o640)
    assert run("decode", "a.lic", "-o", "b.png") == 0 and stat.S_IMODE(Path("b.png").stat().st_mode) == 0o640


def test_no_picture_is_written_to_a_terminal(folder):
    """As a person meets it: in a terminal of its own."""
    for arguments, expected in ((["encode", "in/a.png", "-o", "-"], 2), (["encode", "in/a.png", "-o", "-", "-f"], 0)):
        terminal, end = pty.openpty()
        command = subprocess.run([sys.executable, "-m", "lichen", *arguments], stdout=end, stderr=-1, check=False)
        os.close(end)
        os.close(terminal)
        assert command.returncode == expected
        assert (b"standard output is a terminal" in command.stderr) == (expected == 2)


def test_a_dry_run_does_nothing(folder, capsys):
    Path("in/a.lic").write_bytes(b"precious")
    before = sorted(folder.rglob("*"))
    assert run("encode", "in", "-r", "--dry-run") == 3
    text = errors_of(capsys)
    assert "in/deep/b.jpg -> in/deep/b.lic" in text and "in/a.lic exists" in text and "1 done, 1 failed" in text
    assert run("encode", "in", "-r", "--dry-run", "-f") == 0
    assert sorted(folder.rglob("*")) == before


def test_quiet_prints_errors_alone(folder, capsys):
    scene(20, 20).convert("CMYK").save("print.tif")
    assert run("encode", "print.tif", "in", "-o", "out", "--quiet") == 0
    assert capsys.readouterr() == ("", "")
    assert run("encode", "absent.png", "--quiet") == 3 and "absent.png" in errors_of(capsys)


def test_lines_of_json(folder, capsys):
    Path("in/broken.png").write_bytes(b"no picture")
    assert run("encode", "in", "-r", "-o", "out", "--json") == 3
    facts = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [f["outcome"] for f in facts] == ["done", "failed", "done"]
    assert facts[0]["size_out_bytes"] == Path("out/a.lic").stat().st_size and facts[0]["width"] == 60
    assert "not a picture" in facts[1]["error"] and facts[2]["target"] == "out/deep/b.lic"
    assert run("encode", "in/a.png", "-o", "-", "--json") == 2


def test_short_help(capsys):
    assert run("encode", "-h") == 0 and "--target-size" in capsys.readouterr().out


def test_the_quality_of_jpeg(folder):
    assert run("encode", "in/a.png", "-o", "a.lic") == 0
    for quality in (30, 95):
        assert run("decode", "a.lic", "-o", f"{quality}.jpg", "--jpeg-quality", str(quality)) == 0
    assert run("decode", "a.lic", "-o", "usual.jpg") == 0
    assert Path("usual.jpg").read_bytes() == Path("95.jpg").read_bytes()
    assert Path("30.jpg").stat().st_size < 0.7 * Path("95.jpg").stat().st_size
