"""Training pictures: layouts, caches, crops as a function of (seed, step, index)."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from lichen.errors import BadData
from lichen.image.picture import Picture, from_pil
from lichen.lab.training import data
from lichen.lab.training.data import Cache, Crops, list_training_pictures
from tests.small import scene


@pytest.fixture
def folder(tmp_path):
    for i in range(3):
        scene(100 + 10 * i, 90, i).save(tmp_path / f"{i}.png")
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    return tmp_path


@pytest.mark.parametrize("cache", Cache)
def test_crops_are_a_function_of_seed_step_and_index(folder, cache):
    crops = Crops.of_folder(folder, cache)
    assert (crops.count, crops.unreadable) == (3, 1)
    whole = crops.batch(1, 7, range(4), 64)
    assert whole.shape == (4, 3, 64, 64) and whole.dtype == torch.float32 and 0.5 < float(whole.max()) <= 1
    halves = torch.cat([crops.batch(1, 7, range(2), 64), crops.batch(1, 7, range(2, 4), 64)])
    assert torch.equal(whole, halves) and not torch.equal(whole[0], whole[1])
    assert torch.equal(whole, Crops.of_folder(folder, Cache.RAM).batch(1, 7, range(4), 64))
    assert not torch.equal(whole, crops.batch(1, 8, range(4), 64))
    assert not torch.equal(whole, crops.batch(2, 7, range(4), 64))


def test_crops_are_cut_out_of_the_pictures(folder):
    """Each is, up to mirroring and transposing, a part of one of the pictures."""
    pictures = [np.asarray(scene(100 + 10 * i, 90, i)) for i in range(3)]
    parts = [np.lib.stride_tricks.sliding_window_view(p[:, :, 0], (64, 64)) for p in pictures]
    found = set()
    for crop in Crops.of_folder(folder).batch(0, 0, range(12), 64)[:, 0]:
        pixels = (crop * 255).round().numpy().astype(np.uint8)
        variants = (pixels, pixels[:, ::-1], pixels.T, pixels.T[:, ::-1])
        matches = [
            (i, v)
            for i, view in enumerate(parts)
            for v, variant in enumerate(variants)
            if (view == variant).all(axis=(2, 3)).any()
        ]
        assert matches
        found.add(matches[0])
    assert len({i for i, _ in found}) == 3 and len({v for _, v in found}) >= 3


def test_small_pictures_are_mirrored(tmp_path):
    scene(20, 10).save(tmp_path / "a.png")
    pixels = np.asarray(scene(20, 10))
    wanted = np.pad(pixels, ((0, 54), (0, 44), (0, 0)), mode="symmetric")
    (crop,) = Crops.of_folder(tmp_path).batch(0, 0, [0], 64)
    got = (crop.permute(1, 2, 0) * 255).round().numpy().astype(np.uint8)
    variants = (got, got[:, ::-1], got.transpose(1, 0, 2), got.transpose(1, 0, 2)[:, ::-1])
    assert any(np.array_equal(v, wanted) for v in variants)


def test_vimeo_and_split_folders_are_known(tmp_path):
    for name in ("00001/0001", "00001/0002", "00002/0001"):
        (tmp_path / "v/sequences" / name).mkdir(parents=True)
        for i in range(1, 8):
            scene(70, 66, i).save(tmp_path / f"v/sequences/{name}/im{i}.png")
    (tmp_path / "v/sep_trainlist.txt").write_text("00001/0001\n00002/0001\n00003/0009\n")
    (tmp_path / "v/sep_testlist.txt").write_text("00001/0002\n")
    paths = list_training_pictures(tmp_path / "v")
    assert len(paths) == 21 and not any("0001/0002" in str(p) for p in paths)
    crops = Crops.of_folder(tmp_path / "v")
    assert (crops.count, crops.unreadable) == (14, 7)
    for name in ("train", "valid"):
        (tmp_path / "c" / name).mkdir(parents=True)
        scene(70, 66).save(tmp_path / f"c/{name}/a.png")
    assert list_training_pictures(tmp_path / "c") == [tmp_path / "c/train/a.png"]
    (tmp_path / "c/valid/a.png").unlink()
    (tmp_path / "c/valid").rmdir()
    assert len(list_training_pictures(tmp_path / "c")) == 1


def test_bad_folders(folder, tmp_path, monkeypatch):
    with pytest.raises(BadData, match="no such folder"):
        Crops.of_folder(tmp_path / "absent")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/a.png").write_bytes(b"")
    with pytest.raises(BadData, match="none of its 1 pictures"):
        Crops.of_folder(tmp_path / "broken")
    monkeypatch.setattr(data, "machine_bytes", lambda: 10_000)
    with pytest.raises(BadData, match="--cache none"):
        Crops.of_folder(folder)
    assert Crops.of_folder(folder, Cache.NONE).count == 3


def test_files_that_break_later_are_passed_over(folder):
    """Without a cache a file may turn out unreadable when it is wanted; others take its place."""
    crops = Crops.of_folder(folder, Cache.NONE)
    for name in ("0.png", "1.png"):
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(whole[: len(whole) // 2])
    assert crops.batch(0, 0, range(8), 64).shape[0] == 8
    (folder / "2.png").unlink()
    with pytest.raises(BadData, match=r"in a row could not be read, .*0\.png, .*1\.png, .*2\.png among them"):
        crops.batch(0, 0, range(1), 64)


def test_a_damaged_file_that_claims_to_be_huge_stops_no_training(folder):
    """Its area would have it drawn nearly always."""
    huge = bytearray((folder / "0.png").read_bytes()[:60])
    huge[16:24] = (9_000).to_bytes(4, "big") * 2
    huge[29:33] = zlib.crc32(huge[12:29]).to_bytes(4, "big")
    (folder / "claims.png").write_bytes(huge)
    crops = Crops.of_folder(folder, Cache.NONE)
    assert crops.count == 4 and crops.ends[-1] > 8_000**2
    assert crops.batch(0, 0, range(8), 64).shape[0] == 8


def test_whatever_a_damaged_file_makes_pillow_raise(folder, monkeypatch):
    """Such a file counts as unreadable and does not stop a training (Pillow raises TypeError and IndexError too)."""

    def read(picture: Image.Image) -> Picture:
        if picture.filename.endswith("1.png"):
            raise IndexError("bytes of a GIF that end too soon")
        return from_pil(picture)

    monkeypatch.setattr(data, "from_pil", read)
    crops = Crops.of_folder(folder)
    assert (crops.count, crops.unreadable) == (2, 2)


def test_samples_of_16_bits_are_scaled_as_in_the_codec(tmp_path):
    Image.fromarray(np.full((80, 80), 20_000, np.uint16)).save(tmp_path / "deep.png")
    crop = Crops.of_folder(tmp_path).batch(1, 1, [0], 64)
    assert torch.allclose(crop, torch.tensor(78 / 255))
