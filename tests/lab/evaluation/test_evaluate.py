"""`lichen eval`: rows that hold what they say, runs that can be stopped, and wrong input that is named."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import json
import math
import os
import struct
import sys
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lichen.codec import Codec
from lichen.errors import BadData, BadInput, OutOfMemory, OutputError, OutputExists
from lichen.lab.evaluation import peers
from lichen.lab.evaluation.codecs import ModelEntry, PeerEntry
from lichen.lab.evaluation.curves import load_points
from lichen.lab.evaluation.data_set import DataSet
from lichen.lab.evaluation.evaluate import Outcome, evaluate, file_name
from lichen.lab.evaluation.peers import PEERS, available, peer
from lichen.lab.evaluation.results_table import HEAD, ResultsTable
from lichen.lab.evaluation.summary import summarise
from lichen.lab.models.zoo import ZOO
from lichen.metrics import psnr_db
from tests.command import run as lichen
from tests.image.by_hand import png_chunk
from tests.small import scene, small_checkpoint


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    return small_checkpoint(ZOO[0], tmp_path_factory.mktemp("weights"))


@pytest.fixture
def pictures(tmp_path) -> Path:
    """Three pictures of two sizes and modes, and one that is none."""
    folder = tmp_path / "pictures"
    (folder / "deep").mkdir(parents=True)
    scene(80, 64).save(folder / "a.png")
    scene(64, 64, 1).convert("L").save(folder / "b.png")
    scene(176, 168, 2).save(folder / "deep/c.png")
    (folder / "broken.png").write_bytes(b"no picture")
    return folder


def run(entries, data: Path, output: Path, jobs: int = 1, replace: bool = False) -> Outcome:
    return evaluate(entries, data, output, jobs=jobs, replace=replace)


def model(weights: Path, *qualities: float) -> ModelEntry:
    return ModelEntry.of(str(weights), qualities or (0, 50, 100), "cpu")


def test_rows_are_whole_files(weights, pictures, tmp_path):
    out = tmp_path / "out"
    outcome = run([model(weights)], pictures, out)
    assert outcome.new_rows == 9
    assert len(outcome.skipped) == 1 and "broken.png" in outcome.skipped[0]
    row = ResultsTable(out / "table.tsv").rows["lichen", "deep/c", 50.0]
    image, codec = Image.open(pictures / "deep/c.png"), Codec(weights=weights)
    data = codec.encode(image, 50)
    assert row.size_bytes == len(data)
    assert row.bpp == pytest.approx(8 * len(data) / (176 * 168), abs=1e-5)
    assert row.psnr_db == pytest.approx(psnr_db(np.asarray(image), codec.decode_array(data)), abs=1e-4)
    assert 0 < row.ms_ssim < 1
    assert row.version == codec.checkpoint.hash.hex()
    assert 0 < row.estimated_bpp < row.bpp
    assert row.excess_bpp == pytest.approx(row.bpp - row.estimated_bpp, abs=2e-5)
    assert min(row.encode_s, row.decode_s) > 0
    if sys.platform == "linux":
        assert 0 <= row.peak_mb < 4000


def test_refined_files_are_a_curve_of_their_own(weights, pictures, tmp_path):
    run([model(weights, 50), model(weights, 50).refined(2)], pictures, tmp_path)
    rows = ResultsTable(tmp_path / "table.tsv").rows
    codec, image = Codec(weights=weights), Image.open(pictures / "deep/c.png")
    assert rows["lichen-refine2", "deep/c", 50.0].size_bytes == len(codec.encode(image, 50, refine_steps=2))
    assert math.isnan(rows["lichen-refine2", "deep/c", 50.0].estimated_bpp)
    assert rows["lichen", "deep/c", 50.0].estimated_bpp > 0
    assert model(weights).refined(0) == model(weights)


def test_small_pictures_have_no_ms_ssim_and_no_mean_of_it(weights, pictures, tmp_path):
    run([model(weights)], pictures, tmp_path)
    assert math.isnan(ResultsTable(tmp_path / "table.tsv").rows["lichen", "a", 0.0].ms_ssim)
    assert "n/a" in (tmp_path / "table.tsv").read_text()
    assert all(map(math.isnan, load_points(tmp_path / "lichen.json").ms_ssim_db))


def test_the_summary_is_the_mean_of_rows(weights, pictures, tmp_path):
    run([model(weights)], pictures, tmp_path)
    rows = [r for r in ResultsTable(tmp_path / "table.tsv").of("lichen") if r.setting == 50]
    summary = json.loads((tmp_path / "lichen.json").read_text())
    assert summary["name"] == "lichen"
    assert summary["results"]["bpp"][1] == pytest.approx(sum(r.bpp for r in rows) / 3)
    assert summary["results"]["psnr-rgb"][1] == pytest.approx(sum(r.psnr_db for r in rows) / 3)
    assert load_points(tmp_path / "lichen.json").data_set == DataSet.of(r.pixels for r in rows)
    assert summary["meta"]["pictures"] == 3
    assert summary["meta"]["timing"].endswith("means over pictures")


@pytest.mark.parametrize("columns", [17, 18])
def test_the_load_is_of_the_rows_and_older_tables_are_read(weights, pictures, tmp_path, columns):
    """A summary that is written later does not say how busy the machine is then."""
    run([model(weights)], pictures, tmp_path)
    table = ResultsTable(tmp_path / "table.tsv")
    table.rows = {key: dataclasses.replace(r, load_average=7.0) for key, r in table.rows.items()}
    table.save()
    (tmp_path / "lichen.json").unlink()
    run([model(weights)], pictures, tmp_path)
    assert json.loads((tmp_path / "lichen.json").read_text())["meta"]["load_average"] == 7.0
    lines = (tmp_path / "table.tsv").read_text().splitlines()
    old = ["\t".join(line.split("\t")[:columns]) + "\n" for line in lines[:-1]]
    (tmp_path / "table.tsv").write_text("".join(old))
    (tmp_path / "lichen.json").unlink()
    assert run([model(weights)], pictures, tmp_path).new_rows == 1
    rows = ResultsTable(tmp_path / "table.tsv").of("lichen")
    assert [r.machine == "" for r in rows].count(True) == 8
    assert [math.isnan(r.load_average) for r in rows].count(True) == (8 if columns == 17 else 0)


def test_a_run_goes_on_where_it_was_killed(weights, pictures, tmp_path):
    run([model(weights)], pictures, tmp_path)
    whole = (tmp_path / "table.tsv").read_text().splitlines()
    (tmp_path / "table.tsv").write_text("\n".join(whole[:5]) + "\n" + whole[5][:20])
    (tmp_path / "lichen.json").unlink()
    with pytest.raises(BadInput, match="unfinished"):
        summarise("lichen", ResultsTable(tmp_path / "table.tsv").of("lichen"))
    assert run([model(weights)], pictures, tmp_path).new_rows == 5
    again = (tmp_path / "table.tsv").read_text().splitlines()
    assert again[:5] == whole[:5]
    assert [line.split("\t")[:10] for line in again] == [line.split("\t")[:10] for line in whole]
    assert (tmp_path / "lichen.json").exists()
    assert run([model(weights)], pictures, tmp_path).new_rows == 0


def test_more_qualities_are_added(weights, pictures, tmp_path):
    run([model(weights, 0)], pictures, tmp_path)
    assert run([model(weights, 0, 70)], pictures, tmp_path).new_rows == 3
    assert json.loads((tmp_path / "lichen.json").read_text())["results"]["quality"] == [0, 70]


def test_other_weights_under_one_name_are_refused(weights, pictures, tmp_path):
    other = small_checkpoint(ZOO[0], tmp_path, seed=5)
    out = tmp_path / "out"
    run([model(weights)], pictures, out)
    with pytest.raises(BadInput, match="--replace"):
        run([model(other)], pictures, out)
    assert run([model(other)], pictures, out, replace=True).new_rows == 9
    versions = {r.version for r in ResultsTable(out / "table.tsv").of("lichen")}
    assert versions == set(model(other).versions.values())


def test_other_weights_are_refused_also_at_settings_not_asked_for(weights, pictures, tmp_path):
    """A curve of one model is of one file: new points between old ones would be a curve of nobody."""
    old, new = model(weights), model(small_checkpoint(ZOO[0], tmp_path, seed=5), 70)
    out = tmp_path / "out"
    run([old], pictures, out)
    with pytest.raises(BadInput, match="--replace"):
        run([new], pictures, out)
    assert run([new], pictures, out, replace=True).new_rows == 3
    assert {(r.setting, r.version) for r in ResultsTable(out / "table.tsv").of("lichen")} == set(new.versions.items())
    summary = json.loads((out / "lichen.json").read_text())
    assert (summary["results"]["quality"], summary["meta"]["versions"]) == ([70], list(new.versions.values()))


def test_rows_of_other_weights_go_though_nothing_is_missing(weights, pictures, tmp_path):
    """A table in which two sets of weights have met is mended by --replace, its summary too."""
    run([model(weights)], pictures, tmp_path)
    table = ResultsTable(tmp_path / "table.tsv")
    table.rows |= {r.key: dataclasses.replace(r, version="old") for r in table.of("lichen") if r.setting == 100}
    table.save()
    assert run([model(weights, 0, 50)], pictures, tmp_path, replace=True).new_rows == 0
    assert json.loads((tmp_path / "lichen.json").read_text())["results"]["quality"] == [0, 50]


def test_of_a_family_only_the_replaced_member_is_measured_anew(weights, pictures, tmp_path):
    path = model(weights).members[0][1]
    old, new = (ModelEntry("f", ((1.0, path, "a"), (2.0, path, second)), "cpu") for second in "bc")
    run([old], pictures, tmp_path)
    with pytest.raises(BadInput, match="by b, not by a, c"):
        run([new], pictures, tmp_path)
    assert run([new], pictures, tmp_path, replace=True).new_rows == 3
    assert json.loads((tmp_path / "f.json").read_text())["meta"]["versions"] == ["a", "c"]


def test_other_pictures_under_one_name_are_refused(weights, pictures, tmp_path):
    out = tmp_path / "out"
    run([model(weights, 0)], pictures, out)
    scene(80, 64, 9).save(pictures / "a.png")
    with pytest.raises(BadInput, match="another picture named a"):
        run([model(weights, 0)], pictures, out)
    (pictures / "a.png").unlink()
    with pytest.raises(BadInput, match="not in this folder"):
        run([model(weights, 0)], pictures, out)


def test_replacing_with_the_wrong_folder_loses_nothing(weights, pictures, tmp_path):
    out, wrong = tmp_path / "out", tmp_path / "wrong"
    run([model(weights, 0)], pictures, out)
    before = [(out / name).read_bytes() for name in ("table.tsv", "lichen.json")]
    wrong.mkdir()
    scene(80, 64, 9).save(wrong / "z.png")
    with pytest.raises(BadInput, match="not in this folder"):
        run([model(small_checkpoint(ZOO[0], tmp_path, seed=5), 0)], wrong, out, replace=True)
    assert [(out / name).read_bytes() for name in ("table.tsv", "lichen.json")] == before


def test_a_folder_without_pictures(weights, tmp_path):
    with pytest.raises(BadData, match="no pictures"):
        run([model(weights)], tmp_path, tmp_path / "out")
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(BadData, match="none of its pictures"):
        run([model(weights)], tmp_path, tmp_path / "out")


def test_a_strange_table_is_refused(tmp_path):
    (tmp_path / "table.tsv").write_text("a\tb\n")
    with pytest.raises(BadInput, match="not a results table"):
        ResultsTable(tmp_path / "table.tsv")
    (tmp_path / "table.tsv").write_text(HEAD + "\na\tb\n")
    with pytest.raises(BadInput, match="line 2"):
        ResultsTable(tmp_path / "table.tsv")


@pytest.mark.slow
def test_several_processes_share_threads_and_give_the_same_rows(weights, pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    entries = [model(weights, 50), PeerEntry("WebP")]
    run(entries, pictures, tmp_path / "one")
    run(entries, pictures, tmp_path / "two", jobs=2)
    one, two = (ResultsTable(tmp_path / name / "table.tsv").rows for name in ("one", "two"))
    assert {(row.processes, row.threads) for row in two.values()} == {(2, 4)}
    assert one.keys() == two.keys()
    assert all(one[key].size_bytes == two[key].size_bytes for key in one)


def test_a_family_of_fixed_rates_is_one_curve(weights, tmp_path):
    with pytest.raises(BadInput, match="no weights"):
        ModelEntry.of(str(tmp_path), (0,), "cpu")
    for name in ("a", "b"):
        (tmp_path / f"{name}.safetensors").write_bytes(weights.read_bytes())
    with pytest.raises(BadInput, match="several weights of one quality"):
        ModelEntry.of(str(tmp_path), (0,), "cpu")


@pytest.mark.parametrize("codec", available(), ids=lambda p: p.name)
def test_peers_code_at_their_whole_range(codec):
    picture = scene(64, 48)
    low, high = (codec.encode(picture, codec.settings[i]) for i in (0, -1))
    assert len(low) < len(high)
    original = np.asarray(picture)
    assert psnr_db(original, np.asarray(codec.decode(low))) + 3 < psnr_db(original, np.asarray(codec.decode(high)))
    assert any(character.isdigit() for character in codec.version())
    middle = (len(low) + len(high)) // 2
    assert len(low) <= len(codec.at_most(picture, middle).data) <= middle


def test_file_names_are_plain():
    assert [file_name(p.name) for p in PEERS[:2]] == ["jpeg-420.json", "jpeg-444.json"]


def test_the_command(weights, pictures, tmp_path, capsys):
    out = str(tmp_path / "out")
    assert lichen("eval", str(weights), "--peer", "WebP", "-q", "50", "--data", str(pictures), "-o", out) == 3
    captured = capsys.readouterr()
    text, points = captured.err, load_points(tmp_path / "out/webp.json")
    assert "broken.png" in text and "6 files measured, 1 pictures skipped" in text
    assert all(f"{value:.4g}" in captured.out for value in points.psnr_db) and "PSNR dB" in captured.out
    assert load_points(tmp_path / "out/webp.json").psnr_db


def test_a_picture_beyond_the_limit_is_named_with_what_can_be_done(pictures, tmp_path, capsys):
    """There is no option for the limit."""
    head = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 12_000, 12_000, 8, 0, 0, 0, 0))
    (pictures / "huge.png").write_bytes(b"\x89PNG\r\n\x1a\n" + head + png_chunk(b"IDAT", b""))
    assert lichen("eval", "--peer", "WebP", "-q", "0", "--data", str(pictures), "-o", str(tmp_path / "out")) == 3
    said = "".join(capsys.readouterr().err.split("\n"))
    assert "huge.png: 12000 x 12000 is beyond the limit of 134217728 pixels; crop it" in said


def test_a_picture_beyond_a_peer_s_limit_is_one_line(tmp_path, capsys):
    (tmp_path / "long").mkdir()
    scene(16500, 8).save(tmp_path / "long/a.png")
    assert lichen("eval", "--peer", "WebP", "--data", str(tmp_path / "long"), "-o", str(tmp_path / "out")) == 3
    said = "".join(capsys.readouterr().err.split("\n"))
    assert "WebP on " in said and "a.png: WebP's library fails (ValueError" in said


def test_a_peer_that_fails_has_no_curve_and_stops_no_other(pictures, tmp_path, capsys):
    scene(16500, 8).save(pictures / "long.png")
    (pictures / "broken.png").unlink()
    command = ("eval", "--peer", "WebP", "--peer", "JPEG 4:2:0", "--data", str(pictures), "-o", str(tmp_path / "out"))
    assert lichen(*command) == 3
    said = "".join(capsys.readouterr().err.split("\n"))
    assert "long.png: WebP's library fails (ValueError" in said and "it has no curve" in said
    assert len(load_points(tmp_path / "out/jpeg-420.json").psnr_db) == 10
    assert not (tmp_path / "out/webp.json").exists()
    (pictures / "long.png").unlink()
    table = ResultsTable(tmp_path / "out/table.tsv")
    table.drop([row for row in table.rows.values() if row.picture == "long"])
    assert lichen(*command) == 0 and load_points(tmp_path / "out/webp.json").psnr_db


def test_one_evaluation_fills_a_folder(weights, pictures, tmp_path):
    fcntl = pytest.importorskip("fcntl")
    out = tmp_path / "out"
    out.mkdir()
    other = os.open(out, os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX)
    with pytest.raises(OutputError, match="another evaluation is filling"):
        run([model(weights, 0)], pictures, out)
    os.close(other)
    assert run([model(weights, 0)], pictures, out).new_rows == 3


def test_a_summary_from_elsewhere_is_not_removed(weights, pictures, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "lichen.json").write_text("{}")
    with pytest.raises(OutputExists, match="not of the table"):
        run([model(weights, 0)], pictures, out, replace=True)
    assert (out / "lichen.json").read_text() == "{}"


def test_names_that_a_table_cannot_keep(weights, pictures, tmp_path):
    for name in ("a\u2028b", "tab\there", "latin\udce9"):
        scene(16, 16).save(pictures / f"{name}.png")
    out = tmp_path / "out"
    outcome = run([model(weights, 0)], pictures, out)
    assert outcome.new_rows == 3 and sum("rename it" in line for line in outcome.skipped) == 3
    assert run([model(weights, 0)], pictures, out).new_rows == 0


def test_files_of_one_name_are_called_by_their_folders_too(weights, pictures, tmp_path):
    (pictures / "broken.png").unlink()
    mine = small_checkpoint(ZOO[0], tmp_path / "mine", seed=5)
    command = ("eval", str(weights), str(mine), "-q", "0", "--data", str(pictures), "-o", str(tmp_path / "out"))
    assert lichen(*command) == 0
    names = {row.model for row in ResultsTable(tmp_path / "out/table.tsv").rows.values()}
    assert names == {f"{weights.parent.name}-lichen", "mine-lichen"}


def test_names_of_weights_go_before_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lichen").mkdir()
    assert ModelEntry.of("lichen", (50,), "cpu").name == "lichen"


def test_a_process_that_was_ended(weights, pictures, tmp_path, monkeypatch):
    def ended(*arguments: object) -> None:
        raise BrokenProcessPool("ended")

    monkeypatch.setattr(concurrent.futures.Future, "result", ended)
    with pytest.raises(OutOfMemory, match="fewer --jobs"):
        run([model(weights, 0)], pictures, tmp_path / "out", jobs=2)


@pytest.mark.parametrize("module", ["bjontegaard", "scipy"])
def test_an_extra_that_is_not_installed(module, monkeypatch, capsys):
    def absent(*arguments: object) -> None:
        raise ModuleNotFoundError(f"No module named {module!r}", name=module)

    monkeypatch.setattr("lichen.cli.evaluation._deltas", absent)
    assert lichen("bdrate", "vtm", "vtm") == 2
    assert f"needs {module}: pip install" in (said := capsys.readouterr().err) and "[eval]" in said


def test_the_command_names_what_is_missing(monkeypatch, pictures, tmp_path, capsys):
    absent = peers.Peer("Nothing", (1,), lambda image, setting: b"", ("no_such_module", "no-such-package"))
    monkeypatch.setattr(peers, "PEERS", (peer("WebP"), absent))
    (pictures / "broken.png").unlink()
    assert lichen("eval", "--peers", "--data", str(pictures), "-o", str(tmp_path / "out")) == 0
    assert "Nothing is left out here; pip install no-such-package" in capsys.readouterr().err


def test_wrong_calls(weights, pictures, capsys):
    assert lichen("eval", "--data", str(pictures)) == 2
    assert lichen("eval", str(weights), str(weights), "--data", str(pictures)) == 2
    assert f"two models are named '{weights.parent.name}-lichen'" in capsys.readouterr().err
    assert lichen("eval", "--peer", "MP3", "--data", str(pictures)) == 2
