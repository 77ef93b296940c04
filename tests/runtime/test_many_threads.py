"""One codec in several threads, and in processes: the same bytes and latents as in one."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from lichen.codec import Codec
from lichen.options import EngineName
from tests.small import scene

SIZES = [(48, 32), (100, 70), (64, 64), (33, 90)]
ENGINES = pytest.mark.parametrize("engine", [EngineName.ONNX, EngineName.TORCH])


@ENGINES
def test_threads_share_a_codec(engine):
    """Graphs are loaded by whoever comes first, weights that files name by the first that decodes."""
    pictures = [np.asarray(scene(*size)) for size in SIZES]
    alone = Codec(engine=engine)
    files = [alone.encode(pixels, 70) for pixels in pictures]
    decoded = [alone.decode_array(data) for data in files]
    tuned = Codec(engine=engine, tune="ms-ssim").encode(pictures[0])
    shared = Codec(engine=engine)  # its graphs are not loaded yet

    def work(number):
        place = number % len(files)
        data = shared.encode(pictures[place], 70)
        return data, shared.decode_array(files[place]), shared.decode_array(tuned)

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(work, range(12)))
    for number, (data, pixels, other) in enumerate(found):
        assert data == files[number % len(files)]
        assert np.array_equal(pixels, decoded[number % len(files)])
        assert np.array_equal(other, found[0][2])


@ENGINES
def test_a_copy_in_another_process(engine):
    codec = Codec(engine=engine)
    data = codec.encode(scene(48, 32))
    program = "import pickle, sys; codec, data = pickle.load(sys.stdin.buffer); print(codec.decode(data).size)"
    given = pickle.dumps((codec, data))
    done = subprocess.run([sys.executable, "-c", program], input=given, capture_output=True, check=True)
    assert done.stdout.decode().strip() == "(48, 32)"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.parametrize("threads", [1, 2])
@ENGINES
def test_a_process_forked_with_a_loaded_model(engine, threads):
    """A child of a fork has none of its parent's other threads: it must not wait for them."""
    program = f"""
        import multiprocessing
        import numpy as np
        from lichen.codec import Codec
        from lichen.runtime.threads import set_threads

        set_threads({threads})
        codec = Codec(engine="{engine.value}")
        pixels = np.tile(np.arange(192, dtype=np.uint8)[None, :, None], (128, 1, 3))
        data = codec.encode(pixels)
        codec.decode(data)

        def work(number):
            return codec.encode(pixels) == data and codec.decode(data).size == (192, 128)

        with multiprocessing.get_context("fork").Pool(2) as pool:
            print(pool.map_async(work, range(4)).get(timeout=40))
    """
    command = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(program)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=90)
    assert done.stdout.strip() == "[True, True, True, True]", done.stderr[-2000:]
