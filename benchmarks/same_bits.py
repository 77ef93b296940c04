"""The same bits everywhere: files written under one setting, read under every other.

    python -m benchmarks.same_bits [--kodak FOLDER]

For every row of the zoo at small random widths, and for `lichen` with its shipped weights at full width: y
and z are saved once; under each setting they must be written to the same bytes, and every such file must
decode, under each setting, to the identical y_hat. Settings: 1, 2 and 7 threads, oneDNN on and off,
a bfloat16 autocast around the walk, a batch neighbour beside the picture written, a CUDA device where there is one;
for large pictures, whose symbols lie tile by tile, also means computed on the whole map instead of in
tiles with halos. The shipped weights, of both tunes, are also run by both engines: ONNX Runtime and PyTorch, with 1 and
2 threads, one tile and several; from the same y and z each must write the same bytes, and each reads every file, those
that the other makes of the picture itself included, to the identical y_hat. With --kodak also the rate
that fixed point costs against float parameters.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import itertools
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from benchmarks.common import Bar, finish, show
from lichen.lab.engine.tiled_walk import walk_tiles
from lichen.lab.engine.torch_engine import TorchEngine
from lichen.lab.models.config import LEVEL_STEPS
from lichen.lab.models.zoo import ZOO
from lichen.lab.prior.entropy_parameters import AnyEntropyParameters, EntropyParameters
from lichen.lab.prior.estimator import Estimator
from lichen.lab.prior.file_coder import FileReader, FileWriter
from lichen.lab.prior.prior import Prior
from lichen.options import EngineName, Tune
from lichen.runtime import tiles
from lichen.runtime.engine import Engine as AnyEngine
from lichen.runtime.engines import load_engine
from lichen.runtime.threads import set_threads
from lichen.runtime.tiles import PriorHalos, PriorTiling, Tile, coding_tiles
from lichen.runtime.weights import find_by_name, find_tuned
from tests.small import scene, small_checkpoint

WAITING = "OMP_WAIT_POLICY"
PASSIVE = {WAITING: "passive"}
PAIRS_MIN = 500
COST_MAX = 0.001  # of a file, by which fixed point may be larger than float parameters would make it
SMALL_TILE = 2  # hyper-latents, so that small pictures have several
EVERYWHERE = PriorHalos(99, 99)
RUNS = tuple(itertools.product((EngineName.TORCH, EngineName.ONNX), (1, 2)))  # engines and their threads
Latents = tuple[NDArray[np.float32], NDArray[np.float32]]
Written = tuple[tuple[bytes, ...], NDArray[np.float32]]
ENGINE_SIZES = ((50, 40), (200, 140), (256, 192))


@dataclass(frozen=True)
class Setting:
    """How a walk is run; none of it may show in the result."""

    name: str
    threads: int = 1
    onednn: bool = True
    bfloat16: bool = False
    neighbour: bool = False
    device: str = "cpu"
    whole_map: bool = False

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        before = torch.get_num_threads()
        torch.set_num_threads(self.threads)
        try:
            with (
                warnings.catch_warnings(),
                _onednn(self.onednn),
                torch.autocast("cpu", torch.bfloat16, enabled=self.bfloat16),
            ):
                yield
        finally:
            torch.set_num_threads(before)


@contextlib.contextmanager
def _onednn(enabled: bool) -> Iterator[None]:
    warnings.simplefilter("ignore")  # setting this flag sets others, of devices that are not there
    with torch.backends.mkldnn.flags(enabled=enabled):
        yield


def settings(tiled: bool) -> list[Setting]:
    """Every setting that this machine has, for pictures of one tile or of several."""
    found = [
        Setting(f"{threads} threads, oneDNN {'on' if onednn else 'off'}", threads, onednn)
        for threads, onednn in itertools.product((1, 2, 7), (True, False))
    ]
    found.append(Setting("bfloat16 autocast", 2, bfloat16=True))
    found.append(Setting("whole map", 2, whole_map=True) if tiled else Setting("neighbour", 2, neighbour=True))
    if torch.cuda.is_available() and not tiled:  # tiles are walked on the CPU
        found.append(Setting("CUDA", device="cuda"))
    return found


class Beside:
    """A coder of the first picture of a batch of two; the other's latents are rounded, or guessed."""

    sequential = True

    def __init__(self, inner: FileWriter | FileReader) -> None:
        self.inner = inner

    def code(self, parameters: AnyEntropyParameters, y: Tensor | None, group: int = 0) -> Tensor:
        own, other = _of(parameters, slice(1)), _of(parameters, slice(1, None))
        coded = self.inner.code(own, None if y is None else y[:1], group)
        rest = torch.zeros_like(other.centre) if y is None else torch.round(y[1:] - other.centre).to(coded)
        return torch.cat([coded, rest])

    def quantize(self, y: Tensor) -> Tensor:
        return self.inner.quantize(y)


def _of(parameters: AnyEntropyParameters, pictures: slice) -> AnyEntropyParameters:
    mean = parameters.mean[pictures]
    if isinstance(parameters, EntropyParameters):
        return replace(parameters, mean=mean, raw_scale=parameters.raw_scale[pictures])
    return replace(parameters, mean=mean)


@dataclass(frozen=True)
class Case:
    """A prior in fixed point, and what is coded with it."""

    name: str
    prior: Prior
    halos: PriorHalos | None
    y: Tensor
    z: Tensor
    rate_level: Tensor
    trellis: bool = False

    def walk(self, coder: FileWriter | FileReader, setting: Setting, reading: bool) -> Tensor:
        """y_hat of writing, or of reading, under a setting."""
        prior = copy.deepcopy(self.prior).to(setting.device)
        y, z, rate_level = (x.double().to(setting.device) for x in (self.y, self.z, self.rate_level))
        shape = (z.shape[2], z.shape[3])
        with torch.inference_mode(), setting.applied():
            if self.halos is not None:
                whole = Tile(0, 0, *shape)
                halos = EVERYWHERE if setting.whole_map else self.halos
                tiling = PriorTiling(whole, tuple(coding_tiles(*shape)), halos)
                known = (None, None) if reading else (y, z)
                walked = walk_tiles(prior, coder, rate_level, tiling, y=known[0], z=known[1], trellis=self.trellis)
                return walked.y_hat
            beside = setting.neighbour and not reading  # files are read one at a time
            if beside:
                y, z, rate_level = (torch.cat([x, x.flip(-1) * 1.5 if x.dim() > 1 else x]) for x in (y, z, rate_level))
            known = (None, None) if reading else (y, z)
            walked = prior.walk(Beside(coder) if beside else coder, rate_level, shape, *known, trellis=self.trellis)
            return walked.y_hat[:1].cpu()


def compare(case: Case, every: bool) -> tuple[int, list[str]]:
    """How many write/read pairs were tried, and what differed.

    Each file is read under every setting, or under its own, the next and the one after that.
    """
    available = settings(case.halos is not None)
    first: tuple[tuple[bytes, ...], Tensor] | None = None
    pairs, wrong = 0, []
    for number, write in enumerate(available):
        writer = FileWriter()
        y_hat = case.walk(writer, write, reading=False)
        payload = writer.finish()
        first = first or (payload, y_hat)
        if payload != first[0] or not torch.equal(y_hat, first[1]):
            wrong.append(f"{case.name}: written otherwise under {write.name}")
        for read in available if every else (available[(number + k) % len(available)] for k in range(3)):
            pairs += 1
            if not _reads(case, payload, read, first[1]):
                wrong.append(f"{case.name}: written under {write.name}, read otherwise under {read.name}")
    return pairs, wrong


def _reads(case: Case, payload: tuple[bytes, ...], setting: Setting, expected: Tensor) -> bool:
    try:
        return torch.equal(case.walk(FileReader(payload), setting, reading=True), expected)
    except Exception:  # a decoder that has gone astray may fail anywhere
        return False


def cases_of(name: str, engine: TorchEngine, size: tuple[int, int]) -> list[Case]:
    """The whole picture in one tile and, if the model can, in several."""
    quality_index = round(0.7 * (engine.levels - 1) * LEVEL_STEPS)
    with torch.inference_mode():
        y, z = engine.latents(np.asarray(scene(*size)), quality_index)
    rate_level = torch.tensor([quality_index / LEVEL_STEPS], dtype=torch.float64)
    cases = []
    for trellis in (False, True) if engine.trellis else (False,):
        said = f"{name}, trellis" if trellis else name
        cases.append(Case(said, engine.prior, None, y, z=z, rate_level=rate_level, trellis=trellis))
        if engine._prior_halos is not None:
            halos = engine._prior_halos
            cases.append(Case(f"{said}, tiles", engine.prior, halos, y, z=z, rate_level=rate_level, trellis=trellis))
    return cases


def fixed_point_cost(engine: TorchEngine, folder: Path, count: int) -> list[tuple[str, int, float, float]]:
    """For some pictures and qualities: estimated bits with float and with fixed-point parameters."""
    found = []
    model = engine.checkpoint.model
    for path, share in itertools.product(sorted(folder.glob("*.png"))[:count], (0.1, 0.4, 0.7, 1.0)):
        quality_index = round(share * (engine.levels - 1) * LEVEL_STEPS)
        pixels = np.asarray(Image.open(path).convert("RGB"))
        with torch.inference_mode():
            y, z = engine.latents(pixels, quality_index)
            bits = []
            for prior, kind in ((model.prior, torch.float32), (engine.prior, torch.float64)):
                estimator = Estimator(None)
                rate_level = torch.tensor([quality_index / LEVEL_STEPS], dtype=kind)
                prior.walk(estimator, rate_level, z.shape[2:], y.to(kind), z=z.to(kind))
                bits.append(float(torch.stack(estimator.bits).sum()))
        found.append((path.stem, quality_index, *bits))
    return found


@dataclass(frozen=True)
class Runner:
    """An engine with so many threads; neither may show in a file or its latents."""

    kind: EngineName
    threads: int
    engine: AnyEngine

    @property
    def name(self) -> str:
        return f"{self.kind.value}, {self.threads} threads"

    def latents(self, pixels: NDArray[np.uint8], quality_index: int) -> Latents:
        """y and z of a picture; each engine's own differ by roundings."""
        set_threads(self.threads)
        y, z = (np.asarray(plane) for plane in self.engine.latents(pixels, quality_index))
        return y, z

    def write(self, latents: Latents, quality_index: int) -> Written:
        """The payloads of y and z, and y_hat."""
        set_threads(self.threads)
        y, z = (torch.from_numpy(x) if self.kind is EngineName.TORCH else x for x in latents)
        payloads, y_hat = self.engine.write(y, z, quality_index, trellis=True)
        return payloads, np.asarray(y_hat)

    def reads(self, written: Written, quality_index: int, size: tuple[int, int]) -> bool:
        """Whether payloads of a picture of this height and width give the y_hat that was written."""
        set_threads(self.threads)
        try:
            y_hat = self.engine.read(written[0], quality_index, *size, trellis=True)
        except Exception:  # a decoder that has gone astray may fail anywhere
            return False
        return bool(np.array_equal(np.asarray(y_hat), written[1]))


def cross_engines(
    tune: Tune, sizes: Sequence[tuple[int, int]], side: int = SMALL_TILE
) -> tuple[list[tuple[str, int, int]], list[str]]:
    """Rows as of `run` for the shipped weights by both engines, in one tile and in several, and all that differed."""
    path, before, threads = find_tuned("lichen", tune), tiles.CODING_SIDE, torch.get_num_threads()
    rows, wrong = [], []
    try:
        for several in (False, True):
            tiles.CODING_SIDE = side if several else before
            runners = [Runner(kind, count, load_engine(path, "cpu", kind)) for kind, count in RUNS]
            name = f"{path.stem} by both engines{', tiles' if several else ''}"
            found = [compare_engines(name, runners, np.asarray(scene(*size))) for size in sizes]
            rows.append((name, sum(pairs for pairs, _ in found), sum(len(differing) for _, differing in found)))
            wrong += [line for _, differing in found for line in differing]
    finally:
        tiles.CODING_SIDE = before
        set_threads(threads)
    return rows, wrong


def compare_engines(name: str, runners: Sequence[Runner], pixels: NDArray[np.uint8]) -> tuple[int, list[str]]:
    """How many write/read pairs were tried on a picture (H, W, 3), and what differed."""
    quality_index, size = round(0.7 * (runners[0].engine.levels - 1) * LEVEL_STEPS), (pixels.shape[0], pixels.shape[1])
    shared = runners[0].latents(pixels, quality_index)
    first, wrong, pairs = runners[0].write(shared, quality_index), [], 0
    for writer in runners:
        payloads, y_hat = writer.write(shared, quality_index)
        if payloads != first[0] or not np.array_equal(y_hat, first[1]):
            wrong.append(f"{name}: written otherwise by {writer.name}")
        for written in ((payloads, first[1]), writer.write(writer.latents(pixels, quality_index), quality_index)):
            for reader in runners:
                pairs += 1
                if not reader.reads(written, quality_index, size):
                    wrong.append(f"{name}: written by {writer.name}, read otherwise by {reader.name}")
    return pairs, wrong


def run(cases: Sequence[Case]) -> tuple[list[tuple[str, int, int]], list[str]]:
    """A row of the table for each case, and all that differed."""
    rows, wrong = [], []
    for case in cases:
        begun = time.monotonic()
        pairs, differing = compare(case, every=case.name.startswith("lichen"))
        rows.append((case.name, pairs, len(differing)))
        print(*rows[-1], f"{time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)
        wrong += differing
    return rows, wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kodak", type=Path)
    parser.add_argument("--pictures", type=int, default=4)
    args = parser.parse_args()
    if WAITING not in os.environ:  # is read when PyTorch is loaded: seven threads that spin on two cores take minutes
        os.execve(sys.executable, [sys.executable, "-m", "benchmarks.same_bits", *sys.argv[1:]], os.environ | PASSIVE)
    shipped, before = TorchEngine.load(find_by_name("lichen"), torch.device("cpu")), tiles.CODING_SIDE
    cost = fixed_point_cost(shipped, args.kodak, args.pictures) if args.kodak else []
    tiles.CODING_SIDE = SMALL_TILE
    with tempfile.TemporaryDirectory() as folder:
        engines = [TorchEngine.load(small_checkpoint(row, Path(folder)), torch.device("cpu")) for row in ZOO]
    cases = [case for row, engine in zip(ZOO, engines, strict=True) for case in cases_of(row.name, engine, (200, 140))]
    rows, wrong = run(cases + cases_of("lichen at full width", shipped, (256, 192)))
    tiles.CODING_SIDE = before
    for tune in Tune:
        crossed, differing = cross_engines(tune, ENGINE_SIZES)
        rows, wrong = rows + crossed, wrong + differing
    show("write/read pairs", ("row", "pairs", "mismatches"), rows)
    show("not the same", ("what",), [(line,) for line in wrong[:40]])
    total = sum(pairs for _, pairs, _ in rows)
    bars = [Bar("mismatches", len(wrong), 0), Bar("pairs short of 500", max(0, PAIRS_MIN - total), 0)]
    facts: dict[str, Any] = {
        "pairs": total,
        "settings": [setting.name for setting in (*settings(False), settings(True)[7])],
        "engines": [f"{name.value}, {threads} threads" for name, threads in RUNS],
        "weights": shipped.checkpoint.hash.hex(),
        "rows": rows,
        "wrong": wrong,
    }
    if cost:
        show("bits by float and by fixed-point parameters", ("picture", "quality index", "float", "fixed"), cost)
        facts["fixed_point_cost"] = cost
        excess = sum(fixed for *_, fixed in cost) / sum(bits for *_, bits, _ in cost) - 1
        bars.append(Bar("rate of fixed point above that of float parameters", excess, COST_MAX))
    finish("same_bits", facts, bars)


if __name__ == "__main__":
    main()
