"""The manifest: rows in a file that a stopped job leaves, and another goes on with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lichen.batch.manifest import Manifest, read_manifest
from lichen.batch.rows import Outcome, Row
from lichen.errors import BadInput, OutputExists, UsageError
from tests.command import errors_of, run


def row(name: str, outcome: Outcome = Outcome.DONE, size: int = 7) -> Row:
    return Row(source=f"{name}.png", target=f"{name}.lic", outcome=outcome, size_out_bytes=size)


@pytest.fixture(params=[".jsonl", ".parquet"])
def path(request, tmp_path):
    if request.param == ".parquet":
        pytest.importorskip("pyarrow")
    return tmp_path / f"made/rows{request.param}"


def test_rows_come_back(path):
    first = Row(source="ü.png", target="ü.lic", outcome=Outcome.FAILED, notices=("a", "b"), error="no", psnr_db=31.5)
    with Manifest(path) as manifest:
        manifest.add(first)
        manifest.add(row("b"))
    assert read_manifest(path) == [first.facts(), row("b").facts()]
    assert list(path.parent.iterdir()) == [path]


def test_one_that_is_there_is_continued_or_replaced(path):
    with Manifest(path) as manifest:
        manifest.add(row("a"))
        manifest.add(row("b", Outcome.FAILED))
    with pytest.raises(OutputExists):
        Manifest(path)
    with Manifest(path, resumed=True) as manifest:
        assert (manifest.size_bytes("a.lic"), manifest.size_bytes("b.lic"), manifest.size_bytes("c.lic")) == (
            7,
            None,
            None,
        )
        manifest.add(row("a", Outcome.SKIPPED, 0))
        manifest.add(row("b"))
    assert [(r["target"], r["outcome"], r["size_out_bytes"]) for r in read_manifest(path)] == [
        ("a.lic", "done", 7),
        ("b.lic", "done", 7),
    ]
    with Manifest(path, force=True) as manifest:
        manifest.add(row("c"))
    assert [r["target"] for r in read_manifest(path)] == ["c.lic"]


def test_what_a_killed_process_left_is_not_lost(path):
    """Its journal, with a last line that is not whole."""
    killed = Manifest(path)
    killed.__enter__()
    killed.add(row("a"))
    killed._file.close()
    assert not path.exists()
    (journal,) = path.parent.iterdir()
    journal.write_text(journal.read_text() + '{"source": "half')
    with Manifest(path, resumed=True) as manifest:
        manifest.add(row("b"))
    assert [r["target"] for r in read_manifest(path)] == ["a.lic", "b.lic"]
    assert list(path.parent.iterdir()) == [path]


def test_what_is_no_manifest_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"\.parquet or \.jsonl"):
        Manifest(tmp_path / "rows.csv")
    for text in ("no rows\n", '{"other": 1}\n', "[1]\n"):
        (tmp_path / "rows.jsonl").write_text(text)
        with pytest.raises(BadInput, match="no manifest"):
            Manifest(tmp_path / "rows.jsonl", resumed=True)


def test_the_manifest_of_a_folder(tmp_path, monkeypatch, capsys):
    """Every picture is in it, whatever became of it; what JSON lines say is the same."""
    from tests.small import scene

    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    scene(60, 40).save("in/a.png")
    Path("in/b.png").write_bytes(b"no picture")
    assert run("encode", "in", "-o", "out", "--psnr", "--manifest", "rows.jsonl", "--json") == 3
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    rows = read_manifest(Path("rows.jsonl"))
    assert rows == printed
    assert [r["outcome"] for r in rows] == ["done", "failed"] and rows[1]["error_kind"] == "BadPicture"
    assert rows[0]["size_out_bytes"] == Path("out/a.lic").stat().st_size and rows[0]["seconds"] > 0
    assert 20 < rows[0]["psnr_db"] < 50
    scene(60, 40, 1).save("in/b.png")
    assert run("encode", "in", "-o", "out", "--manifest", "rows.jsonl") == 3 and "rows.jsonl exists" in errors_of(
        capsys
    )
    assert run("encode", "in", "-o", "out", "--manifest", "rows.jsonl", "--skip-existing") == 0
    again = read_manifest(Path("rows.jsonl"))
    assert again[0] == rows[0] and again[1]["outcome"] == "done"


def test_a_psnr_is_that_of_the_decoded_picture(tmp_path, monkeypatch, capsys):
    import numpy as np
    from PIL import Image

    from lichen.metrics import psnr_db
    from tests.small import scene

    monkeypatch.chdir(tmp_path)
    scene(60, 40).save("a.png")
    assert run("encode", "a.png", "--psnr", "--json") == 0
    said = json.loads(capsys.readouterr().out)["psnr_db"]
    assert run("decode", "a.lic", "-o", "back.png") == 0
    assert said == pytest.approx(psnr_db(*(np.asarray(Image.open(name)) for name in ("a.png", "back.png"))))
