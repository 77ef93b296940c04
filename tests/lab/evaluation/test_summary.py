"""Summaries: means over pictures, where their rows were made, and a file for each name."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from pathlib import Path

import pytest

from lichen.errors import BadInput
from lichen.lab.evaluation.codecs import ModelEntry
from lichen.lab.evaluation.evaluate import evaluate, file_name
from lichen.lab.evaluation.results_table import Measurement, ResultsTable
from lichen.lab.evaluation.summary import machine, summarise
from lichen.lab.models.zoo import ZOO
from tests.small import scene, small_checkpoint

RESULTS = Path(__file__).parents[3] / "results"


@pytest.fixture
def entry(tmp_path) -> ModelEntry:
    return ModelEntry.of(str(small_checkpoint(ZOO[0], tmp_path)), (0, 50), "cpu")


@pytest.fixture
def pictures(tmp_path) -> Path:
    (tmp_path / "pictures").mkdir()
    scene(64, 64).save(tmp_path / "pictures/a.png")
    return tmp_path / "pictures"


def run(entries, data: Path, output: Path) -> None:
    evaluate(entries, data, output)


def row(picture: str, setting: float, encode_s: float = 1.0) -> Measurement:
    figures = {"bpp": 1.0, "estimated_bpp": math.nan, "excess_bpp": math.nan, "psnr_db": 30.0, "ms_ssim": 0.9}
    sizes = {"width": 8, "height": 8, "size_bytes": 8}
    times = {"ms_ssim_db": 10.0, "encode_s": encode_s, "decode_s": 1.0, "peak_mb": math.nan}
    return Measurement(
        picture=picture, model="m", version="v", setting=setting, pixels="0", **sizes, **figures, **times
    )


def test_seconds_leave_out_the_first_six_pictures():
    rows = [row(f"{i:02}", 1, 100.0 if i < 6 else 2.0) for i in range(10)]
    summary = summarise("m", rows)
    assert summary["results"]["encoding_time"] == [2.0]
    assert summary["meta"]["timing"].endswith("means over pictures without the first 6")


def test_rows_of_several_machines_are_of_several():
    mixed = [dataclasses.replace(row("a", 1), machine="Another CPU, float32", cpus=64), row("b", 1)]
    meta = summarise("m", mixed)["meta"]
    assert meta["cpu"] == "Another CPU and an unknown processor" and "cpus" not in meta


def test_a_summary_says_where_its_rows_were_made(entry, pictures, tmp_path):
    """Not where it is written, perhaps years later and elsewhere."""
    run([entry], pictures, tmp_path / "out")
    here = json.loads((tmp_path / "out/lichen.json").read_text())["meta"]
    assert here["cpu"] == machine()["cpu"] and (here["processes"], here["cpus"]) == (1, os.cpu_count())
    table = ResultsTable(tmp_path / "out/table.tsv")
    elsewhere = {"machine": "Another CPU, float32", "cpus": 64, "threads": 3}
    table.rows = {key: dataclasses.replace(r, **elsewhere) for key, r in table.rows.items()}
    table.save()
    (tmp_path / "out/lichen.json").unlink()
    run([entry], pictures, tmp_path / "out")
    meta = json.loads((tmp_path / "out/lichen.json").read_text())["meta"]
    assert (meta["cpu"], meta["cpus"], meta["threads"]) == ("Another CPU", 64, 3)
    assert meta["machines"] == ["Another CPU, float32"]


def test_two_names_do_not_share_a_summary(entry, pictures, tmp_path):
    same = dataclasses.replace(entry, name="Lichen")
    with pytest.raises(BadInput, match=r"lichen\.json of 'lichen'"):
        run([entry, same], pictures, tmp_path)
    run([entry], pictures, tmp_path)
    with pytest.raises(BadInput, match=r"lichen\.json of 'lichen'"):
        run([same], pictures, tmp_path)
    with pytest.raises(BadInput, match=r"would be the file \.json"):
        run([dataclasses.replace(same, name="@")], pictures, tmp_path)


@pytest.mark.parametrize("folder", ["kodak", "evidence-short", "evidence-trained"])
def test_committed_summaries_are_of_their_rows(folder):
    table = ResultsTable(RESULTS / folder / "table.tsv")
    for name in {row.model for row in table.rows.values()}:
        found = json.loads((RESULTS / folder / file_name(name)).read_text())["results"]
        anew = summarise(name, table.of(name))["results"]
        assert all(anew[key] == values for key, values in found.items() if key in anew)
        assert {"bpp", "encoding_time", "encoding_time_median"} <= found.keys() & anew.keys()
