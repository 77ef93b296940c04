"""Speed of the default model on one Kodak-sized picture, model loaded, the whole path with files.

    python -m benchmarks.speed [PICTURE] [--weights FILE] [--rounds 5] [--repeats 15]

Bars (ratios within one run, so that any machine can be held to them): encode and decode each take at most
twice what the machine needs for the transforms' multiply-adds at its measured convolution peak (in bfloat16
where the processor has it), plus 20 ms; an encoder that chooses an adaptive post-filter runs both transforms.
Entropy coding takes at most 15 % of decode; `lichen decode` as a process takes at most 3 s. These are PyTorch's, whose
convolutions the peak is of; ONNX Runtime, which runs files by default, is measured beside it, and what is said of it
is its time as a multiple of PyTorch's. Processes are by both engines, with their start and all imports. What an
installation without PyTorch takes on disk is told beside one with it, as far as both are installed. Commands that do
little are held to `import numpy, PIL`: `--help` and `--version` to twice that, `info` to 2.5 times; a decode may take
four times that besides its decoding in a warm process.
Stages are timed where they happen, within whole calls. Others use the machine too: encode, decode, their stages and the
peak are measured in turn, in some rounds, and of each the quietest counts (of the peak, the highest). All rounds are in
the JSON.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import skimage
import torch
from packaging.requirements import Requirement
from PIL import Image
from torch import nn

from benchmarks.common import Bar, finish, show
from lichen import codec as codec_module
from lichen.bitstream.container import read_container
from lichen.bitstream.fields import FILTERED
from lichen.codec import Codec
from lichen.coding.rangecoder import SymbolReader, SymbolWriter
from lichen.lab.engine import torch_engine
from lichen.lab.engine.precision import native_bfloat16
from lichen.lab.engine.torch_engine import TorchEngine
from lichen.lab.evaluation.counts import multiply_adds
from lichen.lab.post_filter.filters import PostFilter
from lichen.options import EngineName
from lichen.runtime.onnx_engine import OnnxEngine
from lichen.runtime.onnx_walk import Walk
from lichen.runtime.post_filter import Filters

ROOT = Path(__file__).parents[1]
SIZE = (768, 512)
QUALITY = 50
ENGINES = (EngineName.TORCH, EngineName.ONNX)
SLACK_S = 0.020
PLAIN, STARTS = "numpy, PIL", 7


def median_seconds(work: Callable[[], object], repeats: int) -> float:
    for _ in range(3):
        work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def peak_multiply_adds_per_s(dtype: torch.dtype, repeats: int) -> float:
    """The best of some convolutions of the sizes that matter here."""
    best = 0.0
    for channels, kernel in ((128, 1), (128, 3), (256, 3)):
        layer = nn.Conv2d(channels, channels, kernel, padding=kernel // 2, dtype=dtype)
        layer = layer.to(memory_format=torch.channels_last)
        x = torch.randn(1, channels, 64, 96, dtype=dtype).contiguous(memory_format=torch.channels_last)
        seconds = median_seconds(lambda layer=layer, x=x: layer(x), repeats)
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
Places = dict[str, list[tuple[Any, str]]]
STAGES: dict[EngineName, dict[str, Places]] = {
    EngineName.TORCH: {
        "encode": {
            "transform": [(TorchEngine, "latents")],
            "prior": [(TorchEngine, "_walk")],
            "coder": CODER,
            "container": [(codec_module, "write_container")],
            "filter": [(TorchEngine, "samples"), (torch_engine, "choose")],
        },
        "decode": {
            "transform": [(TorchEngine, "pixels")],
            "prior": [(TorchEngine, "_walk")],
            "coder": CODER,
            "container": [(codec_module, "read_container")],
            "filter": [(PostFilter, "forward"), (PostFilter, "code")],
        },
    },
    EngineName.ONNX: {
        "encode": {
            "transform": [(OnnxEngine, "latents")],
            "prior": [(Walk, "run")],
            "coder": CODER,
            "container": [(codec_module, "write_container")],
            "filter": [(OnnxEngine, "samples"), (Filters, "write")],
        },
        "decode": {
            "transform": [(OnnxEngine, "pixels")],
            "prior": [(Walk, "run")],
            "coder": CODER,
            "container": [(codec_module, "read_container")],
            "filter": [(Filters, "apply"), (Filters, "read")],
        },
    },
}


def stage_seconds(work: Callable[[], object], stages: Places, repeats: int) -> dict[str, float]:
    """Median seconds of each stage of a call."""
    found = []
    for _ in range(repeats):
        with Stages(stages) as timed:
            work()
        found.append(timed.seconds)
    return {name: statistics.median(seconds[name] for seconds in found) for name in stages}


Codecs = dict[EngineName, Codec]


def one_round(codecs: Codecs, image: Image.Image, data: bytes, repeats: int) -> dict[str, Any]:
    """Seconds of whole calls and of their stages, of each engine in turn, and the peak."""
    dtypes = [torch.float32, torch.bfloat16] if native_bfloat16() else [torch.float32]
    found: dict[str, Any] = {}
    for name, codec in codecs.items():
        works = {"encode": partial(codec.encode, image, QUALITY), "decode": partial(codec.decode, data)}
        found[name.value] = {
            "whole_s": {side: median_seconds(work, repeats) for side, work in works.items()},
            "stages_s": {side: stage_seconds(work, STAGES[name][side], repeats) for side, work in works.items()},
        }
    peak = {str(dtype).removeprefix("torch."): peak_multiply_adds_per_s(dtype, repeats) for dtype in dtypes}
    return {**found, "peak": peak}


def quietest(rounds: list[dict[str, float]], best: Callable[..., float] = min) -> dict[str, float]:
    return {name: best(r[name] for r in rounds) for name in rounds[0]}


def process_seconds(image: Image.Image, data: bytes, weights: Path | None) -> dict[str, dict[str, float]]:
    """`lichen encode` and `decode` as whole processes by each engine, from start to the written file.

    With the bytecode that an installation has.
    """
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    program = "from lichen.cli import run; run()"  # what the installed script does; -P: nor does it look here
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        picture, source = Path(folder) / "a.png", Path(folder) / "b.lic"
        image.save(picture)
        source.write_bytes(data)
        for name in ENGINES:
            found[name.value] = {}
            for side, path in (("encode", picture), ("decode", source)):
                command = [sys.executable, "-P", "-c", program, side, str(path), "--force", "--engine", name.value]
                command += ["--weights", str(weights)] if weights else []
                call = partial(subprocess.run, command, check=True, capture_output=True, env=environment)
                found[name.value][side] = median_seconds(call, 3)
    return found


def start_seconds(data: bytes) -> dict[str, float]:
    """Processes that do little, in turn with one that imports numpy and Pillow alone, which others are measured by."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    program = "from lichen.cli import run; run()"
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "b.lic"
        source.write_bytes(data)
        lines = {
            PLAIN: ["import numpy, PIL"],
            "lichen --help": [program, "--help"],
            "lichen --version": [program, "--version"],
            "lichen info": [program, "info", str(source)],
            "lichen decode": [program, "decode", str(source), "--force", "--engine", "onnx"],
        }
        times: dict[str, list[float]] = {name: [] for name in lines}
        for _ in range(STARTS):
            for name, line in lines.items():
                begun = time.perf_counter()
                command = [sys.executable, "-P", "-c", *line]
                subprocess.run(command, check=True, capture_output=True, env=environment)
                times[name].append(time.perf_counter() - begun)
    return {name: statistics.median(seconds) for name, seconds in times.items()}


def start_bars(starts: dict[str, float], decode_s: float) -> list[Bar]:
    """What a command may take beside `import numpy, PIL`; a decode besides what it takes in a warm process."""
    plain = starts[PLAIN]
    limits = {"lichen --help": 2.0, "lichen --version": 2.0, "lichen info": 2.5}
    bars = [Bar(f"{name} over `import {PLAIN}`", starts[name] / plain, limit) for name, limit in limits.items()]
    rest = (starts["lichen decode"] - decode_s) / plain
    return [*bars, Bar(f"lichen decode without decoding over `import {PLAIN}`", rest, 4.0)]


def installed_bytes(extras: Sequence[str] = ()) -> int:
    """What the packages take on disk that Lichen asks for, with those that they ask for, of what is installed here."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = [*project["dependencies"], *(line for extra in extras for line in project["optional-dependencies"][extra])]
    left, total, seen = [Requirement(line) for line in named], 0, set[str]()
    while left:
        wanted = left.pop()
        if wanted.name in seen or not _applies(wanted):
            continue
        seen.add(wanted.name)
        try:
            package = distribution(wanted.name)
        except PackageNotFoundError:
            continue
        paths = [Path(str(file.locate())) for file in package.files or ()]
        total += sum(path.stat().st_size for path in paths if path.is_file())
        left += [Requirement(line) for line in package.requires or ()]
    return total


def _applies(wanted: Requirement) -> bool:
    """Whether this Python needs it, where no extra is asked for."""
    return wanted.marker is None or wanted.marker.evaluate({"extra": ""})


@torch.inference_mode()
def multiply_adds_of(codec: Codec, filtered: bool) -> dict[str, int]:
    """Of the transforms, to encode and to decode; where a filter is chosen the encoder runs both."""
    model, rate_level = codec.checkpoint.model, torch.zeros(1)
    latents = torch.zeros(1, codec.checkpoint.model.prior.context.latents, SIZE[1] // 16, SIZE[0] // 16)
    analysis = multiply_adds(model.analysis, torch.zeros(1, 3, SIZE[1], SIZE[0]), rate_level)
    encode = analysis + multiply_adds(model.hyper_analysis, latents, rate_level)
    decode = multiply_adds(model.synthesis, latents, rate_level)
    return {"encode": encode + decode if filtered else encode, "decode": decode}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sample = Path(skimage.__file__).parent / "data" / "astronaut.png"
    parser.add_argument("picture", type=Path, nargs="?", default=sample)
    parser.add_argument("--weights", type=Path, help="of a config that has graphs")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=15, help="of a measurement in a round")
    return parser.parse_args()


def summary(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """The quietest of the rounds: whole calls and stages of each engine, and ONNX Runtime's time over PyTorch's."""
    found: dict[str, Any] = {}
    for name in (engine.value for engine in ENGINES):
        stages = {side: quietest([r[name]["stages_s"][side] for r in rounds]) for side in ("encode", "decode")}
        found[name] = {"whole_s": quietest([r[name]["whole_s"] for r in rounds]), "stages_s": stages}
    torch_s, onnx_s = (found[name.value]["whole_s"] for name in ENGINES)
    return {**found, "onnx_over_torch": {side: onnx_s[side] / torch_s[side] for side in torch_s}}


def print_tables(found: dict[str, Any], processes: dict[str, dict[str, float]], sizes: dict[str, int]) -> None:
    """Calls and stages by engine, whole processes, and installations."""
    columns = ("", "whole", "transform", "prior", "coder", "container", "filter")
    rows = [
        (f"{side}, {name.value}", *(1e3 * s for s in (whole, *found[name.value]["stages_s"][side].values())))
        for name in ENGINES
        for side, whole in found[name.value]["whole_s"].items()
    ]
    show(f"{SIZE[0]} x {SIZE[1]}, milliseconds", columns, rows)
    show("ONNX Runtime's time over PyTorch's", ("", "times"), list(found["onnx_over_torch"].items()))
    lines = [(f"{side}, {name}", s) for name, sides in processes.items() for side, s in sides.items()]
    show("whole processes, seconds", ("", "seconds"), lines)
    show("packages that Lichen needs, MB", ("", "MB"), [(name, size / 1e6) for name, size in sizes.items()])


def main() -> None:
    args = arguments()
    image = Image.open(args.picture).convert("RGB")
    image = image if image.size == SIZE else image.resize(SIZE)
    codecs = {name: Codec(weights=args.weights, engine=name) for name in ENGINES}
    lab = codecs[EngineName.TORCH]
    data = lab.encode(image, QUALITY)
    rounds = [one_round(codecs, image, data, args.repeats) for _ in range(args.rounds)]
    found, peaks = summary(rounds), quietest([r["peak"] for r in rounds], best=max)
    work = multiply_adds_of(lab, bool(read_container(data).header.flags & FILTERED))
    processes = process_seconds(image, data, args.weights)
    starts = start_seconds(data)
    sizes = {"light": installed_bytes(), "with PyTorch": installed_bytes(["lab"])}
    print_tables(found, processes, sizes)
    show("starts, seconds", ("", "seconds"), list(starts.items()))
    whole, peak = found["torch"]["whole_s"], max(peaks.values())
    coder = found["torch"]["stages_s"]["decode"]["coder"] / whole["decode"]
    facts = {
        "picture": args.picture.name,
        **found,
        "processes_s": processes,
        "starts_s": starts,
        "installed_bytes": sizes,
        "multiply_adds": work,
        "peak_multiply_adds_per_s": peaks,
        "rounds": rounds,
        "size_bytes": len(data),
        "weights": lab.engine.hash.hex(),
    }
    bars = [Bar(f"{side}, s", whole[side], 2 * work[side] / peak + SLACK_S) for side in whole]
    bars.append(Bar("entropy coding as a share of decode", coder, 0.15))
    bars += [Bar(f"lichen decode as a process, {name}, s", sides["decode"], 3.0) for name, sides in processes.items()]
    bars += start_bars(starts, found["onnx"]["whole_s"]["decode"])
    bars.append(Bar("packages that Lichen needs, MB", sizes["light"] / 1e6, 250))
    finish("speed", facts, bars)


if __name__ == "__main__":
    main()
