"""Weights files: what is read of them is of one file."""

from __future__ import annotations

from pathlib import Path

import torch

from lichen.lab.models import checkpoint
from lichen.lab.models.zoo import ZOO
from tests.small import small_checkpoint


def test_weights_that_are_replaced_while_they_are_read(tmp_path, monkeypatch):
    """As a training does: the hash is that of the tensors, or files would name other weights than made them."""
    old, new = (small_checkpoint(ZOO[0], tmp_path / name, seed=seed) for seed, name in enumerate(("old", "new")))
    wanted, plain = checkpoint.load_checkpoint(old), Path.read_bytes

    def then_replaced(path):
        data = plain(path)
        if new.exists():
            new.replace(old)
        return data

    monkeypatch.setattr(Path, "read_bytes", then_replaced)
    found = checkpoint.load_checkpoint(old)
    assert found.hash == wanted.hash and not new.exists()
    pairs = zip(found.model.state_dict().values(), wanted.model.state_dict().values(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)
