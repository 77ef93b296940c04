"""The command line as a person or a script meets it."""

from __future__ import annotations

import io
import json
import os
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lichen import cli
from lichen.batch.tasks import Done, Task
from lichen.codec import Codec
from lichen.lab.models.zoo import row
from tests.command import errors_of, run
from tests.helpers import size_of
from tests.small import scene, small_checkpoint


def test_encode_and_decode_one_file(folder, capsys):
    assert run("encode", "in/a.png", "-q", "60") == 0
    assert Path("in/a.lic").stat().st_size > 0
    assert run("decode", "in/a.lic", "-o", "back.webp") == 0
    assert size_of("back.webp") == (60, 40)
    assert "smaller" in errors_of(capsys)


def test_folders_keep_their_tree(folder, capsys):
    assert run("encode", "in", "-r", "-o", "out") == 0
    assert sorted(str(p.relative_to("out")) for p in Path("out").rglob("*.lic")) == ["a.lic", "deep/b.lic"]
    assert run("decode", "out", "-r", "-o", "pictures", "--to", "jpg") == 0
    assert size_of("pictures/deep/b.jpg") == (50, 70)
    assert "2 done, 0 failed" in errors_of(capsys)


def test_names_are_printed_as_they_are(folder, capsys):
    scene(20, 20).save(":100:.png")
    scene(20, 20).save("[red]b.png")
    assert run("encode", ":100:.png", "[red]b.png", "-o", "out") == 0
    text = errors_of(capsys)
    assert ":100:.png -> out/:100:.lic" in text and "[red]b.png -> out/[red]b.lic" in text


def test_a_bad_picture_among_good_ones(folder, capsys):
    Path("in/broken.png").write_bytes(b"not a picture")
    assert run("encode", "in", "-r", "-o", "out") == 3
    text = errors_of(capsys)
    assert "broken.png: not a picture" in text and "2 done, 1 failed" in text
    assert len(list(Path("out").rglob("*.lic"))) == 2


def test_targets(folder):
    assert run("encode", "in/a.png", "-o", "a.lic", "--target-size", "0.2kB") == 0
    assert 150 <= Path("a.lic").stat().st_size <= 200
    assert run("encode", "in/a.png", "-o", "b.lic", "--target-bpp", "0.6") == 0
    assert Path("b.lic").stat().st_size <= 0.6 * 60 * 40 / 8


def test_a_cut_file_by_the_groups_that_arrived(folder, capsys):
    small_checkpoint(row("elic"), Path("weights"))
    assert run("encode", "in/a.png", "-o", "a.lic", "--model", "elic") == 0
    assert run("info", "--json", "a.lic") == 0
    facts = json.loads(capsys.readouterr().out)
    assert len(facts["groups_bytes"]) == 5 and sum(facts["groups_bytes"]) == facts["latents_bytes"]
    Path("cut.lic").write_bytes(Path("a.lic").read_bytes()[: -facts["groups_bytes"][-1]])
    assert run("decode", "cut.lic") == 3
    assert "4 of its channel groups arrived (decode --partial)" in errors_of(capsys)
    assert run("decode", "cut.lic", "--partial", "--zero-fill") == 0
    assert "note: 4 of 5 channel groups arrived" in errors_of(capsys)
    assert run("decode", "a.lic", "-o", "first.png", "--groups", "4", "--zero-fill") == 0
    assert Path("first.png").read_bytes() == Path("cut.png").read_bytes()
    assert run("decode", "cut.lic", "-o", "b.png", "--groups", "5") == 3
    for contradiction in (["--groups", "2", "--partial"], ["--zero-fill"]):
        assert run("decode", "a.lic", "-o", "b.png", *contradiction) == 2


def test_info(folder, capsys):
    run("encode", "in/a.png", "-o", "a.lic", "-q", "50")
    capsys.readouterr()
    assert run("info", "--json", "a.lic") == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["width"], facts["height"], facts["model"]) == (60, 40, "lichen")
    assert facts["size_bytes"] == Path("a.lic").stat().st_size
    assert facts["overhead_bytes"] + facts["latents_bytes"] == facts["size_bytes"]
    assert facts["trained_for"] == "psnr"
    assert run("info", "a.lic") == 0
    assert "weights_at" in capsys.readouterr().out


def test_standard_input_and_output(folder):
    picture = Path("in/a.png").read_bytes()
    command = [sys.executable, "-m", "lichen"]
    data = subprocess.run([*command, "encode", "-"], input=picture, capture_output=True, check=True).stdout
    assert data == Codec().encode(Image.open("in/a.png"))
    back = subprocess.run([*command, "decode", "-", "--to", "png"], input=data, capture_output=True, check=True).stdout
    Path("back.png").write_bytes(back)
    assert np.array_equal(np.asarray(Image.open("back.png")), Codec().decode_array(data))


@pytest.mark.parametrize(
    ("arguments", "code", "hint"),
    [
        (["encode"], 2, "Missing argument"),
        (["encode", "in/a.png", "-q", "101"], 2, "100"),
        (["encode", "in/a.png", "--target-size", "big"], 2, "40kB"),
        (["encode", "in/a.png", "--target-size", "1kB", "--target-bpp", "1"], 2, "one target"),
        (["encode", "in/a.png", "--device", "tpu"], 2, "cpu or cuda"),
        (["frobnicate"], 2, "frobnicate"),
        (["encode", "in/a.png", ""], 2, "an argument is empty"),
        (["decode", "in/a.lic", "-o", "a.xyz"], 2, ".png"),
        (["encode", "in/a.png", "in/a.png", "-o", "out"], 2, "would both become"),
        (["encode", "absent.png"], 3, "absent.png: cannot be read"),
        (["encode", "empty.png"], 3, "empty.png: not a picture"),
        (["decode", "in/a.png", "-o", "b.png"], 3, "not a .lic file"),
        (["encode", "in/a.png", "-o", "/proc/nowhere/a.lic"], 3, "cannot be written"),
        (["encode", "in/a.png", "--weights", "absent"], 3, "check --weights"),
        (["encode", "in/a.png", "--weights", "in/a.png"], 3, "not a Lichen weights file"),
        (["encode", "in/a.png", "--max-pixels", "100"], 3, "--max-pixels"),
        (["encode", "nothing"], 3, "nothing in it"),
        (["info", "in/a.png"], 3, "not a .lic file"),
        (["train", "absent.toml", "--data", "in"], 3, "cannot be read"),
    ],
)
def test_bad_calls(folder, capsys, arguments, code, hint):
    Path("empty.png").touch()
    Path("nothing").mkdir()
    before = sorted(folder.rglob("*"))
    assert run(*arguments) == code
    assert hint in errors_of(capsys)
    assert sorted(folder.rglob("*")) == before


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


def test_alpha_does_not_go_into_jpeg(folder, capsys):
    image = scene(20, 20).convert("RGBA")
    image.putalpha(100)
    image.save("alpha.png")
    run("encode", "alpha.png")
    assert run("decode", "alpha.lic", "-o", "alpha.jpg") == 3
    assert "transparency" in errors_of(capsys) and not Path("alpha.jpg").exists()


def test_a_source_that_is_smaller_is_reported():
    task = Task(Path("a.jpg"), Path("a.lic"))
    assert "already smaller" in cli.coding._encoded(Done(task, 100, 120, 8, 8))
    assert "already smaller" not in cli.coding._encoded(Done(task, 120, 100, 8, 8))


def test_sizes():
    assert [cli.coding.parse_size(t) for t in ("40kB", "1.5 MB", "40000", "3k")] == [40000, 1_500_000, 40000, 3000]


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


def test_a_crop(folder, capsys):
    run("encode", "in/a.png", "-o", "a.lic")
    assert run("decode", "a.lic", "-o", "part.png", "--crop", "10,5,20,30") == 0
    assert size_of("part.png") == (20, 30)
    assert np.array_equal(
        np.asarray(Image.open("part.png")), Codec().decode_array(Path("a.lic").read_bytes())[5:35, 10:30]
    )
    assert run("decode", "a.lic", "-o", "b.png", "--crop", "1,2,3") == 2
    assert run("decode", "a.lic", "-o", "b.png", "--crop", "50,5,20,30") == 2
    assert "not within the picture of 60 x 40" in errors_of(capsys)


def test_strip_and_target_psnr(folder):
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    scene(60, 40).save("tagged.png", exif=exif)
    run("encode", "tagged.png", "-o", "kept.lic", "--target-psnr", "16")
    run("encode", "tagged.png", "-o", "bare.lic", "--target-psnr", "16", "--strip")
    kept, bare = (Codec().decode_picture(Path(name).read_bytes()) for name in ("kept.lic", "bare.lic"))
    assert kept.exif is not None and bare.exif is None
    assert np.array_equal(kept.pixels, bare.pixels)


def test_notices_are_printed(folder, capsys):
    scene(20, 20).convert("CMYK").save("print.tif")
    assert run("encode", "print.tif") == 0
    assert "print.tif: note: CMYK became RGB" in errors_of(capsys)


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


def test_wrong_usage_that_only_the_file_shows(folder, capsys):
    assert run("encode", "in/a.png") == 0
    assert run("decode", "in/a.lic", "--crop", "0,0,999,9", "-o", "b.png") == 2
    Path("bad.lic").write_bytes(b"LICx")
    assert run("decode", "in/a.lic", "bad.lic", "--crop", "0,0,999,9", "-o", "out") == 3
    assert "not within the picture" in errors_of(capsys)


def test_info_of_good_files_beside_a_bad_one(folder, capsys):
    assert run("encode", "in/a.png") == 0 and run("info", "in/a.lic", "in/a.png") == 3
    shown = capsys.readouterr()
    assert "weights" in shown.out and "in/a.png: not a .lic file" in shown.err


@pytest.mark.parametrize("ending", ["pictures/", ".", "doc"])
def test_an_ending_that_is_none(ending, tmp_path, capsys):
    (tmp_path / "a.lic").write_bytes(b"")
    assert run("decode", str(tmp_path / "a.lic"), "--to", ending) == 2
    assert "no picture format for the ending" in capsys.readouterr().err
