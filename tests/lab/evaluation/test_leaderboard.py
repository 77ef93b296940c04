"""Who stands in a leaderboard, and what is said of them."""

from __future__ import annotations

from lichen.lab.evaluation.leaderboard import Origin, read_leaderboard
from lichen.lab.reporting.palette import styles_of
from lichen.lab.reporting.report import report
from tests.lab.reporting.made_up import KODAK, data_of, kodak_results, results


def test_published_models_say_what_they_were_trained_for(tmp_path):
    """By MS-SSIM those trained for it are the measure; by PSNR they would only flatter us."""
    leaderboard = read_leaderboard(kodak_results(tmp_path))
    learned = [c for c in leaderboard.codecs if c.origin is Origin.PUBLISHED and "CompressAI" in c.points.name]
    assert len(learned) == 7 and all("(MSE)" in c.points.name or "(MS-SSIM)" in c.points.name for c in learned)
    for codec in learned:
        assert codec.ms_ssim and (codec.psnr is None) == ("(MS-SSIM)" in codec.points.name)
    styles = [style for key, style in styles_of(leaderboard.codecs).items() if key != "lichen"]
    assert len(set(styles)) == len(styles)


def test_what_a_peer_is_tuned_for_is_said(tmp_path):
    names = {"lichen": 0.8, "AVIF": 1.0, "AVIF 4:4:4 PSNR": 0.9}
    report(results(tmp_path / "in", names, sorted(KODAK)), tmp_path / "out", [], "t")
    data = data_of(tmp_path / "out" / "index.html")
    assert any("AVIF: tuned for what eyes see" in line for line in data["how"])
    assert {"AVIF", "AVIF 4:4:4 PSNR"} <= {fact["name"] for fact in data["facts"]}


def test_the_page_begins_with_the_default_model(tmp_path):
    """Measured anew it comes last in the table, behind others of ours."""
    names = {"lichen-ms-ssim": 2.0, "lichen": 0.8, "WebP": 1.25}
    report(results(tmp_path / "in", names, sorted(KODAK)), tmp_path / "out", [], "t")
    data = data_of(tmp_path / "out" / "index.html")
    assert data["lead"].startswith("Bytes that lichen needs") and {"name": "WebP", "percent": -36.0} in data["facts"]
