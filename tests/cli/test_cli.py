"""The command line as a person or a script meets it, each call in a process of its own or in ours."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lichen import cli
from lichen.batch.rows import Row
from lichen.batch.tasks import Done, Task
from lichen.cli.app import parse_size
from lichen.codec import Codec
from lichen.errors import UsageError
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
    assert "4 of its channel groups arrived, which --partial decodes" in errors_of(capsys)
    assert run("decode", "cut.lic", "--partial", "--zero-fill") == 0
    assert "note: 4 of 5 channel groups arrived" in errors_of(capsys)
    assert run("decode", "a.lic", "-o", "first.png", "--groups", "4", "--zero-fill") == 0
    assert Path("first.png").read_bytes() == Path("cut.png").read_bytes()
    assert run("decode", "cut.lic", "-o", "b.png", "--groups", "5") == 3
    for contradiction in (["--groups", "2", "--partial"], ["--zero-fill"]):
        assert run("decode", "a.lic", "-o", "b.png", *contradiction) == 2


def test_a_quality_beside_a_target_is_not_ignored(folder, capsys):
    for command in (["encode", "in/a.png"], ["compare", "in/a.png"]):
        assert run(*command, "-q", "60", "--target-size", "1kB") == 2
        assert "give --quality or a target, not both" in errors_of(capsys)


def test_messages_name_options(folder, capsys):
    assert run("encode", "in/a.png", "--target-bpp", "-1") == 2
    assert "--target-bpp must be positive" in errors_of(capsys)
    assert run("encode", "in/a.png", "--max-memory", "1kB") == 3
    assert "raise --max-memory" in errors_of(capsys)


def test_info_of_folders(folder, capsys):
    assert run("encode", "in", "-r") == 0 and capsys.readouterr()
    assert run("info", "in", "--json") == 0
    assert [facts["file"] for facts in json.loads(capsys.readouterr().out)] == ["in/a.lic"]
    assert run("info", "in", "-r", "--json") == 0
    assert len(json.loads(capsys.readouterr().out)) == 2


def test_info(folder, capsys):
    run("encode", "in/a.png", "-o", "a.lic", "-q", "50")
    capsys.readouterr()
    assert run("info", "--json", "a.lic") == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["width"], facts["height"], facts["model"]) == (60, 40, "lichen")
    assert facts["quality_index"] == 512  # half of two steps between its three rates
    assert facts["size_bytes"] == Path("a.lic").stat().st_size
    assert facts["overhead_bytes"] + facts["latents_bytes"] == facts["size_bytes"]
    assert facts["trained_for"] == "psnr"
    assert run("info", "a.lic") == 0
    assert "weights_at" in capsys.readouterr().out


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


def test_alpha_does_not_go_into_jpeg(folder, capsys):
    image = scene(20, 20).convert("RGBA")
    image.putalpha(100)
    image.save("alpha.png")
    run("encode", "alpha.png")
    assert run("decode", "alpha.lic", "-o", "alpha.jpg") == 3
    assert "transparency" in errors_of(capsys) and not Path("alpha.jpg").exists()


def test_a_source_that_is_smaller_is_reported():
    task = Task(Path("a.jpg"), Path("a.lic"))
    assert "already smaller" in cli.coding._encoded(Row.of(Done(task, 100, 120, 8, 8)))
    assert "already smaller" not in cli.coding._encoded(Row.of(Done(task, 120, 100, 8, 8)))


def test_sizes():
    texts = ("40kB", "1.5 MB", "40000", "3k", "40KiB", "1.5mib", "7b")
    assert [parse_size(text) for text in texts] == [40000, 1_500_000, 40000, 3000, 40960, 1_572_864, 7]
    for text in ("40 i", "ikB", "4TB", ""):
        with pytest.raises(UsageError, match="is not a size"):
            parse_size(text)


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
