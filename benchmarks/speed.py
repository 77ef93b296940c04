"""Speed of the default model on one Kodak-sized picture, model loaded, the whole path with files.

    python -m benchmarks.speed [PICTURE] [--weights FILE]

Bars (ratios within one run, so that any machine can be held to them): encode and decode each take at most
twice what the machine needs for the transforms' multiply-adds at its measured convolution peak (in bfloat16
where the processor has it), plus 20 ms; an encoder that chooses an adaptive post-filter runs both transforms.
Entropy coding takes at most 15 % of decode; `lichen decode` as a process takes at most 3 s. Stages are timed where
they happen, within whole calls. Others use the machine too: encode, decode, their stages and the peak are measured in
turn, in five rounds, and of each the quietest round counts (of the peak, the highest). All rounds are in the JSON.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import skimage
import torch
from PIL import Image
from torch import nn

from benchmarks.common import Bar, finish, show
from lichen import codec as codec_module
from lichen.bitstream.container import read_container
from lichen.bitstream.fields import FILTERED
from lichen.codec import Codec
from lichen.coding.rangecoder import SymbolReader, SymbolWriter
from lichen.lab.engine import engine as engine_module
from lichen.lab.engine.engine import Engine
from lichen.lab.engine.precision import native_bfloat16
from lichen.lab.evaluation.counts import multiply_adds
from lichen.lab.post_filter.filters import PostFilter

SIZE = (768, 512)
QUALITY = 50
REPEATS, ROUNDS = 15, 5
SLACK_S = 0.020


def median_seconds(work: Callable[[], object], repeats: int = REPEATS) -> float:
    for _ in range(3):
        work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def peak_multiply_adds_per_s(dtype: torch.dtype) -> float:
    """The best of some convolutions of the sizes that matter here."""
    best = 0.0
    for channels, kernel in ((128, 1), (128, 3), (256, 3)):
        layer = nn.Conv2d(channels, channels, kernel, padding=kernel // 2, dtype=dtype)
        layer = layer.to(memory_format=torch.channels_last)
        x = torch.randn(1, channels, 64, 96, dtype=dtype).contiguous(memory_format=torch.channels_last)
        seconds = median_seconds(lambda layer=layer, x=x: layer(x))
        best = max(best, layer(x).numel() * layer.weight[0].numel() / seconds)
    return best


class Stages:
    """Adds up the seconds that named stages of a call take, where they happen: functions are wrapped meanwhile."""

    def __init__(self, stages: dict[str, list[tuple[Any, str]]]) -> None:
        self._stages, self.seconds = stages, dict.fromkeys(stages, 0.0)
        self._within: list[str] = []

    def __enter__(self) -> Stages:
        self._before = [
            (owner, name, getattr(owner, name)) for places in self._stages.values() for owner, name in places
        ]
        for stage, places in self._stages.items():
            for owner, name in places:
                setattr(owner, name, self._wrapped(stage, getattr(owner, name)))
        return self

    def __exit__(self, *_: object) -> None:
        for owner, name, plain in self._before:
            setattr(owner, name, plain)

    def _wrapped(self, stage: str, plain: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any, **named: Any) -> Any:
            start, outer = time.perf_counter(), self._within[-1] if self._within else None
            self._within.append(stage)
            try:
                return plain(*arguments, **named)
            finally:
                self._within.pop()
                taken = time.perf_counter() - start
                self.seconds[stage] += taken
                if outer is not None and outer != stage:  # the outer stage is what is left of it
                    self.seconds[outer] -= taken
                elif outer is not None:
                    self.seconds[stage] -= taken

        return timed


CODER = [(SymbolWriter, "write"), (SymbolWriter, "finish"), (SymbolReader, "read"), (SymbolReader, "__init__")]
ENCODE = {
    "transform": [(Engine, "latents")],
    "prior": [(Engine, "_walk")],
    "coder": CODER,
    "container": [(codec_module, "write_container")],
    "filter": [(Engine, "samples"), (engine_module, "choose")],
}
DECODE = {
    "transform": [(Engine, "pixels")],
    "prior": [(Engine, "_walk")],
    "coder": CODER,
    "container": [(codec_module, "read_container")],
    "filter": [(PostFilter, "forward"), (PostFilter, "code")],
}


def stage_seconds(work: Callable[[], object], stages: dict[str, list[tuple[Any, str]]]) -> dict[str, float]:
    """Median seconds of each stage of a call."""
    found = []
    for _ in range(REPEATS):
        with Stages(stages) as timed:
            work()
        found.append(timed.seconds)
    return {name: statistics.median(seconds[name] for seconds in found) for name in stages}


def one_round(codec: Codec, image: Image.Image, data: bytes) -> dict[str, Any]:
    dtypes = [torch.float32, torch.bfloat16] if native_bfloat16() else [torch.float32]
    return {
        "whole_s": {
            "encode": median_seconds(lambda: codec.encode(image, QUALITY)),
            "decode": median_seconds(lambda: codec.decode(data)),
        },
        "stages_s": {
            "encode": stage_seconds(lambda: codec.encode(image, QUALITY), ENCODE),
            "decode": stage_seconds(lambda: codec.decode(data), DECODE),
        },
        "peak": {str(dtype).removeprefix("torch."): peak_multiply_adds_per_s(dtype) for dtype in dtypes},
    }


def quietest(rounds: list[dict[str, float]], best: Callable[..., float] = min) -> dict[str, float]:
    return {name: best(r[name] for r in rounds) for name in rounds[0]}


def process_seconds(data: bytes, weights: Path | None) -> float:
    """`lichen decode` as a whole process, from start to the written PNG, with the bytecode that an installation has."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "a.lic"
        source.write_bytes(data)
        program = "from lichen.cli import run; run()"  # what the installed script does; -P: nor does it look here
        command = [sys.executable, "-P", "-c", program, "decode", str(source), "--force"]
        command += ["--weights", str(weights)] if weights else []
        return median_seconds(lambda: subprocess.run(command, check=True, capture_output=True, env=environment), 3)


@torch.inference_mode()
def multiply_adds_of(codec: Codec, filtered: bool) -> dict[str, int]:
    """Of the transforms, to encode and to decode; where a filter is chosen the encoder runs both."""
    model, level = codec.checkpoint.model, torch.zeros(1)
    latents = torch.zeros(1, codec.engine.prior.context.latents, SIZE[1] // 16, SIZE[0] // 16)
    analysis = multiply_adds(model.analysis, torch.zeros(1, 3, SIZE[1], SIZE[0]), level)
    encode = analysis + multiply_adds(model.hyper_analysis, latents, level)
    decode = multiply_adds(model.synthesis, latents, level)
    return {"encode": encode + decode if filtered else encode, "decode": decode}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    sample = Path(skimage.__file__).parent / "data" / "astronaut.png"
    parser.add_argument("picture", type=Path, nargs="?", default=sample)
    parser.add_argument("--weights", type=Path)
    return parser.parse_args()


def main() -> None:
    args = arguments()
    image = Image.open(args.picture).convert("RGB")
    image = image if image.size == SIZE else image.resize(SIZE)
    codec = Codec(weights=args.weights)
    data = codec.encode(image, QUALITY)
    rounds = [one_round(codec, image, data) for _ in range(ROUNDS)]
    whole, peaks = quietest([r["whole_s"] for r in rounds]), quietest([r["peak"] for r in rounds], best=max)
    stages = {side: quietest([r["stages_s"][side] for r in rounds]) for side in whole}
    peak = max(peaks.values())
    work = multiply_adds_of(codec, bool(read_container(data).header.flags & FILTERED))
    rows = [
        (side, 1e3 * whole[side], *(1e3 * s for s in stages[side].values()), 1e3 * work[side] / peak) for side in whole
    ]
    show(
        f"{SIZE[0]} x {SIZE[1]}, {8 * len(data) / (SIZE[0] * SIZE[1]):.3f} bpp, milliseconds",
        ("", "whole", "transform", "prior", "coder", "container", "filter", "transforms at peak"),
        rows,
    )
    limits = {side: 2 * work[side] / peak + SLACK_S for side in whole}
    finish(
        "speed",
        {
            "picture": args.picture.name,
            "whole_s": whole,
            "stages_s": stages,
            "multiply_adds": work,
            "peak_multiply_adds_per_s": peaks,
            "rounds": rounds,
            "size_bytes": len(data),
            "weights": codec.checkpoint.hash.hex(),
        },
        [
            Bar("encode, s", whole["encode"], limits["encode"]),
            Bar("decode, s", whole["decode"], limits["decode"]),
            Bar("entropy coding as a share of decode", stages["decode"]["coder"] / whole["decode"], 0.15),
            Bar("lichen decode as a process, s", process_seconds(data, args.weights), 3.0),
        ],
    )


if __name__ == "__main__":
    main()
