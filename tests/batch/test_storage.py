"""Files in storage: named, refused and written as those of folders are."""

from __future__ import annotations

from pathlib import Path

import pytest

from lichen.batch.storage import Place, plan_stored, save
from lichen.batch.tasks import Naming, plan
from lichen.errors import BadInput, OutputError, UsageError

fs = pytest.importorskip("pyarrow.fs", reason="pyarrow is not installed: pip install '.[ray]'")


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ["a.png", "a.jpg", "_b.png", ".hidden.png", "deep/c.png", "deep/c.lic", "x.txt", "y", "z/d.JPG"]:
        Path("in", name).parent.mkdir(parents=True, exist_ok=True)
        Path("in", name).write_bytes(b"1234")
    Path("in/._a.png").write_bytes(b"\0\x05\x16\x07 macOS's")
    Path("out").mkdir()
    return tmp_path


@pytest.mark.parametrize("recursive", [False, True])
@pytest.mark.parametrize(
    ("inputs", "output"),
    [
        (["in"], "out"),
        (["in"], None),
        (["in", "in/deep/c.png"], "new"),
        (["in/deep/c.png", "in"], "new"),
        (["in", "in/deep", "in/z"], "new"),
        (["in/a.png"], "out"),
        (["in/a.png"], "b.lic"),
        (["in/a.png", "in/absent.png"], "out"),
        (["in/deep/c.lic"], "d.lic"),
    ],
)
@pytest.mark.parametrize("keep", [False, True])
def test_the_plan_is_that_of_folders(folder, inputs, output, recursive, keep):
    naming = Naming.to_encode(keep_ending=keep)
    here = plan([Path(name) for name in inputs], None if output is None else Path(output), naming, recursive)
    stored = plan_stored(inputs, output, naming, recursive)
    assert [task.shown for task in stored.tasks] == [(str(t.source), str(t.target)) for t in here.tasks]
    assert stored.left_out == here.left_out
    for task, other in zip(stored.tasks, here.tasks, strict=True):
        assert Path(task.source) == other.source.absolute() and Path(task.target) == other.target.absolute()
        assert stored.targets.of(task.source) == task.target or "named twice" in str(task.refusal)
        if "named twice" in str(task.refusal):
            continue
        if other.refusal is not None or other.source.exists():
            assert str(task.refusal) == str(other.refusal)
        else:
            assert isinstance(task.refusal, BadInput)
        assert task.existing_bytes == (other.target.stat().st_size if other.target.exists() else None)


def test_what_cannot_be_meant_is_refused(folder):
    naming = Naming.to_encode()
    for output, said in (("folder", "no ending"), ("a.jpg", "would be no .jpg file")):
        with pytest.raises(UsageError, match=said):
            plan_stored(["in/a.png"], output, naming)
    with pytest.raises(BadInput, match="nothing in it to work on"):
        plan_stored(["out"], None, naming)
    with pytest.raises(UsageError, match="not known"):
        plan_stored(["zzz://a/b"], None, naming)
    with pytest.raises(UsageError, match="different filesystems"):
        plan_stored(["in", "local://in"], None, naming)
    Path("out/a.lic").mkdir()
    (task,) = plan_stored(["in/a.png"], "out/a.lic/", naming).tasks
    assert task.shown[1] == "out/a.lic/a.lic" and task.refusal is None
    (task,) = plan_stored(["in/a.png"], "out", naming).tasks
    assert isinstance(task.refusal, OutputError) and "is a folder" in str(task.refusal)


def test_an_address_keeps_its_name(folder):
    """One that pyarrow does not know is fsspec's."""
    place = Place.of(f"local://{folder}/in/deep").within("ü #?.png")
    assert place.shown == f"local://{folder}/in/deep/ü #?.png" and place.path == f"{folder}/in/deep/ü #?.png"
    assert Place.of("in/").shown == "in" and Place.of("in").beside("b.lic").shown == "b.lic"
    assert Place.of("file:///in").path == "/in"


def test_a_file_appears_when_it_is_whole(folder, monkeypatch):
    """Also where a filesystem shows what is being written: under another name until it is."""
    place = Place.of(f"local://{folder}")
    save(place.filesystem, f"{folder}/new/folder/a.lic", b"abc", None)
    assert Path("new/folder/a.lic").read_bytes() == b"abc"
    save(place.filesystem, f"{folder}/new/folder/a.lic", b"other", None)
    assert [(p.name, p.read_bytes()) for p in Path("new/folder").iterdir()] == [("a.lic", b"other")]
    with pytest.raises(OutputError, match="cannot be written"):
        save(place.filesystem, f"{folder}/in/a.png/b.lic", b"abc", None)
    save(fs.LocalFileSystem(), f"{folder}/here/a.lic", b"abc", Path("in/a.png"))
    assert Path("here/a.lic").stat().st_mtime_ns == Path("in/a.png").stat().st_mtime_ns
