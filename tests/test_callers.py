"""Programs that call: whatever they have set of PyTorch, and however they run, the files are the same."""

from __future__ import annotations

import asyncio
import contextlib

import numpy as np
import pytest
import torch

from lichen.codec import Codec
from tests.small import scene

PICTURE = scene(80, 48)


@contextlib.contextmanager
def default_type_and_device():
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    try:
        yield
    finally:
        torch.set_default_device(None)
        torch.set_default_dtype(torch.float32)


@contextlib.contextmanager
def deterministic():
    torch.use_deterministic_algorithms(True)
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
        torch.use_deterministic_algorithms(False)


SETTINGS = {
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "inference mode": torch.inference_mode,
    "no gradients": torch.no_grad,
    "default type and device": default_type_and_device,
    "deterministic": deterministic,
}


@pytest.mark.parametrize("engine", ["onnx", "torch"])
def test_settings_of_pytorch_change_nothing(engine):
    codec = Codec(engine=engine)
    data = codec.encode(PICTURE)
    pixels = codec.decode_array(data)
    for name, setting in SETTINGS.items():
        with setting():
            assert codec.encode(PICTURE) == data, name
            assert np.array_equal(codec.decode_array(data), pixels), name


def test_tasks_of_asyncio_share_a_codec(tiny):
    data = tiny.encode(PICTURE)

    async def together():
        return await asyncio.gather(*(asyncio.to_thread(tiny.encode, PICTURE) for _ in range(3)))

    assert set(asyncio.run(together())) == {data}
