"""Weights files: what is read of them is of one file."""

from __future__ import annotations

import torch

from lichen.lab.models import checkpoint
from lichen.lab.models.zoo import ZOO
from tests.small import small_checkpoint


def test_weights_that_are_replaced_while_they_are_read(tmp_path, monkeypatch):
    """As a training does: the hash is that of the tensors, or files would name other weights than made them."""
    old, new = (small_checkpoint(ZOO[0], tmp_path / name, seed=seed) for seed, name in enumerate(("old", "new")))
    wanted, opened = checkpoint.load_checkpoint(new), checkpoint.safe_open

    def late(path, framework):
        if new.exists():
            new.replace(old)
        return opened(path, framework)

    monkeypatch.setattr(checkpoint, "safe_open", late)
    found = checkpoint.load_checkpoint(old)
    assert found.hash == wanted.hash
    pairs = zip(found.model.state_dict().values(), wanted.model.state_dict().values(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)
