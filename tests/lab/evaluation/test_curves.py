"""Curves and their deltas: published figures reproduced, wrong input refused with a reason."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import pytest
import typer.testing

from lichen import cli
from lichen.errors import BadInput
from lichen.lab.evaluation.bdrate import delta
from lichen.lab.evaluation.curves import PUBLISHED, Curve, Points, find_points, load_points, published_names
from lichen.lab.evaluation.data_set import KODAK, DataSet
from lichen.lab.evaluation.results_table import ResultsTable
from tests.helpers import OTHERS

RESULTS = Path(__file__).parents[3] / "results"


@pytest.mark.parametrize(
    ("name", "published"),
    [("paper-elic2022_mse", -7.06), ("compressai-mbt2018-mean_mse_cuda", 21.3), ("bpg_444_x265_ycbcr", 22)],
)
def test_published_bd_rates_are_reproduced(name, published):
    found = delta(find_points("vtm").by_psnr(), find_points(name).by_psnr())
    assert found.rate_percent == pytest.approx(published, abs=0.5)
    assert (found.quality_db > 0) == (published < 0)


def test_a_curve_of_half_the_rate():
    anchor = Curve("a", (0.1, 0.2, 0.4, 0.8), (28, 30, 33, 36))
    half = Curve("b", (0.05, 0.1, 0.2, 0.4), (28, 30, 33, 36))
    assert delta(anchor, half).rate_percent == pytest.approx(-50)
    assert delta(half, anchor).rate_percent == pytest.approx(100)
    assert delta(anchor, anchor).rate_percent == delta(anchor, anchor).quality_db == 0
    assert delta(anchor, half).overlap_db == (28, 36)


def test_rates_above_the_limit_are_left_out():
    bpg, vtm = find_points("bpg_444_x265_ycbcr").by_psnr(), find_points("vtm").by_psnr()
    assert delta(vtm.up_to(1), bpg.up_to(1)).rate_percent == pytest.approx(31, abs=1)


@pytest.mark.parametrize(
    ("points", "reason"),
    [
        ([(0.1, 30.0), (0.2, 31.0), (0.3, 32.0)], "too few"),
        ([(0.1, 30.0), (0.2, 31.0), (0.3, 30.5), (0.4, 33.0)], "30.500 dB at 0.3000 bpp follows 31.000 dB"),
        ([(0.1, 30.0), (0.1, 31.0), (0.3, 32.0), (0.4, 33.0)], "is not a curve"),
        ([(0.0, 30.0), (0.1, 31.0), (0.3, 32.0), (0.4, 33.0)], "positive"),
        ([(0.1, 30.0), (0.2, 31.0), (0.3, 32.0), (0.4, float("inf"))], "finite"),
    ],
)
def test_no_curve_is_refused_with_the_reason(points, reason):
    with pytest.raises(BadInput, match=reason):
        Curve.of("x", points)


def test_points_that_give_nothing_are_left_out_of_a_rising_curve():
    points = [(0.1, 30.0), (0.2, 31.0), (0.3, 30.5), (0.4, 33.0), (0.4, 32.0), (0.6, 35.0)]
    assert Curve.rising("x", points) == Curve("x", (0.1, 0.2, 0.4, 0.6), (30.0, 31.0, 33.0, 35.0))


def test_curves_without_an_overlap_are_refused():
    low = Curve("low", (0.1, 0.2, 0.3, 0.4), (20, 21, 22, 23))
    high = Curve("high", (0.1, 0.2, 0.3, 0.4), (30, 31, 32, 33))
    with pytest.raises(BadInput, match="no quality in common"):
        delta(low, high)
    dear = Curve("dear", (1.0, 2.0, 3.0, 4.0), (20, 21, 22, 23))
    with pytest.raises(BadInput, match="no rate in common"):
        delta(low, dear)


def summary(path: Path, data_set: str | None, pictures: int) -> str:
    """A file of ours; older ones have no digest."""
    data = json.loads((RESULTS / "kodak/webp.json").read_text())
    data["meta"] |= {"data_set": data_set, "pictures": pictures}
    path.write_text(json.dumps(data))
    return str(path)


def test_curves_of_different_pictures_are_refused(tmp_path):
    ours = summary(tmp_path / "ours.json", "0123456789abcdef", 24)
    old, other = summary(tmp_path / "old.json", None, 24), summary(tmp_path / "other.json", None, 41)
    copied = str(PUBLISHED / "clic2020-professional/vtm.json")
    for anchor, test in (("vtm", ours), ("vtm", other), ("vtm", "clic2020-professional/vtm"), ("vtm", copied)):
        with pytest.raises(BadInput, match="compare curves of the same pictures"):
            delta(find_points(anchor).by_psnr(), find_points(test).by_psnr().up_to(3))
    for anchor, test in (("vtm", old), (ours, old), ("clic2020-professional/vtm", other)):
        assert delta(find_points(anchor).by_psnr(), find_points(test).by_psnr().up_to(3))
    assert run("clic2020-professional/vtm", ours, "--json").exit_code == 3


def test_other_tools_files_are_compared_as_they_are(tmp_path):
    data = json.loads((PUBLISHED / "clic2020-professional/vtm.json").read_text())
    for meta in ({}, {"meta": {"pictures": ["a"], "data_set": 7}}, {"meta": "by hand"}):
        (tmp_path / "a.json").write_text(json.dumps(data | meta))
        assert delta(find_points("vtm").by_psnr(), load_points(tmp_path / "a.json").by_psnr())


def test_our_results_are_of_kodak():
    pixels = {row.picture: row.pixels for row in ResultsTable(RESULTS / "kodak/table.tsv").rows.values()}
    assert DataSet.of(pixels.values()) == KODAK
    for path in (RESULTS / "kodak").glob("*.json"):
        assert not load_points(path).data_set.differs(KODAK)


def test_all_published_curves_load():
    names = published_names()
    assert len(names) >= 50
    for name in names:
        points = find_points(name)
        assert points.psnr_db or points.ms_ssim_db, name
    assert find_points("vtm").name == "VTM"
    assert find_points("vtm").bpp != find_points("clic2020-professional/vtm").bpp


def test_published_curves_are_those_of_the_source():
    folder = OTHERS / "rd/kodak"
    if not folder.exists():
        pytest.skip("the curves of other codecs are absent")
    paths = list(folder.glob("*.json"))
    assert paths
    for path in paths:
        ours, theirs = find_points(path.stem), load_points(path)
        assert (ours.bpp, ours.psnr_db, ours.ms_ssim_db) == (theirs.bpp, theirs.psnr_db, theirs.ms_ssim_db), path.stem


def test_a_wrong_name_names_near_ones():
    with pytest.raises(BadInput, match="paper-elic2022_mse"):
        find_points("elic")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "not a results file"),
        ('{"results": {}}', "not a results file"),
        ('{"results": {"bpp": [1, 2], "psnr-rgb": [30]}}', "different lengths"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path, content, reason):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(BadInput, match=reason):
        load_points(tmp_path / "a.json")


def test_ms_ssim_is_compared_in_db(tmp_path):
    data = {"name": "a", "results": {"bpp": [1, 2], "ms-ssim-rgb": [0.9, 0.99], "psnr-rgb": [30, None]}}
    (tmp_path / "a.json").write_text(json.dumps(data))
    points = load_points(tmp_path / "a.json")
    assert points.ms_ssim_db == pytest.approx((10, 20))
    assert points.psnr_db[0] == 30 and math.isnan(points.psnr_db[1])
    with pytest.raises(BadInput, match="too few"):
        points.by_psnr()


def test_points_of_infinite_psnr_are_left_out_and_named(tmp_path):
    data = json.loads((RESULTS / "kodak/webp.json").read_text())
    data["results"]["psnr-rgb"][-1] = None
    (tmp_path / "a.json").write_text(json.dumps(data))
    whole = load_points(RESULTS / "kodak/webp.json").by_psnr()
    assert load_points(tmp_path / "a.json").by_psnr().quality_db == whole.quality_db[:-1]
    result = run("vtm", str(tmp_path / "a.json"), "--json")
    assert result.exit_code == 0 and json.loads(result.stdout)["deltas"][0]["points"] == [8, 9]
    assert "1 of 10 points by PSNR, which is infinite there" in json.loads(result.stdout)["left_out"][0]
    data["results"]["psnr-rgb"] = [None] * 10
    (tmp_path / "a.json").write_text(json.dumps(data))
    with pytest.raises(BadInput, match="came back exactly each time"):
        load_points(tmp_path / "a.json").by_psnr()


def run(*arguments: str) -> typer.testing.Result:
    return typer.testing.CliRunner().invoke(cli.app, ["bdrate", *arguments])


def test_the_command_prints_method_and_overlap():
    result = run("vtm", "av1", "webp")
    assert result.exit_code == 0
    assert "akima" in result.output
    assert "26.14 to 43.97" in result.output
    assert "+16.18" in result.output


def test_a_leaderboard_is_sorted_and_refusals_do_not_stop_it():
    result = run("--over", "vtm", "webp", "paper-elic2022_ms-ssim", "av1", "--json")
    assert result.exit_code == 3
    data = json.loads(result.stdout)
    assert [row["test"] for row in data["deltas"]] == ["AV1", "WebP, published"]
    assert "no PSNR" in data["refused"][0]


def test_wrong_calls(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["lichen", "bdrate", "vtm"])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 2
    assert "at least one test" in capsys.readouterr().err


def test_points_know_what_they_lack():
    with pytest.raises(BadInput, match="has no MS-SSIM"):
        Points("x", (1.0,), (30.0,)).by_ms_ssim()
