"""A picture by several codecs at the same bytes: what each gets, and what is said of it."""

from __future__ import annotations

import base64
import math

import pytest

from lichen.errors import BadPicture
from lichen.lab.evaluation.peers import peer
from lichen.lab.reporting.compare import compare
from lichen.lab.reporting.pairs import pair_data
from tests.small import scene


def test_no_peer_gets_more_bytes(tiny):
    image = scene(96, 64)
    ours, *others = compare(
        "a.png", image, tiny, lambda i: tiny.encode(i, 100), peers=[peer("WebP"), peer("JPEG 2000")]
    )
    assert ours.size_bytes == len(tiny.encode(image, 100))
    assert all(r.size_bytes <= ours.size_bytes and r.psnr_db > 10 for r in others)
    assert ours.over_ours_percent == 0
    assert all(-8 < r.over_ours_percent <= 0 for r in others)  # between two settings there are more


def test_a_page_opens_on_avif(tiny):
    image = scene(64, 64)
    results = compare("a.png", image, tiny, lambda i: tiny.encode(i, 100), peers=[peer("WebP"), peer("AVIF")])
    made = pair_data("a", image, results)
    assert [made["versions"][i]["name"] for i in made["opens"]] == ["AVIF", "Lichen"]
    assert " %)" in made["versions"][3]["note"] and " %)" not in made["versions"][1]["note"]
    assert [version.get("file", {}).get("name") for version in made["versions"]] == [None, "a.lic", None, None]
    head, _, data = made["versions"][1]["file"]["src"].partition(",")
    assert head == "data:image/x-lichen;base64" and base64.b64decode(data) == tiny.encode(image, 100)
    without = pair_data("a", image, results[:2])
    assert [without["versions"][i]["name"] for i in without["opens"]] == ["Original", "Lichen"]


def test_without_a_measure_it_is_left_out(tiny, monkeypatch):
    monkeypatch.setattr("lichen.lab.reporting.compare.is_installed", lambda *names: False)
    (ours,) = compare("a.png", scene(192, 176), tiny, tiny.encode, peers=[])
    assert math.isnan(ours.ms_ssim) and ours.psnr_db > 0


def test_what_a_peer_cannot_code_is_named(tiny):
    """WebP ends at 16383 pixels; its library's errors are not ours."""
    with pytest.raises(BadPicture, match=r"long\.png: WebP's library fails.*crop the picture"):
        compare("long.png", scene(16500, 8), tiny, tiny.encode, peers=[peer("WebP")])
    told: list[str] = []
    both = [peer("WebP"), peer("JPEG 4:2:0")]
    results = compare("long.png", scene(16500, 8), tiny, tiny.encode, peers=both, left_out=told.append)
    assert [result.codec for result in results] == ["Lichen", "JPEG 4:2:0"]
    assert len(told) == 1 and told[0].startswith("long.png: WebP's library fails")
