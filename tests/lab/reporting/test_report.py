"""The report and the comparison: what they hold, what they refuse, and both in a real browser."""

from __future__ import annotations

import base64
import dataclasses
import json
import math
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from lichen.errors import BadInput
from lichen.lab.evaluation.evaluate import TABLE, file_name
from lichen.lab.evaluation.leaderboard import Origin, log_rates, read_leaderboard
from lichen.lab.evaluation.results_table import ResultsTable
from lichen.lab.evaluation.summary import summarise
from lichen.lab.models.zoo import ZOO
from lichen.lab.reporting.html import page
from lichen.lab.reporting.pairs import part_to_show
from lichen.lab.reporting.report import GAINS, ReportOptions, pictures_at_equal_bytes, read_gains, report
from tests.command import run
from tests.lab.reporting.made_up import data_of, kodak_results, results
from tests.small import scene, small_checkpoint

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


@pytest.fixture
def kodak(tmp_path) -> Path:
    return kodak_results(tmp_path / "kodak")


@pytest.fixture(scope="module")
def site(tmp_path_factory, tiny) -> Path:
    """A report with everything in it."""
    folder = tmp_path_factory.mktemp("site")
    scene(192, 128).save(folder / "a.png")
    points = [{"bpp": 0.1, "gain_db": 0.4, "correlation": 0.05}, {"bpp": 0.5, "gain_db": 0.1, "correlation": 0.02}]
    (kodak_results(folder / "results") / GAINS).write_text(json.dumps({"models": [{"name": "m", "points": points}]}))
    pairs = pictures_at_equal_bytes([folder / "a.png"], tiny, 2.0, lambda name: None)
    assert report(folder / "results", folder, pairs, "</title><script>alert(1)</script>") == []
    return folder


def test_the_report_holds_the_deltas(site):
    data = data_of(site / "index.html")
    origins = {s["key"]: s["origin"] for s in data["series"]}
    assert origins["lichen"] == "ours" and origins["webp"] == "peer" and origins["vtm"] == "published"
    assert data["deltas"]["webp"]["lichen"]["psnr"]["rate"] == pytest.approx(-36, abs=0.05)
    assert data["deltas"]["lichen"]["webp"]["ms"]["rate"] == pytest.approx(56.25, abs=0.05)
    assert data["deltas"]["vtm"]["av1"]["psnr"]["rate"] == pytest.approx(16.18, abs=0.01)
    assert {"name": "WebP", "percent": -36.0} in data["facts"]
    assert data["gains"][0]["points"][0]["gain_db"] == 0.4


def test_the_report_holds_the_bits_of_y_and_z(site):
    data = {s["key"]: s for s in data_of(site / "index.html")["series"]}
    ours = data["lichen"]
    assert [y / z for y, z in zip(ours["y_bpp"], ours["z_bpp"], strict=True)] == pytest.approx([15] * 7, rel=0.01)
    assert ours["y_bpp"][0] == pytest.approx(0.9 * ours["bpp"][0], rel=1e-3)
    assert data["webp"]["y_bpp"] is data["webp"]["z_bpp"] is data["vtm"]["y_bpp"] is None


def test_one_interrupted_call_moves_the_mean_not_the_median(kodak, tmp_path):
    """A single encoding of 180 s among 24 of 0.2 s, not among the first six, which are left out anyway."""
    table = ResultsTable(kodak / TABLE)
    slow = table.rows["lichen", "kodim20", 3.0]
    table.rows[slow.key] = dataclasses.replace(slow, encode_s=180.0)
    summary = summarise("lichen", table.of("lichen"))
    assert summary["results"]["encoding_time"][3] == pytest.approx((17 * 0.2 + 180) / 18)
    assert summary["results"]["encoding_time_median"][3] == 0.2
    table.save()
    (kodak / "lichen.json").write_text(json.dumps(summary))
    report(kodak, tmp_path, [], "t")
    ours = next(s for s in data_of(tmp_path / "index.html")["series"] if s["key"] == "lichen")
    assert ours["encode_median"] == pytest.approx(0.2) and ours["encode"] > 1


def test_older_summaries_without_medians_and_bits_are_read(kodak, tmp_path):
    summary = json.loads((kodak / "lichen.json").read_text())
    for key in ("encoding_time_median", "decoding_time_median", "estimated-y-bpp", "estimated-z-bpp"):
        del summary["results"][key]
    (kodak / "lichen.json").write_text(json.dumps(summary))
    assert report(kodak, tmp_path, [], "t") == []
    ours = next(s for s in data_of(tmp_path / "index.html")["series"] if s["key"] == "lichen")
    assert ours["encode_median"] is None and ours["y_bpp"] is None and ours["encode"] == pytest.approx(0.2)


def test_anchor_and_published_curves_can_be_chosen(kodak, tmp_path):
    report(kodak, tmp_path, [], "t", options=ReportOptions("bpg_444_x265_ycbcr", ("bpg_444_x265_ycbcr",)))
    data = data_of(tmp_path / "index.html")
    assert data["anchor"] == "bpg_444_x265_ycbcr" and data["reported"] == []
    assert [s["key"] for s in data["series"] if s["origin"] == "published"] == ["bpg_444_x265_ycbcr"]
    assert "bytes saved over BPG 4:4:4" in (tmp_path / "figures/saving.svg").read_text()


def test_the_figures_are_there_for_papers(site):
    names = ("gains", "rd-ms-ssim", "rd-psnr", "saving", "speed")
    assert sorted(p.name for p in (site / "figures").iterdir()) == [f"{n}.{e}" for n in names for e in ("png", "svg")]


def test_the_page_is_one_file_and_nothing_in_it_is_fetched(site):
    text = (site / "index.html").read_text()
    assert not re.search(r"(src|href)=.?(https?:)?//", text)
    assert "@import" not in text and "url(http" not in text
    assert "<script>alert" not in text


def test_what_it_saves_follows_the_curves(kodak):
    leaderboard = read_leaderboard(kodak)
    ours, webp = (next(c for c in leaderboard.codecs if c.key == key) for key in ("lichen", "webp"))
    grid = np.array([25.0, 30.0, 35.0])
    a, b = log_rates(ours.psnr, grid), log_rates(webp.psnr, grid)
    assert a[0] is None
    assert 10 ** (a[1] - b[1]) == pytest.approx(0.8 / 1.25, rel=1e-3)


def reproduce_exactly(folder: Path, model: str, picture: str, settings: range) -> None:
    """Make PSNR infinite in a results folder."""
    table = ResultsTable(folder / TABLE)
    for setting in settings:
        exact = table.rows[model, picture, float(setting)]
        table.rows[exact.key] = dataclasses.replace(exact, psnr_db=math.inf)
    table.save()
    (folder / file_name(model)).write_text(json.dumps(summarise(model, table.of(model)), allow_nan=False))


def test_only_what_was_left_out_of_the_seconds_is_said(kodak, tmp_path):
    few = results(tmp_path / "few", {"lichen": 0.8, "WebP": 1.25}, ["a", "b"])
    for folder, said in ((kodak, "means over pictures without the first 6, and"), (few, "means over pictures, and")):
        report(folder, tmp_path / "out", [], "t")
        assert any(said in line for line in data_of(tmp_path / "out/index.html")["how"])


def test_a_picture_that_came_back_exactly_costs_a_point_not_the_curve(kodak, tmp_path):
    reproduce_exactly(kodak, "WebP", "kodim07", range(6, 7))
    left_out = report(kodak, tmp_path, [], "t")
    assert left_out == ["WebP: 1 of 7 points by PSNR, which is infinite there: a picture came back exactly"]
    data = data_of(tmp_path / "index.html")
    webp = next(s for s in data["series"] if s["key"] == "webp")
    assert webp["psnr"][-1] is None and None not in webp["psnr"][:-1] + webp["ms"]
    assert data["deltas"]["webp"]["lichen"]["psnr"]["rate"] == pytest.approx(-36, abs=0.05)
    assert f"Left out: {left_out[0]}" in data["how"]


def test_other_pictures_have_no_published_curves(tmp_path):
    leaderboard = read_leaderboard(results(tmp_path, {"lichen": 1.0}, ["a", "b"]))
    assert [c.origin for c in leaderboard.codecs] == [Origin.OURS]


def test_published_curves_go_by_pixels_not_by_names(tmp_path):
    """24 pictures that are called as Kodak's are not Kodak's, and Kodak's under other names are."""
    for name, renamed in (("impostor", "kodim01"), ("renamed", "deep/a")):
        table = ResultsTable(kodak_results(tmp_path / name) / TABLE)
        pixels = {"kodim01": "00000000"} if name == "impostor" else {}
        rows = [dataclasses.replace(r, pixels=pixels.get(r.picture, r.pixels)) for r in table.rows.values()]
        rows = [dataclasses.replace(r, picture=renamed) if r.picture == "kodim01" else r for r in rows]
        table.rows = {r.key: r for r in rows}
        table.save()
        found = any(c.origin is Origin.PUBLISHED for c in read_leaderboard(tmp_path / name).codecs)
        assert found == (name == "renamed")


def test_an_unfinished_run_is_left_out_by_name(kodak):
    (kodak / "webp.json").unlink()
    leaderboard = read_leaderboard(kodak)
    assert "WebP: an unfinished run" in leaderboard.left_out[0]
    assert "WebP" not in {c.points.name for c in leaderboard.codecs}


def test_fewer_pictures_than_others_are_left_out(kodak):
    table = ResultsTable(kodak / TABLE)
    table.rows = {k: r for k, r in table.rows.items() if (r.model, r.picture) != ("WebP", "kodim07")}
    table.save()
    assert "on 23 of 24 pictures" in read_leaderboard(kodak).left_out[0]


def test_a_summary_of_other_weights_is_left_out(kodak):
    summary = json.loads((kodak / "lichen.json").read_text())
    summary["meta"]["versions"] = ["another"]
    (kodak / "lichen.json").write_text(json.dumps(summary))
    assert "of other weights" in read_leaderboard(kodak).left_out[0]


def test_seconds_of_a_crowded_machine_are_named(kodak):
    summary = json.loads((kodak / "webp.json").read_text())
    summary["meta"] |= {"load_average": 9.0, "cpus": 2}
    (kodak / "webp.json").write_text(json.dumps(summary))
    assert {c.key: c.run.crowded for c in read_leaderboard(kodak).codecs if c.run} == {
        "lichen": False,
        "jpeg-420": False,
        "webp": True,
    }


def test_seconds_of_several_machines_are_told_apart(kodak, tmp_path):
    said = "of several machines"
    report(kodak, tmp_path / "one", [], "t")
    assert said not in (tmp_path / "one" / "index.html").read_text()
    summary = json.loads((kodak / "webp.json").read_text())
    summary["meta"]["cpu"] = "another"
    (kodak / "webp.json").write_text(json.dumps(summary))
    report(kodak, tmp_path / "two", [], "t")
    page = (tmp_path / "two" / "index.html").read_text()
    assert said in page and "another: WebP" in page


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("meta", "versions", None),
        ("meta", "cpus", "two"),
        ("results", "quality", [1.0]),
        ("results", "encoding_time", [None] * 7),
        ("results", "decoding_time", None),
        ("results", "bpp", None),
    ],
)
def test_a_summary_that_lacks_something_is_left_out_by_name(kodak, section, key, value):
    summary = json.loads((kodak / "webp.json").read_text())
    summary[section][key] = value
    (kodak / "webp.json").write_text(json.dumps(summary))
    leaderboard = read_leaderboard(kodak)
    assert "webp.json: not a " in leaderboard.left_out[0]
    assert "webp" not in {c.key for c in leaderboard.codecs}


def test_a_broken_summary_is_one_line(tmp_path, capsys):
    folder = results(tmp_path / "results", {"lichen": 1.0}, ["a"])
    for broken in ("{", "[]", '{"results": {}}'):
        (folder / "lichen.json").write_text(broken)
        assert run("report", str(folder), "-o", str(tmp_path / "out")) == 3
        assert "lichen.json: not a results file" in capsys.readouterr().err


def test_folders_without_results_are_refused(tmp_path):
    with pytest.raises(BadInput, match="lichen eval"):
        read_leaderboard(tmp_path)
    ResultsTable(tmp_path / TABLE).save()
    with pytest.raises(BadInput, match="no finished evaluation"):
        read_leaderboard(tmp_path)


def test_strange_gains_are_refused(tmp_path):
    (tmp_path / GAINS).write_text("{}")
    with pytest.raises(BadInput, match="fig13"):
        read_gains(tmp_path / GAINS)


def test_of_a_large_picture_the_busiest_part_is_shown():
    image = scene(1500, 300).point(lambda v: 128)
    image.paste(scene(200, 300), (1300, 0))
    shown = part_to_show(image)
    assert shown.box[2:] == (shown.box[0] + 1024, 300) and shown.box[0] > 0
    assert not shown.whole and part_to_show(scene(300, 200)).whole


def chromium() -> str:
    """The browser to test in, or a skip that says how to get one."""
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    return found


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        yield opened
        opened.close()


def opened(browser, page: Path, width: int = 1200, scheme: str = "light"):
    """The page without a network, and what its console complains of."""
    tab = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True).new_page()
    complaints: list[str] = []
    tab.on("console", lambda message: complaints.append(message.text))
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.on("request", lambda request: complaints.append(request.url) if request.url.startswith("http") else None)
    tab.goto(page.as_uri())
    tab.wait_for_selector("svg[tabindex] path.line, .stage img")
    return tab, complaints


def test_the_report_in_a_browser(browser, site):
    tab, complaints = opened(browser, site / "index.html")
    rows = tab.locator("#leaderboard tbody tr")
    assert rows.count() >= 13
    assert tab.locator("#psnr path.line").count() == 5  # three measured here, two published shown at first
    tab.get_by_role("button", name="AV1").click()
    assert tab.locator("#psnr path.line").count() == 6
    tab.locator("#psnr svg").focus()
    tab.keyboard.press("ArrowRight")
    assert "bpp" in tab.locator("#psnr .tip").inner_text()
    tab.keyboard.press("ArrowDown")
    tab.locator("#anchor").select_option("webp")
    assert tab.locator("#leaderboard tr.ours td").nth(1).inner_text().endswith("36.0")
    assert tab.locator("#speed .dot").count() == 3
    tab.locator("#average").select_option("_median")
    assert tab.locator("#speed .dot").count() == 3
    bits = tab.locator("#bits-table tbody tr")
    assert bits.count() == 7 and bits.first.locator("td").last.inner_text() == "6.3"
    tab.locator("#theme").click()
    assert tab.evaluate("document.documentElement.dataset.theme") == "dark"
    assert complaints == []


def test_what_is_missing_is_said_in_a_browser(browser, tmp_path):
    for exact, lines, said in ((range(2), 4, ""), (range(7), 2, "came back exactly")):
        folder = results(tmp_path / f"results-{len(exact)}", {"lichen": 0.8, "WebP": 1.25}, ["a"])
        reproduce_exactly(folder, "lichen", "a", exact)
        reproduce_exactly(folder, "WebP", "a", exact)
        report(folder, tmp_path / f"report-{len(exact)}", [], "t")
        tab, complaints = opened(browser, tmp_path / f"report-{len(exact)}" / "index.html")
        assert tab.locator("#psnr path.line, #ms path.line").count() == lines
        assert said in tab.locator("#psnr").inner_text() and complaints == []


def test_the_slider_in_a_browser(browser, tmp_path):
    scene(192, 128).save(tmp_path / "a.png")
    weights = small_checkpoint(ZOO[0], tmp_path)
    assert run("compare", str(tmp_path / "a.png"), "-q", "100", "--weights", str(weights)) == 0
    tab, complaints = opened(browser, tmp_path / "a-compare.html", width=390, scheme="dark")
    clip = lambda: tab.evaluate("document.querySelectorAll('.stage .side')[1].style.clipPath")  # noqa: E731
    before = clip()
    tab.get_by_role("slider").focus()
    for _ in range(10):
        tab.keyboard.press("ArrowLeft")
    assert clip() != before
    box = tab.locator(".stage").bounding_box()
    tab.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 40)
    tab.mouse.down()
    tab.mouse.move(box["x"] + box["width"] * 0.8, box["y"] + 40)
    tab.mouse.up()
    assert "20%" in clip()
    tab.locator("[data-zoom='4']").click()
    assert "scale(4)" in tab.locator(".stage img").first.get_attribute("style")
    assert tab.locator(".stage img").first.evaluate("image => image.complete && image.naturalWidth") == 192
    assert tab.evaluate("document.documentElement.scrollWidth") == 390
    assert "decoded before, by Python" in tab.inner_text(".notes")
    with tab.expect_download() as waiting:
        tab.get_by_role("link", name="a.lic").click()
    assert waiting.value.suggested_filename == "a.lic"
    held = data_of(tmp_path / "a-compare.html")["pictures"][0]["versions"][1]["file"]["src"]
    assert waiting.value.path().read_bytes() == base64.b64decode(held.partition(",")[2])
    assert complaints == []


def test_the_report_fits_a_phone(browser, site):
    tab, complaints = opened(browser, site / "index.html", width=360)
    assert tab.evaluate("document.documentElement.scrollWidth") == 360
    assert complaints == []


def test_wrong_calls(kodak, tmp_path, capsys):
    assert run("report", str(kodak), "--picture", "a", "-o", str(tmp_path)) == 2
    scene(64, 64).save(tmp_path / "a.png")
    assert run("report", str(kodak), "--data", str(tmp_path), "--picture", "b", "-o", str(tmp_path)) == 2
    (tmp_path / "a-compare.html").write_text("mine")
    assert run("compare", str(tmp_path / "a.png")) == 3
    assert (tmp_path / "a-compare.html").read_text() == "mine"
    assert "--force" in capsys.readouterr().err


def test_a_page_that_is_there_is_not_written_over(kodak, tmp_path):
    page = tmp_path / "index.html"
    page.write_text("mine")
    assert run("report", str(kodak), "-o", str(tmp_path)) == 3 and page.read_text() == "mine"
    assert run("report", str(kodak), "-o", str(tmp_path), "--force") == 0 and page.read_text() != "mine"


@pytest.mark.parametrize("name", ["{{data}}", "{{script}}", "photo\udce9"])
def test_any_name_of_a_file_is_only_a_name(name):
    made = page(name, "report.html", (), {"pictures": [name]}).decode()
    assert f"<title>{name.encode(errors='replace').decode()}</title>" in made
    assert made.count(json.dumps([name], ensure_ascii=False).encode(errors="replace").decode()) == 1
